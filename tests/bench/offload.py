"""What it costs to cut and to join one superpacket, or to slice and to rebuild it, in microseconds.

    python -m tests.bench.offload

The best of many short runs, because others use the machine too. Everything is in the cache, as it is in the daemon.
"""

import timeit
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tests.properties.slices import PARTIAL, lay_out_slices, mark, slices_of
from tests.properties.superpackets import ACK, PSH, TIMESTAMPS, UDP, Flow, Superpacket
from tests.properties.trains import trains_of
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.segment import Segmenter
from tunnel.offload.slices import Rebuilder, Slicer
from tunnel.wire.train import Train

MTU = 1420

SUPERPACKETS: dict[str, Superpacket] = {
    "TCP over IPv4, 44 × 1368": Superpacket(Flow(options=TIMESTAMPS), bytes(44 * 1368), 1368),
    "the same, PSH on the last": Superpacket(Flow(options=TIMESTAMPS, flags=ACK | PSH), bytes(44 * 1368), 1368),
    "the same, short last packet": Superpacket(Flow(options=TIMESTAMPS), bytes(43 * 1368 + 500), 1368),
    "TCP over IPv6, 44 × 1348": Superpacket(Flow(version=6, options=TIMESTAMPS), bytes(44 * 1348), 1348),
    "UDP over IPv4, 44 × 1392": Superpacket(Flow(protocol=UDP), bytes(44 * 1392), 1392),
    "UDP over IPv4, 44 × 1201": Superpacket(Flow(protocol=UDP), bytes(44 * 1201), 1201),
    "TCP over IPv4, 44 × 100": Superpacket(Flow(options=TIMESTAMPS), bytes(44 * 100), 100),
}


def microseconds(work: Callable[[], object], number: int = 20, repeat: int = 400) -> float:
    """Of one call, at best."""
    return min(timeit.repeat(work, number=number, repeat=repeat)) / number * 1e6


def measure(superpacket: Superpacket) -> tuple[float, ...]:
    """Segment; coalesce; coalesce if each packet came by itself, or with partial checksums; slice; rebuild."""
    frame = memoryview(bytearray(superpacket.frame()))
    arena = memoryview(bytearray(1 << 17))
    segmenter, coalescer = Segmenter(), Coalescer()
    outbound = segmenter.segment(frame, arena, MTU)
    assert isinstance(outbound, list)
    trains = [each.train for each in outbound]
    singles = [Train.single(datagram) for train in trains for datagram in train.datagrams()]
    assert b"".join(coalescer.coalesce(trains)[0]) == frame
    partial = [mark(train, PARTIAL) for train in trains_of(superpacket.packets(is_partial=True))]
    slicer, rebuilder = Slicer(), Rebuilder()
    slices = lay_out_slices(slices_of(superpacket), superpacket.segment)
    assert b"".join(coalescer.coalesce(partial)[0]) == b"".join(rebuilder.rebuild(slices)[0]) == frame
    return (
        microseconds(lambda: segmenter.segment(frame, arena, MTU)),
        microseconds(lambda: coalescer.coalesce(trains)),
        microseconds(lambda: coalescer.coalesce(singles), 2, 100),
        microseconds(lambda: coalescer.coalesce(partial)),
        microseconds(lambda: slicer.slice(frame, arena)),
        microseconds(lambda: rebuilder.rebuild(slices)),
    )


def main() -> None:
    columns = "segment", "coalesce", "coalesce, one by one", "coalesce, partial", "slice", "rebuild"
    table = Table("superpacket, µs", *columns)
    for name, superpacket in SUPERPACKETS.items():
        table.add_row(name, *(f"{figure:.1f}" for figure in measure(superpacket)))
    Console().print(table)


if __name__ == "__main__":
    main()
