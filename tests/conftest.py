"""What holds for every test: those marked `root` need it, and leave nothing behind whatever ends the run."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import budget
from tunnel.testing.namespaces import reap, unwinding

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ

if not IS_WORKER:  # those have it from us
    os.environ["STATE_DIRECTORY"] = tempfile.mkdtemp(prefix="tunnel-tests-state-")

budget.register(derandomize="CI" in os.environ)

# A shell that starts us in the background has us ignore Ctrl-C, and all that we start would: also what tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Before the tests are imported, since decorators ask how many examples there may be."""
    settings.load_profile(budget.FAST if config.getoption("markexpr") == "not slow" else budget.FULL)


def pytest_unconfigure() -> None:
    """What daemons keep over their restarts is of no use to anybody afterwards."""
    if not IS_WORKER:
        shutil.rmtree(os.environ["STATE_DIRECTORY"])


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
