"""IP address blocks in a certificate: the extension of RFC 3779, section 2, there named IPAddrBlocks.

    [10.9.0.1/32, 10.9.8.0/24]  ──encode──▶  SEQUENCE { { IPv4, { 10.9.0.1/32, 10.9.8.0/24 } } }

There is one encoding per set of addresses, so blocks that touch are merged, into a prefix or a range: the address
10.9.0.1 would vanish in a route to 10.9.0.0/24. Such routes go into the family "IPv4 unicast" (SAFI 1, what a host
forwards), which stands beside "IPv4" and is merged by itself. Reading makes no difference between the two. An authority
has its networks in both families: by the RFC, a family must be its issuer's before what is in it can be.

"inherit" is refused: whoever reads a certificate sees its addresses in it.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

from tunnel.config.patch import IPNetwork
from tunnel.pki.problem import CertificateError, Problem

IPAddress = IPv4Address | IPv6Address

IP_BLOCKS_OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.7")
"""id-pe-ipAddrBlocks, RFC 3779 section 2.2.1."""

MAX_NETWORKS: Final = 256
"""Of one certificate. A range of IPv6 addresses takes up to 254, from forty bytes of DER."""


@asn1.sequence
class _AddressRange:
    min: asn1.BitString
    """Without the zero bits at its end."""
    max: asn1.BitString
    """Without the one bits at its end."""


@asn1.sequence
class _AddressFamily:
    address_family: Annotated[bytes, asn1.Size(2, 3)]
    """AFI, then perhaps SAFI."""
    addresses_or_ranges: list[asn1.BitString | _AddressRange]


@asn1.sequence
class _IPAddrBlocks:
    """A SEQUENCE OF families. Those that we know are four, and a type is declared as a class: so each has its field."""

    first: _AddressFamily
    second: _AddressFamily | None
    third: _AddressFamily | None
    fourth: _AddressFamily | None


_UNICAST = b"\1"
"""SAFI of what is forwarded."""

_BITS = {b"\0\1": 32, b"\0\2": 128}
"""By AFI."""


def encode_ip_blocks(networks: Iterable[IPNetwork], forwarded: Iterable[IPNetwork] = ()) -> bytes:
    """The canonical DER of IPAddrBlocks; `forwarded` are in the unicast families, and merged among themselves only.

    There is at least one network.
    """
    networks, forwarded = set(networks), set(forwarded)
    families = []
    for afi, bits in _BITS.items():
        for safi, members in ((b"", networks), (_UNICAST, forwarded)):
            spans = _merge(network for network in members if network.max_prefixlen == bits)
            if spans:
                blocks = [_pack_span(first, last, bits) for first, last in spans]
                families.append(_AddressFamily(address_family=afi + safi, addresses_or_ranges=blocks))
    first, second, third, fourth = (*families, None, None, None, None)[:4]
    assert first is not None
    return asn1.encode_der(_IPAddrBlocks(first=first, second=second, third=third, fourth=fourth))


def encode_host_blocks(addresses: Iterable[IPAddress], routes: Iterable[IPNetwork]) -> bytes:
    """The same for a peer, so that its own addresses can be told from its routes.

    Raise `ValueError` where that is impossible: two of its own that make one block (10.9.0.2 and 10.9.0.3).
    """
    own, routes = {ip_network(address) for address in addresses}, set(routes)
    for der in (encode_ip_blocks(own | routes), encode_ip_blocks(own, routes)):
        singles = {network for network in decode_ip_blocks(der) if is_single(network)}
        if singles == own:
            return der
    lost = ", ".join(sorted(str(network.network_address) for network in own - singles))
    raise ValueError(f"{lost} make one block of addresses, so that one host cannot have them all")


def decode_ip_blocks(der: bytes) -> tuple[IPNetwork, ...]:
    """Its networks, sorted and without repetition; raise `CertificateError` (MALFORMED) unless it is canonical."""
    networks: dict[bytes, list[IPNetwork]] = {b"": [], _UNICAST: []}
    try:
        families = asn1.decode_der(_IPAddrBlocks, der)
        for family in filter(None, (families.first, families.second, families.third, families.fourth)):
            afi, safi = family.address_family[:2], family.address_family[2:]
            for block in family.addresses_or_ranges:
                networks[safi] += _unpack_block(block, _BITS[afi])
                if sum(map(len, networks.values())) > MAX_NETWORKS:
                    raise ValueError("too many")
    except (ValueError, KeyError):
        raise CertificateError(Problem.MALFORMED, "broken IP address blocks") from None
    if not any(networks.values()) or encode_ip_blocks(networks[b""], networks[_UNICAST]) != der:
        raise CertificateError(Problem.MALFORMED, "IP address blocks that are empty or not in canonical form")
    return tuple(sorted({*networks[b""], *networks[_UNICAST]}, key=lambda network: (network.version, network)))


def is_single(network: IPNetwork) -> bool:
    """One address, which is a peer's own."""
    return network.prefixlen == network.max_prefixlen


def is_covered(network: IPNetwork, by: Iterable[IPNetwork]) -> bool:
    """Every address of `network` is in one of the others, even if in no single one all of them."""
    return find_uncovered([network], by) is None


def find_uncovered(networks: Iterable[IPNetwork], by: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first of `networks` that is not covered by the others, if there is one."""
    by = tuple(by)
    spans = {version: _merge(other for other in by if other.version == version) for version in (4, 6)}
    for network in networks:
        begin, end = int(network.network_address), int(network.broadcast_address)
        if not any(first <= begin and end <= last for first, last in spans[network.version]):
            return network
    return None


def _merge(networks: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    """(first, last) of the blocks that remain, in order, once those that overlap or touch are one."""
    spans: list[tuple[int, int]] = []
    for network in sorted(networks):
        first, last = int(network.network_address), int(network.broadcast_address)
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    return spans


def _pack_span(first: int, last: int, bits: int) -> asn1.BitString | _AddressRange:
    """A prefix where it is one, as section 2.2.3.7 wants, else a range."""
    size = last - first + 1
    if size & (size - 1) == 0 and first % size == 0:
        return _leading_bits(first, bits - _trailing_zeros(size), bits)
    return _AddressRange(
        min=_leading_bits(first, bits - _trailing_zeros(first | 1 << bits), bits),
        max=_leading_bits(last, bits - _trailing_zeros(last + 1), bits),
    )


def _leading_bits(value: int, count: int, bits: int) -> asn1.BitString:
    padding = -count % 8
    return asn1.BitString((value >> (bits - count) << padding).to_bytes((count + padding) // 8, "big"), padding)


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


def _unpack_block(block: asn1.BitString | _AddressRange, bits: int) -> Iterator[IPNetwork]:
    """Raise `ValueError` if it is longer than an address, or ends before it begins."""
    low, high = (block.min, block.max) if isinstance(block, _AddressRange) else (block, block)
    create = IPv4Address if bits == 32 else IPv6Address
    return summarize_address_range(create(_extend(low, bits, 0)), create(_extend(high, bits, 1)))


def _extend(prefix: asn1.BitString, bits: int, bit: int) -> int:
    """The address whose first bits these are, and whose others are all `bit`.

    Raise `ValueError` if an address has fewer than these (the shift is negative).
    """
    missing = bits - (len(prefix.as_bytes()) * 8 - prefix.padding_bits())
    head = int.from_bytes(prefix.as_bytes(), "big") >> prefix.padding_bits()
    return (head << missing) | ((1 << missing) - 1) * bit
