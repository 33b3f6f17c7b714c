"""What every setting of a configuration file takes and does: the one place from which tunnel.conf(5) is made.

    quick_sections.SETTINGS: what is read ◀─ a test compares ─▶ REFERENCE: what is told ──▶ tunnel.cli.manual ──▶ roff

The order is that of the page. Text in backticks is typed as it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tunnel.config.model import DEFAULT_MAX_PEERS, MIN_IPV6_MTU, WIREGUARD_PORT


@dataclass(frozen=True, slots=True)
class Setting:
    """`form`: what the value looks like; words in capitals stand for something, all others are typed as they are.

    `is_our_own`: wg-quick refuses a file with it.
    """

    form: str
    text: str
    is_our_own: bool = False


_REPEATED = "`%i` in it is the interface's name. Of several, all run in their order."

REFERENCE: Mapping[str, Mapping[str, Setting]] = {
    "Interface": {
        "PrivateKey": Setting(
            "KEY", "Our private key in base64, as `tunnel genkey` prints it. Needed, unless there is an Identity."
        ),
        "ListenPort": Setting("NUMBER", "The UDP port to listen on. Without it, or with 0, any that is free."),
        "FwMark": Setting("NUMBER|off", "Marks our own datagrams, for rules of routing and firewall; `0x` is for hex."),
        "Address": Setting(
            "ADDRESS[/LENGTH], ...", "Addresses of the interface. Without a length it is a single address. Repeatable."
        ),
        "MTU": Setting(
            "BYTES",
            f"The largest packet that the interface takes; IPv6 needs at least {MIN_IPV6_MTU}. Without it, it follows "
            "from the routes to the endpoints.",
        ),
        "Table": Setting(
            "auto|off|NUMBER",
            "Where the routes for allowed IPs go: the main table (`auto`, the default), nowhere (`off`), or the table "
            "of that number. Default routes need one of the latter two, and rules of your own.",
        ),
        "SaveConfig": Setting(
            "true|false", "Write the interface's state into this file when it ends. Not together with Identity."
        ),
        "DNS": Setting(
            "...", "Refused, as nothing here touches the resolver: use a hook, as in `PostUp = resolvectl dns %i IP`."
        ),
        "PreUp": Setting("COMMAND", f"A shell command, run before the interface has addresses and routes; {_REPEATED}"),
        "PostUp": Setting("COMMAND", f"A shell command, run when the interface is ready; {_REPEATED}"),
        "PreDown": Setting("COMMAND", f"A shell command, run before anything is put back; {_REPEATED}"),
        "PostDown": Setting("COMMAND", f"A shell command, run when the interface is gone; {_REPEATED}"),
        "Offload": Setting(
            "auto|off|send|receive",
            "In which directions the kernel may cut and join packets for us, which is most of the speed. By default "
            "in both; for where a network card or a driver spoils it in one.",
            is_our_own=True,
        ),
        "Extensions": Setting(
            "auto|off",
            "Whether to go beyond plain WireGuard with peers that can (`auto`, the default), or never. It makes no "
            "difference to any other WireGuard.",
            is_our_own=True,
        ),
        "Identity": Setting(
            "FILE",
            "Our key, certificate and CA, as `tunnel cert issue` makes it, in place of PrivateKey. Paths are relative "
            "to the folder of this file.",
            is_our_own=True,
        ),
        "CA": Setting("FILE, ...", "CAs to trust besides those in the identity. Repeatable.", is_our_own=True),
        "CRL": Setting("FILE, ...", "What CAs have revoked. Repeatable.", is_our_own=True),
        "Peer": Setting(
            "HOST[:PORT], ...",
            "Dial it, by the name or address in its certificate; of several, whoever answers first. The port is "
            f"{WIREGUARD_PORT} by default. Repeatable.",
            is_our_own=True,
        ),
        "Allow": Setting(
            "PATTERN, ...",
            "Only who has such a name in the certificate may join; `*` and `?` are wild. Without it, everybody whom "
            "the CA has given one. Repeatable.",
            is_our_own=True,
        ),
        "MaxPeers": Setting("NUMBER", f"How many may join; {DEFAULT_MAX_PEERS} by default.", is_our_own=True),
    },
    "Peer": {
        "PublicKey": Setting("KEY", "The peer's public key in base64, as `tunnel pubkey` prints it. Needed."),
        "PresharedKey": Setting(
            "KEY", "A secret that both have, from `tunnel genpsk`: another lock, also against a quantum computer."
        ),
        "AllowedIPs": Setting(
            "NETWORK[/LENGTH], ...",
            "The addresses inside the tunnel that are behind this peer: packets to them are sent to it, and only "
            "packets from them are taken from it. No two peers can have the same network. Repeatable.",
        ),
        "Endpoint": Setting(
            "HOST:PORT",
            "Where the peer is reached, until it is heard from elsewhere. A name is resolved until DNS answers, and "
            "anew when handshakes go unanswered. Without it, the peer has to come first.",
        ),
        "PersistentKeepalive": Setting(
            "SECONDS|off", "Send an empty packet that often, which keeps a NAT or a firewall open. 25 is usual."
        ),
    },
}
