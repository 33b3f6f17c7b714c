import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.foreign import foreign_daemon
from tests.unit.cli.invoking import REPOSITORY, error_of, invoke
from tunnel.control.events import EVENTS_VERSION, KINDS


def test_a_line_says_that_we_listen_and_the_end_of_the_interface_ends_us(tmp_path: Path) -> None:
    with fake_daemon(tmp_path) as daemon:
        code = (
            "import sys; from pathlib import Path; from tunnel.cli.commands import tunnel\n"
            "from tunnel.cli.places import Places\n"
            "sys.exit(tunnel.main(['events'], obj=Places(Path(sys.argv[1])), standalone_mode=False))"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True) as listening:
            assert listening.stdout is not None
            line = json.loads(listening.stdout.readline())
            daemon.send_signal(signal.SIGTERM)
            _, errors = listening.communicate(timeout=20)
    assert (line["version"], line["interface"], line["event"]) == (1, "wg0", "listening")
    assert "wg0: its process has ended, or has hung up on us" in errors


def test_no_interface_is_a_failure(tmp_path: Path) -> None:
    assert error_of(invoke("events", directory=tmp_path)) == "no interface is up that tells what happens"
    assert error_of(invoke("events", "wg0", directory=tmp_path)) == "nothing runs as wg0"


def test_another_implementation_does_not_tell(tmp_path: Path) -> None:
    with foreign_daemon(tmp_path):
        assert "does not understand the request" in error_of(invoke("events", "wg0", directory=tmp_path))
        assert error_of(invoke("events", directory=tmp_path)) == "no interface is up that tells what happens"


def test_every_event_is_documented_with_its_members() -> None:
    text = (REPOSITORY / "docs" / "status.md").read_text().split("\n## Events\n", 1)[1].split("\n### ", 1)[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[1].strip().strip("`"): tuple(row[2].replace("`", "").replace(",", " ").split()) for row in rows}
    assert documented == dict(KINDS)


def test_every_member_of_events_is_documented() -> None:
    text = (REPOSITORY / "docs" / "status.md").read_text().split("\n### Members of events\n", 1)[1].split("\n## ", 1)[0]
    documented = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
    assert {"version", "time", "interface", "event", *(name for kind in KINDS.values() for name in kind)} == documented
    assert f"of this form: {EVENTS_VERSION} |" in text
