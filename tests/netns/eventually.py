"""Waiting without sleeping blindly: for a condition, with a bound, and a sentence when it does not come true."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 5.0
INTERVAL = 0.01


def eventually(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """The first truthy result of `condition`; without one in `timeout` seconds the test fails and says `what`."""
    give_up = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < give_up, f"not within {timeout:g} s: {what}"
        time.sleep(INTERVAL)
    return result
