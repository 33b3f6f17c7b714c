"""Why something was refused, as values: one enum member and one counter each.

Garbage from the network is normal. Nothing is refused without being counted here, `tunnel status` shows the counters in
words, and people debug with them.
"""

from collections.abc import Mapping

from tunnel.errors import Reason


class DropReason(Reason):
    """The value is the name in ``status --json``."""

    # outer datagrams that came in
    MALFORMED_DATAGRAM = "malformed_datagram", "not a WireGuard message: wrong type or length"
    WRONG_MAC1 = "wrong_mac1", "handshake not meant for our public key (MAC1 wrong)"
    WRONG_MAC2 = "wrong_mac2", "handshake without a right cookie while under load"
    RATE_LIMITED = "rate_limited", "too many handshakes from one source while under load"
    HANDSHAKE_QUEUE_FULL = "handshake_queue_full", "too many handshakes waiting"
    HANDSHAKE_NOT_AUTHENTIC = "handshake_not_authentic", "handshake message that did not authenticate"
    UNKNOWN_PEER = "unknown_peer", "handshake from a public key that is not a peer"
    REPLAYED_HANDSHAKE = "replayed_handshake", "initiation with an old timestamp"
    HANDSHAKE_FLOOD = "handshake_flood", "initiations too fast from one peer"
    NO_SUCH_INDEX = "no_such_index", "message for a session that we do not have"
    UNEXPECTED_RESPONSE = "unexpected_response", "response to no initiation of ours"
    UNPROVED_STRANGER = "unproved_stranger", "certified handshake of a stranger without a cookie, which was sent one"
    CERTIFICATE_REFUSED = "certificate_refused", "handshake with a certificate that we refuse (see the log)"
    UNEXPECTED_CERTIFICATE = (
        "unexpected_certificate",
        "certificate that we have not asked for, or need no more (normal)",
    )
    UNEXPECTED_COOKIE = "unexpected_cookie", "cookie reply that is not for us, or did not authenticate"
    EXPIRED_KEYPAIR = "expired_keypair", "data under a keypair that is too old"
    TAG_FAILED = "tag_failed", "data that did not authenticate"
    REPLAYED = "replayed", "data received twice or too late"
    UNEXPECTED_EXTENDED = "unexpected_extended", "message 5 of a kind that we have not said we take"
    UNEXPECTED_CONTROL = "unexpected_control", "control frame that we do not know, or have no use for"
    MALFORMED_PACKET = "malformed_packet", "inner packet that is not whole IPv4 or IPv6, or a slice of none"
    SOURCE_NOT_ALLOWED = "source_not_allowed", "inner source address that is not in the peer's allowed IPs"
    NO_IDENTITY = "no_identity", "datagram while we have no private key, or are down"

    # inner packets that were to go out
    NO_ROUTE = "no_route", "packet to an address that is in no peer's allowed IPs"
    MULTICAST = "multicast", "multicast packet from this host, which no peer has asked for (normal)"
    NO_ENDPOINT = "no_endpoint", "packet to a peer whose endpoint is not known"
    STAGED_OVERFLOW = "staged_overflow", "packet that waited for a handshake, pushed out by newer ones"
    HANDSHAKE_GAVE_UP = "handshake_gave_up", "packet that waited for a handshake that was never answered"
    TOO_BIG = "too_big", "packet too big for one datagram"
    PATH_TOO_NARROW = "path_too_narrow", "packet too big for the path to its peer; its sender was told"

    # at the edges
    UNREACHABLE = "unreachable", "datagram that the network refused to take (no route, too big, refused)"
    TUN_REFUSED = "tun_refused", "packet that the kernel refused to take from us"


class Drops:
    """How often each reason occurred. What is counted here counts in `whole` too, of which this is a part."""

    __slots__ = ("_counts", "_whole")

    def __init__(self, whole: "Drops | None" = None) -> None:
        self._counts: dict[DropReason, int] = {}
        self._whole = whole

    def count(self, reason: DropReason, times: int = 1) -> None:
        if times:
            self._counts[reason] = self._counts.get(reason, 0) + times
            if self._whole is not None:
                self._whole.count(reason, times)

    def __getitem__(self, reason: DropReason) -> int:
        return self._counts.get(reason, 0)

    def nonzero(self) -> Mapping[str, int]:
        """Name -> count of what occurred at all, in the order of the enum."""
        return {reason.value: self._counts[reason] for reason in DropReason if reason in self._counts}
