"""Both ends of one session, and packets as they lie in a train or in slots before they are sealed."""

from collections.abc import Sequence

from tunnel.keys import PublicKey
from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.protocol.trains import Nonces, seal_train
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.messages import TRANSPORT_OVERHEAD, padded_length
from tunnel.wire.train import Train

MTU = 1420
_PEER = Peer(PublicKey(b"p" * 32), Host(bytes, bytes))
_ONE, _OTHER = b"s" * 32, b"r" * 32


def create_keypairs(counter: int = 0, remote_index: int = 2) -> tuple[Keypair, Keypair]:
    """Ours, which sends from `counter` on, and theirs, whose index is `remote_index`."""
    ours = Keypair(
        _PEER, TransportKeys(_ONE, _OTHER), local_index=1, remote_index=remote_index, is_initiator=True, now=0
    )
    theirs = Keypair(
        _PEER, TransportKeys(_OTHER, _ONE), local_index=remote_index, remote_index=1, is_initiator=False, now=0
    )
    ours.send_counter = counter
    return ours, theirs


def slots_with(packets: Sequence[bytes]) -> list[memoryview]:
    """Each in a slot of its own, with garbage around it."""
    return [memoryview(bytearray(b"\xee" * 16 + packet + b"\xee" * (SLOT_OVERHEAD - 16))) for packet in packets]


def unsealed_train(packets: Sequence[bytes], mtu: int = MTU) -> Train:
    """Packets of one length, but for a shorter last one, as a segmenter lays them out."""
    content = b""
    for packet in packets:
        content += b"\xee" * 16 + packet.ljust(padded_length(len(packet), mtu), b"\0") + b"\xee" * 16
    size, last = (TRANSPORT_OVERHEAD + padded_length(len(packets[end]), mtu) for end in (0, -1))
    return Train(memoryview(bytearray(content)), len(packets), size, last)


def sealed_train(keypair: Keypair, packets: Sequence[bytes]) -> Train:
    """In memory of its own, as it comes from the network."""
    train = unsealed_train(packets)
    seal_train(keypair, train, Nonces())
    return Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last)
