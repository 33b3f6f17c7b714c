"""A packet in words, for a line on the terminal: who to whom, what, how long. It takes any bytes."""

from ipaddress import ip_address

from tunnel.wire import ip
from tunnel.wire.messages import MessageType

_TCP, _UDP, _ICMP, _ICMPV6 = 6, 17, 1, 58
_PROTOCOLS = {_TCP: "TCP", _UDP: "UDP", _ICMP: "ICMP", _ICMPV6: "ICMPv6", 2: "IGMP", 0: "hop-by-hop options"}
_ECHO = {
    (_ICMP, 8): " echo request",
    (_ICMP, 0): " echo reply",
    (_ICMPV6, 128): " echo request",
    (_ICMPV6, 129): " echo reply",
}
_TCP_FLAGS = "FSRPAUEC"
_UDP_SIZE = 8


def describe_packet(packet: bytes) -> str:
    """``10.0.0.1:443 > 10.0.0.2:50000 TCP SA, 60 bytes``; for an IP packet from its header on."""
    found = _find_payload(packet)
    if found is None:
        return f"not an IP packet, {len(packet)} bytes"
    protocol, payload = found
    ports = protocol in (_TCP, _UDP) and len(payload) >= 4
    source, target = (str(ip_address(address)) for address in (ip.source(packet), ip.destination(packet)))
    if ports:
        source, target = _with_port(source, payload[:2]), _with_port(target, payload[2:4])
    name = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    return f"{source} > {target} {name}{_detail(protocol, payload)}, {len(packet)} bytes"


def describe_datagram(packet: bytes) -> str:
    """As `describe_packet` for one with a WireGuard message in it, which is named; bytes are those of the message."""
    found = _find_payload(packet)
    if found is None or found[0] != _UDP or len(found[1]) <= _UDP_SIZE:
        return describe_packet(packet)
    who = describe_packet(packet).partition(" UDP")[0]
    message = found[1][_UDP_SIZE:]
    return f"{who} {_describe_message(message)}, {len(message)} bytes"


def _describe_message(message: bytes) -> str:
    try:
        kind = MessageType(message[0])
    except ValueError:
        return f"unknown message {message[0]}"
    name = kind.name.lower().replace("_", " ")
    if kind in (MessageType.TRANSPORT_DATA, MessageType.EXTENDED_DATA) and len(message) >= 16:
        receiver, counter = int.from_bytes(message[4:8], "little"), int.from_bytes(message[8:16], "little")
        return f"{name} to {receiver:#010x}, counter {counter}"
    return name


def _find_payload(packet: bytes) -> tuple[int, bytes] | None:
    """(protocol, what comes after the IP header); later fragments have nothing that can be named."""
    if not ip.destination(packet):
        return None
    if packet[0] >> 4 == 6:
        return packet[6], packet[40:]
    is_later = int.from_bytes(packet[6:8]) & 0x1FFF
    return packet[9], b"" if is_later else packet[4 * (packet[0] & 15) :]


def _with_port(address: str, port: bytes) -> str:
    number = int.from_bytes(port)
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def _detail(protocol: int, payload: bytes) -> str:
    if protocol == _TCP and len(payload) >= 14:
        return " " + "".join(letter for bit, letter in enumerate(_TCP_FLAGS) if payload[13] >> bit & 1)
    return _ECHO.get((protocol, payload[0]), "") if payload else ""
