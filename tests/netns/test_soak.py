"""The short form of `make soak`: every trouble twice, and a verdict."""

from pathlib import Path

import pytest

from tests.soak.__main__ import soak

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


def test_everything_that_happens_twice_leaves_nothing_behind(tmp_path: Path) -> None:
    assert soak(tmp_path, minutes=0.5) == []
