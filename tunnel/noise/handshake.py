"""The WireGuard handshake, Noise_IKpsk2 (Noise paper, section 7; WireGuard paper, sections 5.4.2 to 5.4.5).

    <- s                        the responder's static key is known beforehand
    ...
    -> e, es, s, ss, {t}        initiation: payload is a timestamp
    <- e, ee, se, psk           response: payload is empty

A certified handshake (`CERTIFIED`) has a certificate chain in both payloads, after the timestamp in the first.

Each step below is marked with its token. Nothing half-mutates: a message that can be refused is tried on a copy of the
state. The responder goes in three steps, so that the caller can look the peer up after the first and refuse a stranger
for the price of one X25519:

    Responder ──consume_initiation──▶ IncomingHandshake ──consume_timestamp──▶ timestamp ──create_response──▶ keys
    (per identity)   e, es, s           who says so?           ss, {t}       is it new?      e, ee, se, psk

A low-order public key makes every shared secret zero whoever computes it (RFC 7748, section 6.1): it is refused.
"""

from dataclasses import dataclass, field

from tunnel.keys import KEY_SIZE, PresharedKey, PrivateKey, PublicKey
from tunnel.noise.symmetric import SymmetricState

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
"""The prologue."""


class Protocol:
    """What both sides agree on before the first message, mixed once; shared by all handshakes.

    The psk modifier also makes the public ephemeral keys key material (Noise paper, section 9.2).
    """

    __slots__ = ("_initial", "has_psk")

    def __init__(self, name: bytes, prologue: bytes) -> None:
        self.has_psk = name.startswith(b"Noise_IKpsk2_")
        self._initial = SymmetricState.initialize(name, prologue)

    def begin(self, responder: PublicKey) -> SymmetricState:
        """The state before the first message."""
        state = self._initial.copy()
        state.mix_hash(responder.raw)  # <- s
        return state

    def mix_ephemeral(self, state: SymmetricState, ephemeral: bytes) -> None:
        state.mix_hash(ephemeral)
        if self.has_psk:
            state.mix_chaining_key(ephemeral)

    def mix_psk(self, state: SymmetricState, psk: PresharedKey) -> None:
        if self.has_psk:
            state.mix_key_and_hash(psk.raw)


WIREGUARD = Protocol(CONSTRUCTION, IDENTIFIER)

CERTIFIED = Protocol(CONSTRUCTION, b"tunnel v1 certified handshake")
"""Messages 18 and 19: certificates in the payloads. Neither can be taken for message 1 or 2."""


@dataclass(frozen=True, slots=True, repr=False)
class TransportKeys:
    """What a handshake is for: 32 bytes to send with, 32 to receive with, from this side's view.

    `handshake_hash` is the same on both sides and unique to the session (Noise paper, section 11.2); `payload` is what
    the response carried: nothing, in WireGuard.
    """

    send: bytes
    receive: bytes
    handshake_hash: bytes = b""
    payload: bytes = field(default=b"", compare=False)

    def __repr__(self) -> str:
        return "TransportKeys(redacted)"


def compute_static_shared(static: PrivateKey, remote: PublicKey) -> bytes | None:
    """``ss``, the 32 bytes that never change between two identities; None for a low-order key, which is nobody's."""
    try:
        return static.exchange(remote.raw)
    except ValueError:
        return None


class Initiator:
    """Our side of one handshake that we start: `create_initiation` once, then `consume_response` until one is right.

    `ephemeral` must be new. `static_shared` is `compute_static_shared(static, remote)`, if the caller has kept it.
    """

    __slots__ = ("_ephemeral", "_is_sent", "_protocol", "_psk", "_remote", "_state", "_static", "_static_shared")

    def __init__(
        self,
        static: PrivateKey,
        remote: PublicKey,
        psk: PresharedKey,
        ephemeral: PrivateKey,
        *,
        static_shared: bytes | None = None,
        protocol: Protocol = WIREGUARD,
    ) -> None:
        self._static = static
        self._remote = remote
        self._psk = psk
        self._ephemeral = ephemeral
        self._static_shared = static_shared
        self._protocol = protocol
        self._state = protocol.begin(remote)
        self._is_sent = False

    def create_initiation(self, payload: bytes) -> tuple[bytes, bytes, bytes]:
        """Return our ephemeral key (32 bytes), our sealed static key (48) and the sealed payload, 16 bytes longer.

        The payload begins with a timestamp (12 bytes); in WireGuard nothing follows.

        Raise `ValueError` for a low-order remote key: exactly when `compute_static_shared` is None.
        """
        assert not self._is_sent, "a second timestamp would be sealed with the same key and nonce"
        state = self._state.copy()
        ephemeral = self._ephemeral.public_key.raw
        self._protocol.mix_ephemeral(state, ephemeral)  # e
        state.mix_key(self._ephemeral.exchange(self._remote.raw))  # es
        static = state.encrypt_and_hash(self._static.public_key.raw)  # s
        state.mix_key(self._static_shared or self._static.exchange(self._remote.raw))  # ss
        sealed = state.encrypt_and_hash(payload)  # {t}
        self._state = state
        self._is_sent = True
        return ephemeral, static, sealed

    def consume_response(self, ephemeral: bytes, nothing: bytes) -> TransportKeys | None:
        """The keys; None if the response does not authenticate, and then a later one still can."""
        assert self._is_sent
        state = self._state.copy()
        self._protocol.mix_ephemeral(state, ephemeral)  # e
        try:
            state.mix_chaining_key(self._ephemeral.exchange(ephemeral))  # ee
            state.mix_key(self._static.exchange(ephemeral))  # se
        except ValueError:
            return None
        self._protocol.mix_psk(state, self._psk)  # psk
        payload = state.decrypt_and_hash(nothing)
        if payload is None:
            return None
        send, receive = state.split()
        return TransportKeys(send, receive, state.h, payload)


class Responder:
    """The identity that initiations are addressed to. Made once per identity; holds no state of any handshake."""

    __slots__ = ("_initial", "_protocol", "_static")

    def __init__(self, static: PrivateKey, *, protocol: Protocol = WIREGUARD) -> None:
        self._static = static
        self._protocol = protocol
        self._initial = protocol.begin(static.public_key)

    def consume_initiation(self, ephemeral: bytes, static: bytes) -> "IncomingHandshake | None":
        """Learn who the initiation (ephemeral key: 32 bytes, sealed static key: 48) says it is from.

        None if it was not made for our static key.
        """
        state = self._initial.copy()
        self._protocol.mix_ephemeral(state, ephemeral)  # e
        try:
            state.mix_key(self._static.exchange(ephemeral))  # es
        except ValueError:
            return None
        initiator = state.decrypt_and_hash(static)  # s
        if initiator is None or len(initiator) != KEY_SIZE:
            return None
        return IncomingHandshake(self._protocol, state, ephemeral, PublicKey(initiator))


class IncomingHandshake:
    """An initiation to us. Until `consume_timestamp`, anyone who knows our public key can have made it in that name."""

    __slots__ = ("_ephemeral", "_is_authentic", "_state", "initiator", "protocol")

    def __init__(self, protocol: Protocol, state: SymmetricState, ephemeral: bytes, initiator: PublicKey) -> None:
        self.protocol = protocol
        self._state = state
        self._ephemeral = ephemeral
        self._is_authentic = False
        self.initiator = initiator

    def consume_timestamp(self, static_shared: bytes, timestamp: bytes) -> bytes | None:
        """Open the sealed timestamp, and what follows it, with our ``ss`` with the initiator; None: not from them.

        What is not None may still be a replay: compare it with the greatest timestamp they sent before.
        """
        assert not self._is_authentic
        state = self._state.copy()
        state.mix_key(static_shared)  # ss
        payload = state.decrypt_and_hash(timestamp)  # {t}
        if payload is not None:
            self._state = state
            self._is_authentic = True
        return payload

    def create_response(
        self, ephemeral: PrivateKey, psk: PresharedKey, payload: bytes = b""
    ) -> tuple[bytes, bytes, TransportKeys]:
        """Return our ephemeral key (32 bytes), the sealed payload (its length + 16) and the keys.

        `ephemeral` must be new. Never raises: the remote ephemeral key has passed ``es``, the static one ``ss``.
        """
        assert self._is_authentic
        state = self._state.copy()
        public = ephemeral.public_key.raw
        self.protocol.mix_ephemeral(state, public)  # e
        state.mix_chaining_key(ephemeral.exchange(self._ephemeral))  # ee
        state.mix_key(ephemeral.exchange(self.initiator.raw))  # se
        self.protocol.mix_psk(state, psk)  # psk
        nothing = state.encrypt_and_hash(payload)
        receive, send = state.split()
        return public, nothing, TransportKeys(send, receive, state.h, payload)
