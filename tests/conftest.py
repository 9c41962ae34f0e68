"""What several test files share: the project's root as working directory."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's root, which is also the working directory for the test."""
    monkeypatch.chdir(ROOT)
    return ROOT
