"""A grown plant as it is, or as it was in a revision: `PLANT`, or `REV:PLANT`.

A revision is whatever git calls one: a commit, a branch, a tag, the tag of an artifact that `gto`
registered. Its files come from DVC's cache or, where that lacks them, from the remote.
"""

import re
from pathlib import Path
from typing import Any

from bonsai.account import PLANTS, code, plant_folder, sizes
from bonsai.artifact import ArtifactError, replaced
from bonsai.certificate import Certificate
from bonsai.check import CheckError, check
from bonsai.draw import counted, number
from bonsai.graph import Graph
from bonsai.listing import load_logic
from bonsai.machine import Machine
from bonsai.result import Result

VERSIONS = Path("data/versions")  # COMMIT/PLANT, fetched; no artifacts of this revision
FILES = (
    "machine.parquet", "machine.kiss2", "nodes.parquet", "edges.parquet", "certificate.npz",
    "automaton.parquet", "proof.json", "program.py", "logic.json", "circuit.v", "automaton.kiss2",
    "graph.svg", "explorer.html",
)  # fmt: skip


class VersionError(ArtifactError):
    """There is no such plant or revision, or its files are out of reach; says what to do."""


def show(what: str) -> None:
    """Print the size of a plant's graph, what is proven of it, its program, and where it lies.

    what: `PLANT`, of the working folder, or `REV:PLANT`
    Raises ArtifactError if there is no such plant or a file of it is broken, and VersionError,
    which is one, if there is no such revision.
    """
    revision, colon, plant = what.rpartition(":")
    if not re.fullmatch("[a-z0-9_]+", plant) or bool(colon) != bool(revision):
        raise VersionError(f"'{what}' is neither PLANT nor REV:PLANT, as in gates or v1.0:gates")
    folder = fetched(revision, plant) if revision else plant_folder(plant)
    print("\n".join(described(folder, f"{plant} of {revision}" if revision else plant)))


def described(folder: Path, title: str) -> list[str]:
    """What the files of one plant say; its certificate is checked anew.

    Raises ArtifactError if a file is missing or broken, or if the certificate does not hold.
    """
    result, logic = Result.load(folder / "proof.json"), load_logic(folder / "logic.json")
    graph = Graph.load(folder)
    said = [f"{title} is {_verdict(result)}", f"  graph        {sizes(result)}"]
    if result.proven:
        certificate = Certificate.load(folder / "certificate.npz")
        try:
            check(certificate, graph, Machine.load(folder / "machine.parquet"))
        except CheckError as e:
            raise ArtifactError(
                f"{folder / 'certificate.npz'}: does not prove this graph ({e}); "
                "delete the folder and fetch or grow it again"
            ) from e
        said.append(
            f"  certificate  {counted(len(certificate), certificate.kind)}, least margin "
            f"{number(certificate.margin)}, for {certificate.arithmetic} arithmetic; checked anew"
        )
    program = logic["program"]
    said += [
        f"  program      {counted(program['literals'], 'literals') if program else 'none'}",
        f"  files        {folder}: graph.svg, explorer.html, program.py and others",
    ]
    if program:
        said += ["", code(program["text"])]
    return said


def fetched(revision: str, plant: str) -> Path:
    """The folder with the plant's files (FILES) of that revision, fetched through DVC.

    Raises VersionError if there is no such revision or plant, or no file of it within reach.
    """
    files, commit = _opened(revision)
    source, folder = PLANTS / plant, VERSIONS / commit[:12] / plant
    try:
        names = {Path(p).name for p in files.ls(str(source), detail=False)}
    except FileNotFoundError:
        raise VersionError(
            f"{revision}: has no plant '{plant}'; "
            f"`dvc list --dvc-only --rev {revision} . {PLANTS}` lists those it has"
        ) from None
    for name in FILES:
        if name not in names:
            raise VersionError(f"{revision}: its plant '{plant}' has no {name}; take a later one")
        with replaced(folder / name) as temporary:
            try:
                files.get_file(str(source / name), str(temporary))
            except FileNotFoundError:
                raise VersionError(
                    f"{revision}:{plant}: {name} is neither in DVC's cache nor in its remote; "
                    "`dvc remote list` shows that; where it was grown, `dvc push --all-tags` "
                    "fills it"
                ) from None
            except Exception as e:  # each kind of remote has errors of its own
                raise VersionError(
                    f"{revision}:{plant}: cannot fetch {name} ({' '.join(str(e).split())}); "
                    "see `dvc remote list` and `dvc config --list`"
                ) from e
    return folder


def _opened(revision: str) -> tuple[Any, str]:
    """DVC's view of the files of that revision, and its commit."""
    from dvc.api import DVCFileSystem  # takes a second, and is needed for revisions only
    from dvc.exceptions import DvcException

    try:
        files = DVCFileSystem(".", rev=revision)
        return files, files.repo.get_rev()
    except DvcException as e:
        raise VersionError(
            f"{revision}: {' '.join(str(e).split())}; "
            "`git tag` and `git log` list revisions, and `git fetch --tags` gets the tags"
        ) from e


def _verdict(result: Result) -> str:
    if result.proven:
        return "proven for every input sequence of every length"
    if result.counterexample is not None:
        return f"not proven: it is wrong at step {result.counterexample['step']}, counted from 0"
    return f"not proven: {result.reason}"
