from dataclasses import replace

import pytest

from tests.properties.superpackets import TCP, TIMESTAMPS, UDP, Flow
from tunnel.offload.flow import Layout, Refusal, parse_layout


def parse(packet: bytes) -> Layout | Refusal:
    return parse_layout(memoryview(packet))


def changed(flow: Flow, place: int, value: int) -> bytes:
    packet = bytearray(flow.packet(b"payload"))
    packet[place] = value
    return bytes(packet)


V4 = Flow()
V6 = Flow(version=6)


@pytest.mark.parametrize(
    ("flow", "layout"),
    [
        (V4, Layout(4, TCP, 20, 40)),
        (V6, Layout(6, TCP, 40, 60)),
        (Flow(protocol=UDP), Layout(4, UDP, 20, 28)),
        (Flow(version=6, protocol=UDP), Layout(6, UDP, 40, 48)),
        (Flow(options=TIMESTAMPS), Layout(4, TCP, 20, 52)),
        (Flow(ip_options=b"\1\1\1\0"), Layout(4, TCP, 24, 44)),
        (Flow(version=6, extensions=(0, 43, 60)), Layout(6, TCP, 64, 84)),
    ],
)
def test_parts_are_found_where_the_headers_say(flow: Flow, layout: Layout) -> None:
    assert parse(flow.packet(b"payload")) == layout
    assert parse(flow.packet(b"")) == layout


@pytest.mark.parametrize("size", range(20))
def test_less_than_a_header_is_too_short(size: int) -> None:
    assert parse(V4.packet(b"")[:size]) is Refusal.TOO_SHORT
    assert parse(V6.packet(b"")[: size + 20]) is Refusal.TOO_SHORT


@pytest.mark.parametrize("flow", [V4, V6, Flow(protocol=UDP), Flow(version=6, protocol=UDP)])
@pytest.mark.parametrize("change", [-1, 1])
def test_the_ip_length_must_be_that_of_the_packet(flow: Flow, change: int) -> None:
    packet = flow.packet(b"payload")
    wrong = packet[:-1] if change < 0 else packet + b"\0"
    assert parse(wrong) is Refusal.WRONG_LENGTH


def test_the_udp_length_must_be_that_of_the_packet() -> None:
    assert parse(changed(Flow(protocol=UDP), 25, 14)) is Refusal.WRONG_LENGTH


@pytest.mark.parametrize("version", [0, 3, 5, 7, 15])
def test_other_versions_make_no_sense(version: int) -> None:
    assert parse(changed(V4, 0, version << 4 | 5)) is Refusal.MALFORMED


@pytest.mark.parametrize("field", [0x2000, 0x0001, 0x1FFF, 0x6000])
def test_an_ipv4_fragment_is_refused(field: int) -> None:
    assert parse(replace(V4, fragment_field=field).packet(b"payload")) is Refusal.FRAGMENT


def test_an_ipv6_fragment_is_refused() -> None:
    assert parse(Flow(version=6, extensions=(44,)).packet(b"payload")) is Refusal.FRAGMENT


@pytest.mark.parametrize(("flow", "place"), [(V4, 9), (V6, 6)])
@pytest.mark.parametrize("protocol", [1, 58, 50, 51, 132])
def test_other_protocols_are_refused(flow: Flow, place: int, protocol: int) -> None:
    assert parse(changed(flow, place, protocol)) is Refusal.NOT_TCP_OR_UDP


def test_an_ip_header_below_its_least_size_makes_no_sense() -> None:
    assert parse(changed(V4, 0, 0x44)) is Refusal.MALFORMED


def test_a_tcp_header_below_its_least_size_makes_no_sense() -> None:
    assert parse(changed(V4, 32, 0x40)) is Refusal.MALFORMED


@pytest.mark.parametrize(("flow", "place"), [(V4, 32), (V6, 52)])
def test_tcp_options_must_not_go_beyond_the_packet(flow: Flow, place: int) -> None:
    assert parse(changed(flow, place, 0xF0)) is Refusal.TOO_SHORT


def test_extension_headers_must_not_go_beyond_the_packet() -> None:
    assert parse(changed(Flow(version=6, extensions=(0,)), 41, 255)) is Refusal.TOO_SHORT


def test_an_endless_chain_of_extension_headers_is_refused() -> None:
    assert parse(Flow(version=6, extensions=(60,) * 8).packet(b"")) is Refusal.MALFORMED
