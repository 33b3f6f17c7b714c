from pathlib import Path

import pytest

from tests.unit.cli.certifying import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ca(folder: Path) -> Path:
    """A CA, in `folder`, with which nothing was done yet."""
    run("ca")
    return folder / "ca"
