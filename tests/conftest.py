"""What holds for every test: those marked `root` need it, and leave nothing behind whatever ends the run."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tunnel.testing.namespaces import reap, unwinding

# A busy machine is no reason to fail; the timeout of pytest still is. CI runs the same examples every time.
settings.register_profile(
    "tunnel", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("tunnel")

# A shell that starts us in the background has us ignore Ctrl-C, and all that we start would: also what tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
