"""What the state of the link makes of the UDP port and of sessions, on a TUN in memory and real ports."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import cast

import pytest

from tests.unit.daemon.pipelines import FakeTimeLoop
from tunnel.config.model import Offload
from tunnel.config.patch import DevicePatch
from tunnel.daemon.data_plane import DEAF_RETRY, DataPlane
from tunnel.daemon.handover import Handover
from tunnel.daemon.systemd import Notifier
from tunnel.errors import UdpSocketError
from tunnel.netlink.link import LinkEvent
from tunnel.testing.memory import MemoryTun
from tunnel.tun.device import TunDevice

UP, DOWN = LinkEvent("wg0", is_up=True, mtu=1420), LinkEvent("wg0", is_up=False, mtu=1420)


class Given(Handover):
    """Hands over a TUN device that is in memory only."""

    def take_tun(self, name: str, offload: Offload) -> TunDevice | None:
        return cast(TunDevice, MemoryTun(name))


class Site:
    """A data plane that is running; `told` is what it said of the link, with the port that it had then."""

    def __init__(self, stack: ExitStack, loop: FakeTimeLoop) -> None:
        self.loop = loop
        self.plane = DataPlane("wg0", loop.clock, Offload.AUTO, Given(), has_extensions=True)
        self.told: list[tuple[bool, bool]] = []
        stack.enter_context(self.plane.running(on_event=lambda _: None, on_link=self._on_link, on_gone=lambda _: None))

    def _on_link(self, is_up: bool) -> None:
        self.told.append((is_up, self.has_port()))

    def has_port(self) -> bool:
        return self.plane.buffers != (0, 0)

    async def wait(self, seconds: float) -> None:
        """What is due by then has happened."""
        self.loop.clock.advance(seconds)
        for _ in range(3):
            await asyncio.sleep(0)


def run(scenario: Callable[[Site, socket.socket], Awaitable[None]]) -> None:
    """With somebody else's socket on a port that nobody else has."""
    loop = FakeTimeLoop()

    async def main() -> None:
        with ExitStack() as stack:
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind(("0.0.0.0", 0))
            await scenario(Site(stack, loop), taken)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_the_link_opens_the_port_and_closes_it_and_both_are_told_once() -> None:
    async def scenario(site: Site, _: socket.socket) -> None:
        site.plane.link_changed(DOWN)
        assert not site.has_port()
        site.plane.link_changed(UP)
        number = site.plane.listen_port
        assert number
        site.plane.link_changed(UP)
        site.plane.link_changed(DOWN)
        site.plane.link_changed(DOWN)
        assert site.told == [(True, True), (False, True)], "what ends is told of before it ends"
        assert not site.has_port()
        site.plane.link_changed(UP)
        assert site.plane.listen_port == number, "the port is kept in mind"

    run(scenario)


def test_without_its_port_it_tries_on_until_it_has_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site, taken: socket.socket) -> None:
        site.plane.device.listen_port = taken.getsockname()[1]
        site.plane.link_changed(UP)
        await site.wait(DEAF_RETRY)
        assert (site.told, site.has_port()) == ([], False)
        taken.close()
        await site.wait(DEAF_RETRY / 2)
        assert not site.has_port()
        await site.wait(DEAF_RETRY / 2)
        assert site.told == [(True, True)]

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert len(caplog.messages) == 1
    assert "interface wg0 is up, but deaf, trying on: cannot listen on UDP port" in caplog.text


@pytest.mark.parametrize("end", ["down", "removed"])
def test_it_tries_on_no_more_when_the_link_goes_down_or_the_interface_away(end: str) -> None:
    async def scenario(site: Site, taken: socket.socket) -> None:
        site.plane.device.listen_port = taken.getsockname()[1]
        site.plane.link_changed(UP)
        if end == "down":
            site.plane.link_changed(DOWN)
        else:
            site.plane.remove()
        taken.close()
        await site.wait(DEAF_RETRY)
        assert not site.has_port()
        assert (True, True) not in site.told

    run(scenario)


def test_a_port_that_is_refused_leaves_the_device_as_it_was() -> None:
    async def scenario(site: Site, taken: socket.socket) -> None:
        number = taken.getsockname()[1]
        with pytest.raises(UdpSocketError):
            site.plane.configure(DevicePatch(listen_port=number, fwmark=0))
        assert (site.plane.listen_port, site.has_port()) == (0, False)
        site.plane.configure(DevicePatch(listen_port=0, fwmark=0))
        before = site.plane.listen_port
        with pytest.raises(UdpSocketError):
            site.plane.move_socket(DevicePatch(listen_port=number))
        assert (site.plane.listen_port, site.plane.device.listen_port) == (before, before)

    run(scenario)


@pytest.mark.parametrize("is_kept", [True, False])
def test_it_is_left_only_where_somebody_keeps_it(is_kept: bool) -> None:
    async def scenario(site: Site, _: socket.socket) -> None:
        site.plane.configure(DevicePatch(listen_port=0, fwmark=0))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind("")  # an abstract name that the kernel finds
            address = systemd.getsockname().replace(b"\0", b"@").decode()
            environment = {"NOTIFY_SOCKET": address} if is_kept else {}
            site.plane.leave_to(Notifier.take_from(environment, os.getpid()))
            site.plane.remove()
            site.plane.remove()
            systemd.setblocking(False)
            names: list[bytes] = []
            while is_kept and len(names) < 2:
                message, descriptors, *_rest = socket.recv_fds(systemd, 4096, 4)
                names += [line for line in message.splitlines() if line.startswith(b"FDNAME")]
                for descriptor in descriptors:
                    os.close(descriptor)
            with pytest.raises(BlockingIOError):
                systemd.recv(1)  # said once
        assert names == ([b"FDNAME=stored-tun", b"FDNAME=stored-udp"] if is_kept else [])
        assert site.plane.was_left is is_kept

    run(scenario)
