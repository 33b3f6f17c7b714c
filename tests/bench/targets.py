"""What we want to be, as ratios of medians within one run: printed with every benchmark, whether reached or not."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.results import ProgramResult, Results


@dataclass(frozen=True, slots=True)
class Target:
    """`program`'s `quantity` over that of the program `against`, or the quantity itself if that is empty."""

    program: str
    quantity: str
    what: str
    against: str
    bound: float
    is_at_least: bool = False

    def measured(self, results: Results) -> float | None:
        """None if one of the two was not measured."""
        mine = _median(results, self.program, self.quantity)
        if not self.against or mine is None:
            return mine
        its = _median(results, self.against, self.quantity)
        return mine / its if its else None

    def is_reached(self, measured: float) -> bool:
        return measured >= self.bound if self.is_at_least else measured <= self.bound


OURS, PLAIN, DEBIAN, OTHER, OPENVPN = "tunnel", "tunnel-plain", "wireguard-go", "other-wireguard-go", "openvpn"

TARGETS = (
    Target(OURS, "tcp", "TCP, 1 stream", DEBIAN, 5, is_at_least=True),
    Target(OURS, "tcp", "TCP, 1 stream", OPENVPN, 4.5, is_at_least=True),
    Target(OURS, "tcp", "TCP, 1 stream", OTHER, 1.4, is_at_least=True),
    Target(OURS, "tcp-cpu", "CPU-seconds per GB", OPENVPN, 0.22),
    Target(OURS, "tcp-cpu", "CPU-seconds per GB", OTHER, 0.7),
    Target(PLAIN, "tcp", "TCP, 1 stream", DEBIAN, 2.5, is_at_least=True),
    Target(PLAIN, "tcp", "TCP, 1 stream", OTHER, 0.95, is_at_least=True),
    Target(OURS, "udp-64", "UDP, 64 bytes, packets/s", DEBIAN, 1, is_at_least=True),
    Target(OURS, "ping", "round trip, idle, median", DEBIAN, 1.15),
    Target(OURS, "memory", "resident, MB", "", 60),
    Target(OURS, "status", "tunnel status, ms", "", 200),
)


def rows(results: Results) -> Iterator[tuple[str, str, str, float, str, bool]]:
    """(program, what, against, measured, bound, whether reached) of all that can be said."""
    titles = {program.key: program.title for program in results.programs}
    for target in TARGETS:
        measured = target.measured(results)
        if measured is not None:
            bound = f"{'≥' if target.is_at_least else '≤'} {target.bound:g}"
            against = titles.get(target.against, "")
            yield titles[target.program], target.what, against, measured, bound, target.is_reached(measured)


def _median(results: Results, key: str, quantity: str) -> float | None:
    found: ProgramResult | None = next((one for one in results.programs if one.key == key), None)
    return found.median(quantity) if found else None
