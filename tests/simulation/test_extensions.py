"""Two of us, one of us and a stock peer, and everything between: who sends what, and what comes out of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.properties.superpackets import PSH, TCP, UDP, Flow, Superpacket
from tunnel.offload.segment import complete_checksum
from tunnel.protocol.events import HandshakeCompleted, PeerClosed
from tunnel.protocol.transport import seal_extended
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.control import SLICES, Capability, ControlKind, pack_close
from tunnel.wire.messages import ExtendedFlag, MessageType
from tunnel.wire.tai64n import is_tagged

ALL = Capability(sum(Capability))
EXTENDED = MessageType.EXTENDED_DATA
DATA = MessageType.TRANSPORT_DATA
FLOW = Flow(protocol=TCP, flags=Flow.flags | PSH)
SUPERPACKET = Superpacket(FLOW, bytes(range(256)) * 40, 1368)
"""From the first host of a network to the second one: eight segments."""

Filter = Callable[[bytes], bool]


@pytest.fixture(autouse=True)
def offered() -> None:
    """Here each conversation says itself who offers what."""


def create_pair(
    left: Capability | None = ALL, right: Capability | None = ALL, **network: float
) -> tuple[Network, SimulatedHost, SimulatedHost]:
    net = Network(**network)  # type: ignore[arg-type]
    hosts: list[SimulatedHost] = []
    for net.offered in (left, right):
        hosts.append(net.host())
    hosts[0].connect(hosts[1])
    return net, hosts[0], hosts[1]


def create_session(
    left: Capability | None = ALL, right: Capability | None = ALL
) -> tuple[Network, SimulatedHost, SimulatedHost]:
    """After a handshake that the left one began, and everything that follows from it."""
    network, *hosts = create_pair(left, right)
    hosts[0].send_to(hosts[1], b"first")
    network.run(0.5)
    for host in hosts:
        host.sent.clear()
        host.received.clear()
        host.frames.clear()
    return network, hosts[0], hosts[1]


def kinds_of(host: SimulatedHost) -> list[int]:
    """The types of the messages that it sent."""
    return [datagram[0] for _, _, datagram in host.sent]


def flags_of(host: SimulatedHost) -> list[int]:
    """The flags of each message 5 that it sent, but for the cipher's."""
    return [datagram[1] & ~ExtendedFlag.AES_256_GCM for _, _, datagram in host.sent if datagram[0] == EXTENDED]


def extensions_of(host: SimulatedHost) -> tuple[str, ...]:
    (peer,) = host.device.snapshot(0).peers
    assert peer.extensions is not None
    return peer.extensions


def lose(network: Network, is_lost: Filter) -> None:
    network.filter = lambda source, destination, datagram: not is_lost(datagram)


def packets_of(host: SimulatedHost) -> list[bytes]:
    """The packets that its kernel got, with their checksums filled in."""
    packets = []
    for frame in host.frames:
        whole = bytearray(frame)
        assert complete_checksum(memoryview(whole)), "one packet each: the network carries no trains"
        packets.append(bytes(whole[10:]))
    return packets


# ---- who finds out about whom ---------------------------------------------------------------------------------------


def test_two_of_us_speak_message_5_after_one_exchange() -> None:
    network, left, right = create_session()
    left.send_to(right, b"there")
    right.send_to(left, b"and back")
    network.run(0.1)
    assert kinds_of(left) == kinds_of(right) == [EXTENDED]
    assert right.received == [b"there"]
    assert left.received == [b"and back"]
    assert extensions_of(left) == extensions_of(right)
    assert extensions_of(left)[0] == "aes-256-gcm"


def test_nothing_is_counted_as_dropped_on_the_way_there() -> None:
    network, left, right = create_session()
    left.send_to(right, b"there")
    network.run(0.1)
    assert left.drops() == right.drops() == {}


@pytest.mark.parametrize(("left_offers", "right_offers"), [(ALL, None), (None, ALL), (None, None)])
def test_who_is_plain_gets_and_sends_what_is_plain(
    left_offers: Capability | None, right_offers: Capability | None
) -> None:
    network, left, right = create_pair(left_offers, right_offers)
    for _ in range(200):
        left.send_to(right, b"there")
        right.send_to(left, b"and back")
        left.send_superpacket(right, SUPERPACKET.frame())
        network.run(2)
    for host in (left, right):
        assert set(kinds_of(host)) <= {1, 2, 4}
        assert all(datagram[1:4] == bytes(3) for _, _, datagram in host.sent)
        assert host.drops() == {}, "a control frame would be malformed to who is plain"
        assert extensions_of(host) == ()


def test_the_tag_is_in_the_stamp_of_who_has_extensions_only() -> None:
    for offered in (ALL, None):
        network, left, right = create_pair(offered)
        left.send_to(right, b"hello")
        network.run(0.1)
        (peer,) = right.device._peers.values()
        assert is_tagged(peer.handshakes._latest_timestamp) is (offered is not None)


def test_stamps_go_on_growing_when_extensions_are_switched_off_and_on() -> None:
    network, left, right = create_pair()
    for offered in (None, ALL, None, ALL):
        left.offered = offered
        left.restart()
        left.add_peer(right)
        left.send_to(right, b"hello")
        network.run(0.001)  # less than a step of the clock
    network.run(1)
    assert "replayed_handshake" not in right.drops()


def test_a_hello_that_is_lost_is_said_again() -> None:
    network, left, right = create_pair()
    lost: list[bytes] = []

    def is_first_hello(datagram: bytes) -> bool:
        if datagram[0] == DATA and len(lost) < 3 and len(datagram) == 48:
            lost.append(datagram)
            return True
        return False

    lose(network, is_first_hello)
    for _ in range(8):
        left.send_to(right, b"a packet that is longer than a hello, even when it is padded")
        network.run(0.5)
    assert len(lost) == 3
    assert extensions_of(left)
    assert extensions_of(right)


def test_who_does_not_answer_is_greeted_only_a_few_times() -> None:
    network, left, right = create_pair()
    lose(network, lambda datagram: datagram[0] == DATA and len(datagram) == 48)
    for _ in range(100):
        left.send_to(right, b"a packet that is longer than a hello, even when it is padded")
        network.run(0.5)
    assert len([datagram for _, _, datagram in right.sent if len(datagram) == 48]) == 5


def test_data_waits_for_no_hello() -> None:
    network, left, right = create_pair()
    lose(network, lambda datagram: datagram[0] == DATA and len(datagram) == 48)
    left.send_to(right, b"a packet that is longer than a hello, even when it is padded")
    network.run(0.1)
    assert len(right.received) == 1


# ---- what is sent to whom -------------------------------------------------------------------------------------------


def test_packets_are_not_padded_in_message_5() -> None:
    _, left, right = create_session()
    left.send_to(right, b"x")
    assert [len(datagram) for _, _, datagram in left.sent] == [32 + 20 + 1]


def test_a_superpacket_goes_in_slices_to_who_takes_them() -> None:
    network, left, right = create_session()
    left.send_superpacket(right, SUPERPACKET.frame())
    network.run(0.1)
    assert flags_of(left) == [ExtendedFlag.SLICE] * 7 + [ExtendedFlag.SLICE | ExtendedFlag.LAST]
    assert packets_of(right) == SUPERPACKET.packets()


def test_a_burst_of_equal_packets_is_message_5_too() -> None:
    network, left, right = create_session()
    left.send_to(right, *[b"%d" % number for number in range(9)])
    network.run(0.1)
    assert flags_of(left) == [0] * 9
    assert len(right.received) == 9


def test_a_partial_checksum_goes_as_it_is_to_who_takes_it() -> None:
    network, left, right = create_session()
    packet = FLOW.packet(b"payload", is_partial=True)
    left.send_partial(packet)
    network.run(0.1)
    assert flags_of(left) == [ExtendedFlag.PARTIAL]
    assert packets_of(right) == [FLOW.packet(b"payload")]


@pytest.mark.parametrize("right_offers", [None, SLICES])
def test_a_partial_checksum_is_completed_for_who_does_not_take_it(right_offers: Capability | None) -> None:
    network, left, right = create_session(ALL, right_offers)
    left.send_partial(FLOW.packet(b"payload", is_partial=True))
    network.run(0.1)
    assert ExtendedFlag.PARTIAL not in flags_of(left)
    assert packets_of(right) == [FLOW.packet(b"payload")]


def test_a_partial_checksum_is_completed_before_the_packet_waits_for_a_handshake() -> None:
    network, left, right = create_pair()
    left.send_partial(FLOW.packet(b"payload", is_partial=True))
    network.run(0.5)
    assert packets_of(right) == [FLOW.packet(b"payload")]


# ---- loss, order, twice ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", [FLOW, replace(FLOW, protocol=UDP), replace(FLOW, fragment_field=0)])
@pytest.mark.parametrize("missing", [{0}, {3}, {7}, {0, 1, 6}, {2, 4, 7}])
def test_the_loss_of_a_slice_costs_that_slice(flow: Flow, missing: set[int]) -> None:
    superpacket = replace(SUPERPACKET, flow=flow)
    network, left, right = create_session()
    left.send_superpacket(right, superpacket.frame())
    number = -1

    def is_missing(datagram: bytes) -> bool:
        nonlocal number
        number += datagram[0] == EXTENDED
        return number in missing

    left.sent.clear()
    lose(network, is_missing)
    left.send_superpacket(right, superpacket.frame())
    network.run(0.1)
    packets = superpacket.packets()
    expected = packets + [packet for position, packet in enumerate(packets) if position not in missing]
    assert packets_of(right) == expected


def test_slices_may_overtake_each_other_and_come_twice() -> None:
    network, left, right = create_session()
    network.delay, network.duplication = (0.01, 0.5), 0.5
    for _ in range(5):
        left.send_superpacket(right, SUPERPACKET.frame())
    network.run(2)
    assert sorted(packets_of(right)) == sorted(SUPERPACKET.packets() * 5)
    assert right.drops()["replayed"] > 0


def test_extensions_live_through_a_bad_network() -> None:
    network, left, right = create_pair(loss=0.2, duplication=0.2)
    network.delay = (0.01, 0.6)
    for number in range(800):
        left.send_superpacket(right, replace(SUPERPACKET, payload=bytes([number % 256]) * 3000).frame())
        right.send_to(left, b"%d" % number)
        network.run(0.5)
    assert len(right.received) > 0.7 * 3 * 800
    assert len(set(left.received)) == len(left.received) > 0.7 * 800
    assert EXTENDED in kinds_of(left)
    assert set(right.drops()) <= {"replayed", "replayed_handshake", "no_such_index", "unexpected_response"}


# ---- sessions change ------------------------------------------------------------------------------------------------


def test_each_session_finds_out_for_itself() -> None:
    """A rekey: message 4 until the hellos of the new keypair, then message 5 again; nothing is lost on the way."""
    network, left, right = create_session()
    for _ in range(300):
        left.send_superpacket(right, SUPERPACKET.frame())
        network.run(0.5)
    network.run(1)
    assert len(left.events_of(HandshakeCompleted)) >= 2
    assert packets_of(right) == SUPERPACKET.packets() * 300
    assert kinds_of(left).count(DATA) - len(left.probes) < 50
    assert EXTENDED in kinds_of(left)[-9:]


def test_a_superpacket_on_its_way_during_a_rekey_arrives_whole() -> None:
    """Its slices were sealed under what is the previous keypair by the time they come."""
    network, left, right = create_session()
    network.delay = (1.0, 1.0)
    left.send_superpacket(right, SUPERPACKET.frame())
    network.delay = (0.01, 0.01)
    (peer,) = left.device._peers.values()
    peer.handshakes.wait_no_longer()
    peer.handshakes.initiate(network.clock.now())
    network.flush(left)
    network.run(0.5)
    assert left.events_of(HandshakeCompleted)[1:]
    network.run(1)
    assert packets_of(right) == SUPERPACKET.packets()


def test_capabilities_are_those_of_the_keypair() -> None:
    network, left, right = create_session()
    right.device.offered = Capability(0)
    network.run(130)
    left.send_to(right, b"this asks for a new session")
    network.run(0.5)
    left.send_to(right, b"and this is sent under it")
    network.run(0.5)
    assert extensions_of(left) == ("chacha20-poly1305",)
    left.sent.clear()
    left.send_to(right, b"no AES")
    assert kinds_of(left) == [EXTENDED]
    assert left.sent[0][2][1] == 0


def test_who_is_restarted_without_extensions_in_the_middle_of_a_flow_is_served_again() -> None:
    network, left, right = create_session()
    left.send_superpacket(right, SUPERPACKET.frame())
    network.run(0.1)
    right.offered = None
    right.restart()
    right.add_peer(left)
    for _ in range(40):
        left.send_superpacket(right, SUPERPACKET.frame())
        network.run(0.5)
    right.frames.clear()
    left.sent.clear()
    left.send_superpacket(right, SUPERPACKET.frame())
    network.run(0.5)
    assert kinds_of(left) == [DATA] * 8
    assert packets_of(right) == SUPERPACKET.packets()
    assert set(right.drops()) <= {"no_such_index"}


# ---- going away -----------------------------------------------------------------------------------------------------


def test_who_goes_down_says_so() -> None:
    network, left, right = create_session()
    right.device.down(network.clock.now())
    network.flush(right)
    network.run(0.1)
    assert left.events_of(PeerClosed)
    assert extensions_of(left) == ()
    (peer,) = left.device._peers.values()
    assert list(peer.keypairs) == []


def test_who_hears_that_asks_for_a_new_session_with_its_next_packet() -> None:
    """Without a word it would take fifteen seconds."""
    network, left, right = create_session()
    right.device.down(network.clock.now())
    network.flush(right)
    network.run(0.1)
    right.restart()
    right.add_peer(left)
    left.send_to(right, b"are you back?")
    network.run(0.1)
    assert right.received == [b"are you back?"]


def test_nobody_is_called_who_has_gone_away() -> None:
    network, left, right = create_session()
    right.send_to(left, b"left owes an answer to this")
    network.run(0.1)
    right.device.down(network.clock.now())
    network.flush(right)
    network.run(0.1)
    left.sent.clear()
    network.run(60)
    assert left.sent == []


def test_a_peer_that_is_removed_is_told() -> None:
    network, left, right = create_session()
    right.remove_peer(left)
    network.run(0.1)
    assert left.events_of(PeerClosed)


def test_a_close_that_comes_late_does_not_end_the_new_session() -> None:
    network, left, right = create_session()
    network.delay = (2.0, 2.0)
    right.device.down(network.clock.now())
    network.flush(right)
    network.delay = (0.01, 0.01)
    right.restart()
    right.add_peer(left)
    right.send_to(left, b"I am back")
    network.run(1)
    assert left.received == [b"I am back"]
    network.run(2)
    assert left.events_of(PeerClosed) == []
    left.send_to(right, b"I heard")
    network.run(0.1)
    assert right.received == [b"I heard"]


# ---- a peer that does not keep to it --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ControlKind.HELLO, ControlKind.CLOSE, 3, 15, 0])
def test_control_frames_of_a_session_without_extensions_are_counted_and_nothing_else(kind: int) -> None:
    network, left, right = create_session(None, ALL)
    (peer,) = left.device._peers.values()
    assert peer.keypairs.current is not None
    peer.control.send(peer.keypairs.current, bytes([kind, 1, 9, 0, 8, 8]), network.clock.now())
    network.flush(left)
    network.run(0.1)
    assert right.drops() == {"unexpected_control": 1}
    left.send_to(right, b"still here")
    network.run(0.1)
    assert right.received == [b"still here"]


@pytest.mark.parametrize("frame", [b"\5", b"\x0f", b"\1\0\0\0", b"\1"])
def test_control_frames_that_we_do_not_know_are_counted(frame: bytes) -> None:
    network, left, right = create_session()
    (peer,) = left.device._peers.values()
    assert peer.keypairs.current is not None
    peer.control.send(peer.keypairs.current, frame, network.clock.now())
    network.flush(left)
    network.run(0.1)
    assert right.drops() == {"unexpected_control": 1}


def test_message_5_that_was_not_asked_for_is_counted_and_not_opened() -> None:
    network, left, right = create_session()
    (peer,) = right.device._peers.values()
    assert peer.keypairs.current is not None
    peer.keypairs.current.extension = None
    left.send_to(right, b"hello")
    network.run(0.1)
    assert right.received == []
    assert right.drops() == {"unexpected_extended": 1}


def test_a_control_frame_is_none_in_message_5() -> None:
    network, left, right = create_session()
    (peer,) = left.device._peers.values()
    keypair = peer.keypairs.current
    assert keypair is not None
    slot = memoryview(bytearray(64))
    slot[16:17] = pack_close()
    (datagram,) = seal_extended(keypair, [slot], [1], [0])
    network.inject(left.endpoint, right.endpoint, bytes(datagram))
    network.run(0.1)
    assert right.events_of(PeerClosed) == []
    assert right.drops() == {"malformed_packet": 1}


def test_a_slice_from_a_source_that_is_not_allowed_is_refused() -> None:
    network, left, right = create_session()
    frame = bytearray(SUPERPACKET.frame())
    frame[10 + 15] = 77
    left.send_superpacket(right, bytes(frame))
    network.run(0.1)
    assert right.frames == []
    assert right.drops() == {"source_not_allowed": 8}


@pytest.mark.parametrize("byte", [0, 1, 2, 4, 8])
def test_a_header_that_was_changed_on_the_way_does_not_authenticate(byte: int) -> None:
    network, left, right = create_session()
    left.send_to(right, b"hello")
    ((_, _, datagram),) = left.sent
    changed = bytearray(datagram)
    changed[byte] ^= 2
    network.run(0.1)
    right.received.clear()
    network.inject(left.endpoint, right.endpoint, bytes(changed))
    network.run(0.1)
    assert right.received == []
    assert sum(right.drops().values()) == 1
