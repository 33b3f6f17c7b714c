"""A host with two ways out, and a far one that it reaches by either.

                 ┌─ eth0 198.51.100.2, 2001:db8:a::2 ─┐
    traveller ───┤                                    ├─── router ─── far 192.0.2.1, 2001:db8::1
                 └─ eth1 203.0.113.2, 2001:db8:b::2 ──┘

At first it has a default route by eth0 alone.
"""

from tests.netns.members import forward
from tunnel.testing.namespaces import Namespace, Port, connect

FIRST, SECOND = ("198.51.100", "2001:db8:a:"), ("203.0.113", "2001:db8:b:")


def wire(traveller: Namespace, router: Namespace, far: Namespace) -> None:
    """Cables, addresses and routes. A router asks for neighbours from a link-local address, and needs one."""
    lan = Port(router, "lan", ("192.0.2.254/24", "2001:db8::fe/64", "fe80::fe/64"))
    connect(Port(far, "eth0", ("192.0.2.1/24", "2001:db8::1/64")), lan)
    for number, (ipv4, ipv6) in enumerate((FIRST, SECOND)):
        near = (f"{ipv4}.2/24", f"{ipv6}:2/64") if not number else ()
        uplink = Port(router, f"up{number}", (f"{ipv4}.1/24", f"{ipv6}:1/64", "fe80::1/64"))
        connect(Port(traveller, f"eth{number}", near), uplink)
    forward(router)
    far.ip("route", "add", "default", "via", "192.0.2.254")
    far.ip("-6", "route", "add", "default", "via", "2001:db8::fe")
    add_default(traveller, FIRST)


def add_default(traveller: Namespace, network: tuple[str, str], metric: int = 100) -> None:
    ipv4, ipv6 = network
    traveller.ip("route", "add", "default", "via", f"{ipv4}.1", "metric", str(metric))
    traveller.ip("-6", "route", "add", "default", "via", f"{ipv6}:1", "metric", str(metric))


def add_second(traveller: Namespace, metric: int = 100) -> None:
    """The other uplink: its addresses, and a default route by it."""
    ipv4, ipv6 = SECOND
    traveller.ip("address", "add", f"{ipv4}.2/24", "dev", "eth1")
    traveller.ip("address", "add", f"{ipv6}:2/64", "dev", "eth1", "nodad")
    add_default(traveller, SECOND, metric)


def move(traveller: Namespace) -> None:
    """From one network to another: the old address is gone, then the new one comes."""
    for family in ("-4", "-6"):
        traveller.ip(family, "address", "flush", "dev", "eth0")
        traveller.ip(family, "route", "flush", "dev", "eth0")
    add_second(traveller)


def unplug(traveller: Namespace) -> None:
    """Of two uplinks the better one; no route is told of, as the other one is there already."""
    traveller.ip("link", "set", "eth0", "down")


def prefer_second(traveller: Namespace) -> None:
    """A default route that wins over the one that there is; the old address stays, and nothing comes to it any more."""
    add_second(traveller, metric=10)
    traveller.ip("link", "set", "eth0", "arp", "off")
