"""The code of each stage: python -m stages.code

For every stage of the pipeline a file in `data/code/` names the modules, kernels and templates
that running it reads, with their hashes. Stages depend on their file in place of these: what a
stage does not import does not make it run again, and DVC, which writes all of `dvc.lock` after
every stage, has much less to write.
"""

import ast
import hashlib
from pathlib import Path

from bonsai.artifact import save_text
from stages import faults

CODE = Path("data/code")
STAGES = (
    "machine", "dataset", "train", "sparsify", "clip", "quantize", "dce", "prove", "polish",
    "extract", "render", "report",
)  # fmt: skip
FOLDERS = ("templates", "web")  # that modules read files of
LEFT_OUT = ("__init__.py",)  # stages/__init__.py only starts and times a stage


def main() -> None:
    faults.doing = "stage code"
    for stage in STAGES:
        lines = [f"{_digest(path)}  {path}" for path in sorted(read_by(stage))]
        save_text(CODE / f"{stage}.txt", "\n".join(lines) + "\n")


def read_by(stage: str) -> set[Path]:
    """The project's files that running a stage reads; paths from the project's root."""
    return _read_by(Path("stages", f"{stage}.py"), set())


def _read_by(module: Path, seen: set[Path]) -> set[Path]:
    if module in seen or module.name in LEFT_OUT:
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            value = getattr(node, "value", None)
            if isinstance(value, str) and value.endswith(".cl"):
                seen.add(module.parent / value)  # a kernel beside the module
            elif isinstance(value, str) and value in FOLDERS:
                seen |= {p for p in (module.parent / value).rglob("*") if p.is_file()}
            continue
        for name in names:
            imported = Path(*name.split(".")).with_suffix(".py")
            if imported.is_file():
                _read_by(imported, seen)
    return seen


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
