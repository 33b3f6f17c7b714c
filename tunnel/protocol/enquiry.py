"""Asking who is there: messages 16 and 17 (docs/protocol.md, "Certificates").

    who dials                                          who is dialled
    ask ── nonce, MAC1 keyed with our authority ─────▶ one of those it trusts? else silence
    open_answer ◀── cookie and chain, sealed ───────── create_answer: nothing is kept

The answer is sealed with a key that everyone who knows the authority's certificate can compute, and bound to the MAC1
that it answers: an outsider learns nothing from it, and who cannot see our requests cannot forge one. It proves
nothing yet. The handshake that follows does, and carries the cookie that came with the answer.

Who can see our requests needs no key at all to have them answered by others: he sends them on, to another member or
back to us. So a chain that is refused does not use up the question, and our own is no answer.
"""

from math import inf

from tunnel.endpoint import Endpoint
from tunnel.keys import Rng
from tunnel.noise.primitives import hash_, xopen, xseal
from tunnel.protocol.cookie import CookieGenerator, mac1_of
from tunnel.protocol.credentials import AuthorityId, Chain
from tunnel.protocol.host import Host
from tunnel.protocol.stats import DropReason
from tunnel.wire.certified import (
    ANSWER_CHAIN_SIZE,
    REQUEST_NONCE_SIZE,
    CertificateAnswer,
    CertificateRequest,
    pack_certificate_answer,
    pack_certificate_request,
    pack_chain,
    parse_chain,
)
from tunnel.wire.messages import COOKIE_NONCE_SIZE, COOKIE_SIZE, CookieReply, sender_index
from tunnel.wire.train import Train

MAX_ENQUIRIES = 256
"""Beyond that many, the one that was asked longest ago is given up: names may lead to ever new addresses."""

MAX_REFUSED_ANSWERS = 4
"""Chains that are judged, and refused, each time that we ask somebody; the fifth is not looked at."""

_LABEL_ANSWER = b"answer--"


def answer_key(authority: AuthorityId) -> bytes:
    """The key that seals message 17: 32 bytes, known to whoever knows the authority."""
    return hash_(_LABEL_ANSWER + authority.raw)


def create_answer(request: bytes, authority: AuthorityId, cookie: bytes, chain: Chain, rng: Rng) -> bytes:
    """Message 17 to `request`, a whole message 16 with a right MAC1; `cookie` is for whoever sent it."""
    nonce = rng(COOKIE_NONCE_SIZE)
    plaintext = cookie + pack_chain(chain, ANSWER_CHAIN_SIZE)
    answer = xseal(answer_key(authority), nonce, plaintext, mac1_of(request))
    return pack_certificate_answer(CertificateAnswer(sender_index(request), nonce, answer))


class Enquiry:
    """One question, to one endpoint, until it is answered: repeated word for word, so that any answer will do."""

    __slots__ = ("_authority", "_cookie", "_mac1", "_nonce", "_refused", "asked_at", "endpoint", "local_index")

    def __init__(self, authority: AuthorityId, endpoint: Endpoint, nonce: bytes) -> None:
        self.endpoint = endpoint
        self.local_index = 0
        self.asked_at = -inf
        """When the request that may be answered now was sent."""
        self._authority = authority
        self._nonce = nonce
        self._mac1 = b""
        self._cookie = CookieGenerator(authority)
        self._refused: list[Chain] = []

    def create_request(self, now: float) -> bytes:
        """Message 16."""
        packed = pack_certificate_request(CertificateRequest(self.local_index, self._nonce))
        request = self._cookie.add_macs(packed, now)
        self._mac1 = mac1_of(request)
        self.asked_at = now
        return request

    def open_answer(self, message: CertificateAnswer) -> tuple[bytes, Chain] | None:
        """The cookie (16 bytes) and the chain in message 17; None if it is no answer to our request, or refused."""
        if len(self._refused) > MAX_REFUSED_ANSWERS:
            return None
        plaintext = xopen(answer_key(self._authority), message.nonce, message.answer, self._mac1)
        chain = None if plaintext is None else parse_chain(plaintext[COOKIE_SIZE:])
        if plaintext is None or chain is None or chain in self._refused:
            return None
        return plaintext[:COOKIE_SIZE], chain

    def refuse(self, chain: Chain) -> None:
        """It is no answer, until we ask again."""
        self._refused.append(chain)

    def refuse_only(self, chain: Chain) -> None:
        """We ask again: only this one is no answer, whatever was refused before."""
        self._refused = [chain]

    def consume_cookie_reply(self, message: CookieReply, now: float) -> bool | None:
        """Message 3. Whether to ask again at once, with the first cookie that came; None if it is not for us."""
        had_cookie = self._cookie.has_cookie(now)
        return not had_cookie if self._cookie.consume_reply(message, now) else None


class Enquiries:
    """Those of a device that were not answered yet, the one asked last at the end. To ask needs credentials."""

    __slots__ = ("_by_place", "_host")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._by_place: dict[tuple[str, int], Enquiry] = {}

    def ask(self, endpoint: Endpoint, now: float) -> None:
        """Send message 16, the same again if it was not answered."""
        credentials = self._host.credentials
        assert credentials is not None
        place = endpoint.host, endpoint.port
        enquiry = self._by_place.pop(place, None)
        if enquiry is None:
            enquiry = Enquiry(AuthorityId(credentials.authority), endpoint, self._host.rng(REQUEST_NONCE_SIZE))
            enquiry.local_index = self._host.indices.insert(enquiry)
        self._by_place[place] = enquiry
        if len(self._by_place) > MAX_ENQUIRIES:
            self.answered(next(iter(self._by_place.values())))
        enquiry.refuse_only(credentials.chain)
        self._send(enquiry, now)

    def clear(self) -> None:
        """No answer is expected any more."""
        for enquiry in self._by_place.values():
            self._host.indices.remove(enquiry.local_index)
        self._by_place.clear()

    def answered(self, enquiry: Enquiry) -> None:
        """One answer is enough; a second one would be a stranger's."""
        self._host.indices.remove(enquiry.local_index)
        del self._by_place[enquiry.endpoint.host, enquiry.endpoint.port]

    def consume_cookie_reply(self, enquiry: Enquiry, message: CookieReply, now: float) -> None:
        """Message 3: who is asked is under load."""
        ask_again = enquiry.consume_cookie_reply(message, now)
        if ask_again is None:
            self._host.drops.count(DropReason.UNEXPECTED_COOKIE)
        elif ask_again:
            self._send(enquiry, now)

    def _send(self, enquiry: Enquiry, now: float) -> None:
        request = Train.single(memoryview(enquiry.create_request(now)))
        self._host.datagrams.append((request, enquiry.endpoint))
