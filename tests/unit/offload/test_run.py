import pytest

from tests.properties.superpackets import ACK, CWR, UDP, Flow, Superpacket
from tunnel.offload.flow import Refusal, parse_layout
from tunnel.offload.run import Run, begin_run


def run_of(packet: bytes) -> Run:
    layout = parse_layout(memoryview(packet))
    assert not isinstance(layout, Refusal)
    run = begin_run(memoryview(packet), layout)
    assert run is not None
    return run


def joined(packets: list[bytes]) -> Run:
    run = run_of(packets[0])
    assert all(run.join(run_of(packet)) for packet in packets[1:])
    return run


@pytest.mark.parametrize("packet", [Flow().packet(b""), Flow(flags=2).packet(b"payload")])
def test_what_cannot_be_part_of_a_superpacket_is_no_run(packet: bytes) -> None:
    layout = parse_layout(memoryview(packet))
    assert not isinstance(layout, Refusal)
    assert begin_run(memoryview(packet), layout) is None


def test_a_run_of_one_is_a_frame_of_the_packet_itself() -> None:
    packet = Flow().packet(b"payload")
    header, body = run_of(packet).frame()
    assert (header, body) == (bytes(10), packet)


@pytest.mark.parametrize("flow", [Flow(), Flow(version=6), Flow(protocol=UDP), Flow(flags=ACK | CWR)])
def test_joined_runs_are_a_frame_of_all_of_them(flow: Flow) -> None:
    superpacket = Superpacket(flow, bytes(35), 10)
    assert b"".join(joined(superpacket.packets()).frame()) == superpacket.frame()


def test_runs_of_several_packets_join_as_well() -> None:
    superpacket = Superpacket(Flow(), bytes(60), 10)
    packets = superpacket.packets()
    first = joined(packets[:3])
    assert first.join(joined(packets[3:]))
    assert b"".join(first.frame()) == superpacket.frame()


def test_runs_that_do_not_join_are_left_as_they_were() -> None:
    first, second = joined(Superpacket(Flow(), bytes(20), 10).packets()), run_of(Flow().packet(b"elsewhere"))
    before = [bytes(part) for part in first.frame()]
    assert not first.join(second)
    assert [bytes(part) for part in first.frame()] == before
    assert second.count == 1


def test_joining_does_not_change_a_list_that_came_from_elsewhere() -> None:
    packets = Superpacket(Flow(), bytes(30), 10).packets()
    run = run_of(packets[0])
    payloads = [memoryview(packet)[40:] for packet in packets[:2]]
    run.grow(payloads, 0)
    assert run.join(run_of(packets[2]))
    assert len(payloads) == 2
