"""Invariant: any text at all is a `DevicePatch` or a `UapiError` with a positive errno, and never shows a private key.

An answer to ``get`` likewise is a `DeviceSnapshot` or a `UapiError`.
"""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.configurations import device_snapshots
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.config.uapi import UapiError, format_get, parse_get, parse_set

KEYS = [
    *("private_key", "listen_port", "fwmark", "replace_peers", "public_key", "remove", "update_only", "preshared_key"),
    *("endpoint", "persistent_keepalive_interval", "replace_allowed_ips", "allowed_ip", "protocol_version"),
    *("last_handshake_time_sec", "last_handshake_time_nsec", "rx_bytes", "tx_bytes", "errno", "set", "get"),
]
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "true",
    "aa" * 32,
    "10.0.0.0/8",
    "-::/0",
    "+0.0.0.0/0",
    "[fe80::1%1]:1",
    "[::]:0",
    "1.2.3.4:5",
    "9" * 5000,
]

lines = st.builds(
    "{}{}{}".format,
    st.sampled_from(KEYS) | st.text(max_size=5),
    st.sampled_from(["=", "", "=="]),
    st.sampled_from(VALUES) | st.text(max_size=10),
)
requests = st.text() | st.lists(lines | st.just("public_key=" + "aa" * 32), max_size=20).map("\n".join)


def refusal_of(parse: Callable[[str], object], text: str) -> UapiError | None:
    try:
        parse(text)
    except UapiError as error:
        return error
    return None


@given(requests)
def test_any_set_is_a_patch_or_an_errno(text: str) -> None:
    refusal = refusal_of(parse_set, text)
    assert refusal is None or refusal.errno > 0


@given(requests)
def test_any_answer_is_a_snapshot_or_an_errno(text: str) -> None:
    refusal = refusal_of(parse_get, text)
    assert refusal is None or refusal.errno > 0


@given(device_snapshots, st.data(), st.sampled_from([parse_get, parse_set]))
def test_a_damaged_answer_is_read_or_refused_without_its_private_key(
    snapshot: DeviceSnapshot, data: st.DataObject, parse: Callable[[str], object]
) -> None:
    text = format_get(snapshot)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    refusal = refusal_of(parse, text[:start] + data.draw(lines) + text[end:])
    assert refusal is None or refusal.errno > 0
    assert snapshot.private_key is None or snapshot.private_key.to_hex() not in str(refusal)
