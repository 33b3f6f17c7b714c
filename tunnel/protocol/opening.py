"""Opening what came for one keypair: of each train, what is new and authentic.

train ─▶ all at once, if the counters follow each other, ahead of all before          mostly so
      ─▶ the parts between the gaps that lost datagrams left, each at once
      ─▶ one by one: single datagrams, and those that come late or twice
"""

from collections.abc import Callable

from tunnel.protocol.keypair import Keypair
from tunnel.protocol.stats import DropReason
from tunnel.protocol.trains import Nonces, open_run, split_at_gaps
from tunnel.protocol.transport import open_in_place
from tunnel.wire.messages import TRANSPORT_HEADER, MessageType
from tunnel.wire.train import Train

MIN_PART = 4
"""Datagrams between two gaps, on the average, from which on opening them at once is worth the views that it needs."""

_EXTENDED_DATA = int(MessageType.EXTENDED_DATA)

CountDrop = Callable[[DropReason, int], None]


def open_train(keypair: Keypair, train: Train, nonces: Nonces, drop: CountDrop) -> list[Train]:
    """Open `train` in place; return what is good of it, with its padding: the train itself, if all of it is.

    The caller has seen that its datagrams are alike (`trains.has_one_receiver`).
    """
    if not _is_expected(keypair, train):
        drop(DropReason.UNEXPECTED_EXTENDED, train.count)
        return []
    if train.count > 1:
        opened = _open_run(keypair, train, nonces, drop)
        if opened is not None:
            return opened
        parts = split_at_gaps(train)
        if 1 < len(parts) <= train.count // MIN_PART:
            return [opened for part in parts for opened in _open_part(keypair, part, nonces, drop)]
    return _open_singly(keypair, train, drop)


def _is_expected(keypair: Keypair, train: Train) -> bool:
    if train.buffer[0] != _EXTENDED_DATA:
        return True
    return keypair.extension is not None and keypair.extension.accepts(train.buffer[1])


def _open_part(keypair: Keypair, part: Train, nonces: Nonces, drop: CountDrop) -> list[Train]:
    opened = _open_run(keypair, part, nonces, drop) if part.count > 1 else None
    return _open_singly(keypair, part, drop) if opened is None else opened


def _open_run(keypair: Keypair, train: Train, nonces: Nonces, drop: CountDrop) -> list[Train] | None:
    failed = open_run(keypair, train, nonces)
    if not failed:
        return None if failed is None else [train]
    drop(DropReason.TAG_FAILED, len(failed))
    datagrams = enumerate(train.datagrams())
    return [Train.single(datagram) for position, datagram in datagrams if position not in failed]


def _open_singly(keypair: Keypair, train: Train, drop: CountDrop) -> list[Train]:
    return [Train.single(datagram) for datagram in train.datagrams() if _open(keypair, datagram, drop)]


def _open(keypair: Keypair, datagram: memoryview, drop: CountDrop) -> bool:
    """Whether it is new and authentic; otherwise it is counted."""
    counter = TRANSPORT_HEADER.unpack_from(datagram)[2]
    if not keypair.replay.check(counter):
        drop(DropReason.REPLAYED, 1)
    elif not open_in_place(keypair, counter, datagram):
        drop(DropReason.TAG_FAILED, 1)
    else:
        return keypair.replay.accept(counter)
    return False
