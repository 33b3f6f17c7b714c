"""Every conversation is held twice: in plain WireGuard, and by hosts that are all like us."""

from pathlib import Path

import pytest

from tunnel.testing.network import Network
from tunnel.wire.control import Capability


@pytest.fixture(autouse=True, params=[None, Capability(sum(Capability))], ids=["plain", "extended"])
def offered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "offered", request.param)


LONG = {f"test_members_{what}" for what in ("attacks", "chaos", "expiry", "failover")}
"""What takes seconds: with extensions always, without them in `make test-all`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem in LONG and "[plain" in item.name:
            item.add_marker(pytest.mark.slow)
