"""Ordinary users, as far as there can be any: a checkout below /root is not for them."""

import pytest

from tests.netns.hosts import BIN
from tunnel.testing.namespaces import run_command

NOBODY = 65534


@pytest.fixture
def as_nobody() -> tuple[str, ...]:
    """What to put before a command to run it as an ordinary user."""
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if run_command(*prefix, str(BIN / "tunnel"), "--version", check=False).returncode != 0:
        pytest.skip(f"ordinary users cannot run {BIN / 'tunnel'}")
    return prefix
