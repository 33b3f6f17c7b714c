"""Every conversation is held twice: in plain WireGuard, and by hosts that are all like us."""

import pytest

from tunnel.testing.network import Network
from tunnel.wire.control import Capability


@pytest.fixture(autouse=True, params=[None, Capability(sum(Capability))], ids=["plain", "extended"])
def offered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "offered", request.param)
