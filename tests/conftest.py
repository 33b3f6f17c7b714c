"""What holds for every test: those marked `root` need it, and leave nothing behind whatever ends the run."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import budget
from tunnel.testing.namespaces import reap, unwinding

budget.register(derandomize="CI" in os.environ)

# A shell that starts us in the background has us ignore Ctrl-C, and all that we start would: also what tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Before the tests are imported, since decorators ask how many examples there may be."""
    settings.load_profile(budget.FAST if config.getoption("markexpr") == "not slow" else budget.FULL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0 and os.path.exists("/dev/net/tun"):
        return
    why = pytest.mark.skip(reason="needs root, /dev/net/tun and network namespaces")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(why)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """A terminated run removes its namespaces; what a killed one left is removed by the next."""
    if os.geteuid() == 0:
        reap()
    with unwinding():
        yield
