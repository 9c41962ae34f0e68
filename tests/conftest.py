"""What several test files share: the project's root as working directory."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's root, which is also the working directory for the test."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def stages_run_here(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stages may run in this process, and leave no checkpoints in the project's `data/`."""
    from stages import sparsify, train

    for module in (sparsify, train):
        monkeypatch.setattr(module, "CHECKPOINTS", tmp_path / "checkpoints")
