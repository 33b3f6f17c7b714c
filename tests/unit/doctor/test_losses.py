"""What doctor says of buffers, queues, checksums and offloads, and that it says nothing of what is as it should be."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.doctor.patients import FACTS, STATUS, with_status
from tunnel.config.model import InterfaceConfig, Offload, TunnelConfig
from tunnel.doctor.examination import examine
from tunnel.doctor.facts import ConfigFacts, Facts, Link
from tunnel.doctor.finding import Finding, Severity
from tunnel.keys import PrivateKey
from tunnel.udp.binding import BUFFER_REQUEST

SMALL = with_status(receive_buffer=212_992, pid=7)
LARGE = with_status(receive_buffer=BUFFER_REQUEST, pid=7)
OVERFLOW = {"UdpRcvbufErrors": 40, "Udp6RcvbufErrors": 2}


def queue(length: int, *, is_up: bool = True) -> Facts:
    """Twelve packets found no room in a queue of that length."""
    links = {**FACTS.links, "wg0": Link("wg0", is_up, 1420, ("10.8.0.2/24",), queue_length=length)}
    return replace(FACTS, links=links, queue_drops=12)


def found(facts: Facts, words: str) -> Finding | None:
    """The finding that has these words, if there is one."""
    return next((finding for finding in examine(facts).findings if words in finding.what), None)


def offload(setting: Offload) -> ConfigFacts:
    config = InterfaceConfig(PrivateKey(bytes(31) + b"@"), offload=setting)
    return ConfigFacts(Path("/etc/tunnel/w g0.conf"), TunnelConfig(config, ()))


FAULTS = {
    "small buffer that overflows": (
        replace(SMALL, port_drops=50, counted=OVERFLOW),
        "datagrams are lost on this host",
        "42 just now",
        f"sysctl -w net.core.rmem_max={BUFFER_REQUEST}",
    ),
    "large buffer that overflows": (
        replace(LARGE, port_drops=30, counted=OVERFLOW),
        "datagrams are lost on this host",
        "30 just now",
        "top -p 7",
    ),
    "queue that was shortened": (queue(10), "before they enter the tunnel", "holds 10", "txqueuelen 1000"),
    "UDP checksums": (
        replace(FACTS, port_drops=3, counted={"Udp6InCsumErrors": 9}),
        "datagrams arrive damaged",
        "3 for our port",
        "tunnel-wg --offload off wg0",
    ),
    "seals": (with_status(drops={"tag_failed": 5}), "datagrams arrive damaged", "5 did not", "offload off"),
    "TUN": (with_status(drops={"tun_refused": 5}), "kernel refuses", "5 packets", "offload off"),
}


@pytest.mark.parametrize(("facts", "what", "why", "remedy"), FAULTS.values(), ids=FAULTS.keys())
def test_what_grows_while_we_look_is_a_fault(facts: Facts, what: str, why: str, remedy: str) -> None:
    verdict = examine(facts).verdict
    assert verdict is not None
    assert verdict.severity is Severity.FAULT
    assert what in verdict.what
    assert why in verdict.why
    assert remedy in verdict.remedy


def test_a_small_buffer_that_loses_nothing_is_worth_a_word_only() -> None:
    verdict = examine(SMALL).verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE
    assert "212992 bytes of the 7340032" in verdict.why


@pytest.mark.parametrize("granted", [None, 0, BUFFER_REQUEST])
def test_a_buffer_as_large_as_asked_for_or_of_which_nothing_is_known_is_not_called_small(granted: int | None) -> None:
    assert examine(with_status(receive_buffer=granted)).verdict is None


def test_datagrams_that_others_lose_are_not_ours() -> None:
    assert examine(replace(SMALL, counted=OVERFLOW | {"UdpInCsumErrors": 7})).is_healthy


def test_a_damaged_datagram_is_not_called_lost_for_want_of_room() -> None:
    facts = replace(SMALL, port_drops=3, counted={"UdpInCsumErrors": 3})
    assert found(facts, "lost on this host") is None


def test_a_queue_of_the_usual_length_that_overflows_is_worth_a_word_only() -> None:
    verdict = examine(queue(1000)).verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE
    assert verdict.remedy == "ip link set wg0 txqueuelen 4000"


def test_the_queue_of_an_interface_that_is_down_is_not_judged() -> None:
    assert found(queue(10, is_up=False), "enter the tunnel") is None


def test_tcp_checksums_are_anybodys() -> None:
    finding = found(replace(FACTS, counted={"TcpInCsumErrors": 4}), "TCP segments")
    assert finding is not None
    assert finding.severity is Severity.ADVICE


def test_offloads_are_switched_off_in_the_file_that_it_came_from() -> None:
    facts = replace(with_status(drops={"tag_failed": 1}), config=offload(Offload.AUTO))
    verdict = examine(facts).verdict
    assert verdict is not None
    assert verdict.remedy.startswith("sed -i ")
    assert "'/etc/tunnel/w g0.conf' && tunnel down wg0 && tunnel up '/etc/tunnel/w g0.conf' -d" in verdict.remedy


def test_where_offloads_are_off_already_the_other_end_is_next() -> None:
    facts = replace(with_status(drops={"tag_failed": 1}), config=offload(Offload.OFF))
    verdict = examine(facts).verdict
    assert verdict is not None
    assert verdict.remedy.startswith("tunnel doctor  # there")


def test_seals_that_did_not_hold_last_week_are_no_fault() -> None:
    old = {"tag_failed": 9, "tun_refused": 9}
    assert examine(replace(with_status(drops=old), before=replace(STATUS, drops=old))).verdict is None
