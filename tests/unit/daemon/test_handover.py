"""What comes from systemd in $LISTEN_FDS, told apart and judged: sockets of ours at numbers of our own."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tunnel.daemon.handover import Handover
from tunnel.errors import ConfigError

PID = 4711
UNIT = "tunnel@wg0.socket"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def udp(family: socket.AddressFamily = socket.AF_INET, port: int = 0, *, both: bool = False) -> socket.socket:
    """Bound on loopback, or for `both` IP versions."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
    sock.bind(("" if both else "::1" if family == socket.AF_INET6 else "127.0.0.1", port))
    return sock


def pair() -> list[socket.socket]:
    """Of one port."""
    for _ in range(100):
        ipv4 = udp()
        try:
            return [ipv4, udp(socket.AF_INET6, ipv4.getsockname()[1])]
        except OSError:  # somebody has it in IPv6
            ipv4.close()
    pytest.fail("no port is free in both IP versions")


def hand_over(sockets: list[socket.socket], *names: str, **variables: str) -> Handover:
    """As a process finds it whose descriptors from `first` on are these."""
    first = 700
    for number, sock in enumerate(sockets):
        os.dup2(sock.fileno(), first + number)
        sock.close()
    environment = {"LISTEN_PID": str(PID), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(names)}
    environment |= variables
    handover = Handover.take_from(environment, PID, first)
    assert environment == {}, "a hook would believe that it is meant"
    return handover


def test_sockets_of_a_unit_are_copied_and_stay(stack: ExitStack) -> None:
    sockets = pair()
    port = sockets[0].getsockname()[1]
    handover = stack.enter_context(hand_over(sockets, UNIT, UNIT))
    assert (handover.port, handover.unit) == (port, UNIT)
    assert [sock.family for sock in handover.activated] == [socket.AF_INET, socket.AF_INET6]
    assert not any(os.get_inheritable(sock.fileno()) for sock in handover.activated)
    assert handover.is_empty


def test_the_file_may_name_the_port_of_the_unit_or_none(stack: ExitStack) -> None:
    sockets = pair()
    port = sockets[0].getsockname()[1]
    handover = stack.enter_context(hand_over(sockets, UNIT, UNIT))
    handover.check(0)
    handover.check(port)
    why = f"{UNIT}: port {port}, and ListenPort is 1: make them the same, or leave ListenPort out"
    with pytest.raises(ConfigError, match=f"^{why}$"):
        handover.check(1)


def test_what_the_process_before_us_has_left_is_known_by_its_name(stack: ExitStack) -> None:
    sockets = [*pair(), socket.socket()]
    port = sockets[0].getsockname()[1]
    handover = stack.enter_context(hand_over(sockets, "stored-udp", "stored-udp", "stored-tun"))
    assert not handover.is_empty
    assert handover.port is None
    assert handover.interface is None, "a socket is the card of no interface"
    handover.check(1)
    taken = [stack.enter_context(sock) for sock in handover.take_sockets(0)]
    assert [sock.getsockname()[1] for sock in taken] == [port, port]
    handover.let_go_of_interface()
    assert handover.is_empty


def test_of_two_interfaces_that_were_left_one_is_let_go(stack: ExitStack) -> None:
    """systemd keeps what we could not tell it to forget, besides what is stored next."""
    handover = stack.enter_context(hand_over(pair(), "stored-tun", "stored-tun"))
    assert handover.tun == 700
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(701)


def test_sockets_of_another_port_than_is_wanted_are_let_go(stack: ExitStack) -> None:
    sockets = pair()
    port = sockets[0].getsockname()[1]
    handover = stack.enter_context(hand_over(sockets, "stored-udp", "stored-udp"))
    assert handover.take_sockets(1) == []
    udp(port=port).close()  # it is free


@pytest.mark.parametrize(
    ("sockets", "why"),
    [
        (lambda: [socket.create_server(("127.0.0.1", 0))], "not a UDP socket: tunnel needs ListenDatagram= and a port"),
        (lambda: [socket.socketpair()[0]], "not a UDP socket: tunnel needs ListenDatagram= and a port"),
        (lambda: [udp(socket.AF_INET6, both=True)], "one socket for IPv4 and IPv6: BindIPv6Only=ipv6-only is needed"),
        (lambda: [udp(), udp()], "one port is needed, once for IPv4 and once for IPv6 at most"),
        (lambda: [udp(), udp(socket.AF_INET6)], "one port is needed, once for IPv4 and once for IPv6 at most"),
        (lambda: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)], "a UDP socket without a port"),
        (lambda: [open(os.devnull)], "not a socket: tunnel needs ListenDatagram= and a port"),  # noqa: SIM115
    ],
)
def test_a_unit_that_is_no_use_to_us_is_refused_and_nothing_stays_open(sockets: object, why: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert callable(sockets)
    with pytest.raises(ConfigError) as refused:
        hand_over(sockets(), *[UNIT] * 2)
    assert str(refused.value) == f"{UNIT}: {why}"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_descriptor_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^LISTEN_FDS: descriptor 700 is not open$"):
        hand_over([], LISTEN_FDS="1")


@pytest.mark.parametrize(
    "variables",
    [
        {"LISTEN_PID": "1"},
        {"LISTEN_PID": ""},
        {"LISTEN_FDS": ""},
        {"LISTEN_FDS": "many"},
        {"LISTEN_FDS": "-1"},
        {"LISTEN_FDS": "\N{SUPERSCRIPT TWO}"},
        {"LISTEN_FDS": "0"},
    ],
)
def test_what_is_not_for_us_is_not_looked_at(variables: dict[str, str]) -> None:
    handover = hand_over([], **variables)
    assert (handover.port, handover.is_empty) == (None, True)


def test_without_systemd_there_is_nothing() -> None:
    assert Handover.take_from({}, PID).is_empty
