"""Control frames towards one peer that is like us: hello, close, probes of the path (docs/protocol.md, "Extensions").

    data came under a keypair ─ say_hello_if_due ─▶ hello        the responder's, until it is answered
    hello ─ consume ─▶ keypair.extension ────────▶ hello        the initiator's answer
    close ─ consume ─▶ True: the peer went away
    probe ─ consume ─────────────────────────────▶ probe ack      it arrived
    probe ack ─ consume ─▶ PathProbes

They are message 4, also between those who speak message 5, and nobody gets one whom we do not know to be like us.
"""

from tunnel.protocol.extension import Extension
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.path import NetworkPath
from tunnel.protocol.probing import PathProbes
from tunnel.protocol.stats import DropReason, Drops
from tunnel.protocol.transport import SLOT_OVERHEAD, seal
from tunnel.wire.control import (
    ControlKind,
    Hello,
    pack_close,
    pack_hello,
    pack_probe_ack,
    parse_hello,
    parse_probe,
    parse_probe_ack,
)
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE
from tunnel.wire.train import Train


class Control:
    """What is agreed on lies in the `Extension` of each keypair; here is how it is said."""

    __slots__ = ("_drops", "_host", "_path", "_probes")

    def __init__(self, path: NetworkPath, probes: PathProbes, drops: Drops, host: Host) -> None:
        self._path = path
        self._probes = probes
        self._drops = drops
        self._host = host

    def say_hello_if_due(self, keypair: Keypair, now: float) -> None:
        """Tell the peer what we take, if it is like us and does not know yet."""
        extension = keypair.extension
        if extension is not None and extension.is_hello_due(now):
            self._say_hello(keypair, extension, now)

    def say_close(self, keypair: Keypair, now: float) -> None:
        """Tell the peer that we go away, if it understands that."""
        if keypair.takes is not None:
            self.send(keypair, pack_close(), now)

    def consume(self, keypair: Keypair, frame: memoryview, now: float) -> bool:
        """A control frame came under `keypair`; return whether the peer says that it goes away."""
        extension = keypair.extension
        hello = parse_hello(frame)
        if extension is None:
            self._drops.count(DropReason.UNEXPECTED_CONTROL)
        elif (number := parse_probe(frame)) is not None:
            self.send(keypair, pack_probe_ack(number), now)
        elif (number := parse_probe_ack(frame)) is not None:
            if not self._probes.acknowledged(number, keypair.peer, now):
                self._drops.count(DropReason.UNEXPECTED_CONTROL)
        elif hello is not None:
            extension.consume_hello(hello)
            if keypair.is_initiator:
                self._say_hello(keypair, extension, now)
        elif frame[0] == ControlKind.CLOSE:
            return True
        else:
            self._drops.count(DropReason.UNEXPECTED_CONTROL)
        return False

    def send(self, keypair: Keypair, frame: bytes, now: float) -> None:
        """Send a control frame, if anything can be sent under `keypair`."""
        if self._path.endpoint is not None and keypair.can_send(1, now):
            slot = memoryview(bytearray(len(frame) + SLOT_OVERHEAD))
            slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + len(frame)] = frame
            (datagram,) = seal(keypair, [slot], [len(frame)], self._host.mtu)
            self._path.transmit([Train.single(datagram)], now)

    def _say_hello(self, keypair: Keypair, extension: Extension, now: float) -> None:
        extension.hello_sent(now)
        self.send(keypair, pack_hello(Hello(extension.offered, self._host.mtu)), now)
