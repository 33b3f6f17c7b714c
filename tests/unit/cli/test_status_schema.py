"""docs/status.md says what there is: no more, no less, and of the types that it says."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from tests.unit.cli.invoking import REPOSITORY
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.config.values import parse_network
from tunnel.control.status import STATUS_VERSION, InterfaceStatus, MemberStatus
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PrivateKey, PublicKey

PEER = PublicKey(bytes([7] * 32))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": lambda value: _is_integer(value) or isinstance(value, float),
    "null": lambda value: value is None,
    "list of strings": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "list of peers": lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
    "object of integers": lambda value: isinstance(value, dict) and all(map(_is_integer, value.values())),
}


def table(heading: str) -> dict[str, str]:
    """Member -> type, of the table under a heading of docs/status.md."""
    text = (REPOSITORY / "docs" / "status.md").read_text()
    section = text.split(f"\n### {heading}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    return {row[1].strip().strip("`"): row[2].strip() for row in rows}


def _fits(value: Any, words: str) -> bool:
    return any(TYPES[word](value) for word in words.split(" or "))


def _full() -> InterfaceStatus:
    """With everything that there can be."""
    peer = PeerSnapshot(
        PEER,
        endpoint=Endpoint("192.0.2.1", 51820),
        allowed_ips=(parse_network("10.0.0.0/24"),),
        last_handshake=1700000000.5,
        drops={"replayed": 1},
        extensions=("slices",),
        path_mtu=1280,
        max_packet=1220,
    )
    return InterfaceStatus.from_snapshot(
        DeviceSnapshot(PrivateKey(bytes(range(32))), 51820, 0, (peer,), {"wrong_mac1": 5}),
        name="wg0",
        mtu=1420,
        pid=4711,
        receive_buffer=7 << 20,
        send_buffer=6 << 20,
        send_offloads={"gso"},
        receive_offloads=["gro"],
        endpoint_names={PEER: EndpointName("vpn.example.com", 51820)},
        identity="laptop",
        certificate_expires=1800000000.0,
        refusals={"expired": 3},
        dialling="gw.example.com, no answer for 12 s",
        members={PEER: MemberStatus("gw", 1790000000.0, "dialled as gw.example.com")},
    )


def _empty() -> InterfaceStatus:
    """With as little as another implementation tells."""
    return InterfaceStatus.from_snapshot(DeviceSnapshot(None, 0, 0, (PeerSnapshot(PEER),), {}), name="wg0")


@pytest.mark.parametrize("status", [_full(), _empty()], ids=["full", "empty"])
def test_every_member_is_documented_and_of_that_type(status: InterfaceStatus) -> None:
    interface = json.loads(status.to_json())
    for members, documented in ((interface, table("Interface")), (interface["peers"][0], table("Peer"))):
        assert set(members) == set(documented)
        assert [name for name, value in members.items() if not _fits(value, documented[name])] == []


def test_the_version_is_the_one_that_is_documented() -> None:
    assert f"of this form: {STATUS_VERSION} |" in (REPOSITORY / "docs" / "status.md").read_text()


def test_what_is_documented_as_null_can_be() -> None:
    full, empty = (json.loads(status.to_json()) for status in (_full(), _empty()))
    for name, words in table("Interface").items():
        assert (full[name] is not None, empty[name] is None) == (True, "or null" in words), name
