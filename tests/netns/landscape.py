"""What a person could find changed in a namespace: to say that a command left no trace."""

from dataclasses import dataclass

from tests.netns.hosts import SOCKETS
from tunnel.testing.namespaces import Namespace


@dataclass(frozen=True, slots=True)
class Landscape:
    """The text of what iproute2 shows; equal landscapes differ in nothing that we could have done."""

    links: str
    addresses: str
    routes: str
    rules: str
    sockets: str
    processes: int
    control_sockets: frozenset[str]


def survey(namespace: Namespace, interface: str) -> Landscape:
    """Everything inside, and the control sockets that `interface` would have."""
    return Landscape(
        links=namespace.ip("-o", "link"),
        addresses=namespace.ip("-o", "address"),
        routes=namespace.ip("route", "show", "table", "all") + namespace.ip("-6", "route", "show", "table", "all"),
        rules=namespace.ip("rule") + namespace.ip("-6", "rule"),
        sockets=namespace.run("ss", "-Hlun").stdout,
        processes=len(namespace.processes()),
        control_sockets=frozenset(path.name for path in SOCKETS.glob(f"{interface}*")),
    )
