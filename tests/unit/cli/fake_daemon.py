"""A process that serves a control socket and ends on SIGTERM.

``python -m tests.unit.cli.fake_daemon DIRECTORY [stubborn]`` runs wg0, and prints a line
when it is ready. A stubborn one is told to end and does not.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.cli.invoking import REPOSITORY
from tests.unit.control.handler import RecordingHandler, serving


@contextmanager
def fake_daemon(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Such a process, for wg0, ready; it is gone afterwards."""
    command = [sys.executable, "-m", "tests.unit.cli.fake_daemon", str(directory), *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


async def _serve(directory: Path, is_stubborn: bool) -> None:
    told_to_end = asyncio.Event()
    ending = (lambda: None) if is_stubborn else told_to_end.set
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending)
    async with serving(RecordingHandler(), directory):
        print("ready", flush=True)
        await told_to_end.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), "stubborn" in sys.argv))
