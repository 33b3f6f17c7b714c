"""No secret in any repr: every object that a busy device leads to is shown, and searched for its keys."""

import base64
from collections.abc import Iterator

from tests.unit.protocol.pairs import create_pair, hold, peer_of
from tunnel.keys import PresharedKey
from tunnel.wire.messages import MessageType

PSK = PresharedKey(b"k" * 32)


def test_no_repr_of_anything_in_a_device_shows_a_secret() -> None:
    network, left, right = create_pair(psk=PSK)
    left.send_to(right, b"hello")
    network.run(1)
    network.run(121)
    hold(network, MessageType.HANDSHAKE_RESPONSE)
    left.send_to(right, b"renew")
    network.run(1)
    handshakes = peer_of(left, right).handshakes
    assert handshakes.pending is not None
    assert handshakes._static_shared is not None
    secrets = (left.private_key.raw, PSK.raw, handshakes._static_shared, handshakes.pending.initiator._ephemeral.raw)
    forms = [
        form for secret in secrets for form in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode())
    ]
    seen = list(reachable(left.device))
    assert {type(thing).__name__ for thing in seen} >= {"Peer", "Keypair", "Initiator", "PrivateKey", "CookieChecker"}
    for thing in [*seen, left.device.snapshot(0)]:
        for shown in (repr(thing), str(thing)):
            assert not any(form in shown for form in forms), type(thing)


def reachable(root: object) -> Iterator[object]:
    """Every object of ours, and every container, that attributes lead to; raw bytes are what they hold, not shown."""
    waiting, seen = [root], {id(root)}
    while waiting:
        thing = waiting.pop()
        yield thing
        for part in parts_of(thing):
            if id(part) not in seen and not isinstance(part, (bytes, bytearray, memoryview, str, int, float, type)):
                seen.add(id(part))
                waiting.append(part)


def parts_of(thing: object) -> list[object]:
    if isinstance(thing, dict):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
        return list(thing)  # type: ignore[call-overload, no-any-return]
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(thing, name) for name in slots if hasattr(thing, name)] + list(
        getattr(thing, "__dict__", {}).values()
    )
