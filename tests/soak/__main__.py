"""Let a network run under load while everything happens to it, and say whether anything leaks."""

import os
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path

import click

from tests.netns.eventually import eventually
from tests.soak.network import Network, Traffic, open_network, open_traffic
from tests.soak.readings import Reading
from tests.soak.troubles import Troubles
from tests.soak.verdict import leaks
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import reap, unwinding

MINUTE = 60.0
PAUSE = 1.0
"""Seconds from one trouble to the next."""

QUIET = 20.0
"""Seconds after the last trouble in which all that it has opened has to be closed again."""


class Soak:
    """One run. `faults` has one line for each thing that went wrong so far."""

    def __init__(self, network: Network, traffic: Traffic) -> None:
        self.faults: list[str] = []
        self._network = network
        self._traffic = traffic
        self._troubles = Troubles(network)
        self._pids = {member.label: member.pid for member in network.steady}
        self._series: dict[str, list[tuple[float, Reading]]] = {label: [] for label in self._pids}
        self._began = time.monotonic()

    def run(self, minutes: float) -> None:
        """All troubles once, which opens what stays open; from then on they may not add to it, for so many minutes."""
        for trouble in self._troubles.all:
            self._suffer(trouble.__name__)
        self._began = next_reading = time.monotonic()
        until = self._began + minutes * MINUTE
        for trouble in cycle(self._troubles.all):
            if time.monotonic() >= next_reading:
                self._read()
                next_reading += MINUTE
            if time.monotonic() >= until:
                break
            self._suffer(trouble.__name__)
        with suppress(AssertionError):  # the verdict says what it is
            eventually(self._is_quiet, "all is as it was", QUIET)
        self._read()
        self.faults += leaks(self._series)

    def _suffer(self, name: str) -> None:
        try:
            getattr(self._troubles, name)()
        except (AssertionError, TunnelError) as error:
            self.faults.append(f"{self._minutes:.1f} min, {name}: {str(error).splitlines()[0]}")
            print(self.faults[-1], flush=True)
        time.sleep(PAUSE)

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._began) / MINUTE

    def _take(self) -> dict[str, Reading]:
        return {
            member.label: Reading.take(member.namespace, self._pids[member.label]) for member in self._network.steady
        }

    def _is_quiet(self) -> bool:
        return not leaks({label: [self._series[label][0], (0.0, now)] for label, now in self._take().items()})

    def _read(self) -> None:
        at = time.monotonic() - self._began
        for label, reading in self._take().items():
            self._series[label].append((at, reading))
            print(f"{at / MINUTE:5.1f} min  {label}: {reading}")
        print(f"           {len(self._network.gateway.status()['peers'])} peers; {self._traffic}", flush=True)
        still = self._traffic.standing_still()
        self.faults += [f"{self._minutes:.1f} min: nothing has come of {name}" for name in still]


def soak(directory: Path, minutes: float) -> list[str]:
    """Run it, print what is read, and return what went wrong; in the end nothing is left."""
    with open_network(directory) as network:
        with open_traffic(network) as traffic:
            run = Soak(network, traffic)
            run.run(minutes)
        faults = run.faults
        if not traffic.stream.is_whole:
            faults.append(f"TCP: {traffic.stream.failure or 'other bytes came than were sent'}")
        network.take_down()
        return faults + network.left_over()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--minutes", default=60.0, show_default=True, type=click.FloatRange(0.0), help="How long, after a warm-up."
)
def main(minutes: float) -> None:
    """Let a network run under load while everything happens to it, and say whether anything leaks.

    Once a minute it prints what gateway and laptop hold, and what was lost so far. The exit status is 1 if memory,
    descriptors, routes or anything else grew, if somebody did not come back, or if anything was left in the end.
    """
    if os.geteuid() != 0:
        raise click.ClickException("it makes network namespaces and interfaces: run it as root")
    reap()
    with unwinding(), ExitStack() as stack:
        faults = soak(Path(stack.enter_context(tempfile.TemporaryDirectory())), minutes)
    for fault in faults:
        print(f"fault: {fault}")
    print("verdict: " + (f"{len(faults)} faults" if faults else "nothing leaks, everybody came back, nothing is left"))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
