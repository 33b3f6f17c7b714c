import pytest

from tests.unit.daemon.pipelines import Side
from tunnel.wire.control import Capability


@pytest.fixture(params=[None, Capability(sum(Capability))], ids=["plain", "extended"])
def offered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Capability | None:
    """Both ends take this beyond plain WireGuard."""
    monkeypatch.setattr(Side, "offered", request.param)
    return request.param  # type: ignore[no-any-return]
