"""``tunnel demo``: two hosts talk through an encrypted tunnel, on this machine, before your eyes.

Each step is one function; `_perform` is the order in which they happen. The hosts are network namespaces; the CA, the
daemons, the files and the commands are those of a real pair of hosts.
"""

import os
import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tunnel.demo.capture import Capture, Traffic
from tunnel.demo.host import CABLE, PORT, RoundTrip
from tunnel.demo.narrator import Narrator, Step, StepFailedError
from tunnel.demo.report import Report, failure_to_json
from tunnel.demo.stage import Stage, open_stage
from tunnel.demo.terminal import find_program
from tunnel.demo.web import WEB_PORT, Download, download, serve, write_random_file
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import connect, unwinding

DOWNLOAD_SIZE = 64 << 20
PINGS = 50
_FILE = "random.bin"
_LOG_LINES = 20
_CRL = "ca/crl.pem"
_PATIENCE = 5.0
"""Seconds that the end of a session may take."""
_POLL_INTERVAL = 0.02
_TOOLS = {"ip": "iproute2", "ping": "iputils-ping"}
_OPTIONAL_TOOLS = ("wg", "curl", "tcpdump")
_INTERRUPTED = 130


def run_demo(as_json: bool, keep: bool) -> int:
    """Show the demo on standard output and return the exit status.

    With `as_json` standard output is one JSON document and people follow on standard error. With `keep` a demo that
    worked is left standing. Raise `TunnelError` when this machine cannot run it at all.
    """
    _check_machine()
    console = Console(stderr=as_json, highlight=False)
    try:
        with unwinding(), open_stage() as stage:
            return _show(stage, console, as_json, keep)
    except KeyboardInterrupt:
        console.print("interrupted; everything is removed")
        return _INTERRUPTED


def _show(stage: Stage, console: Console, as_json: bool, keep: bool) -> int:
    try:
        report = _perform(stage, Narrator(console), keep)
    except StepFailedError as failure:
        if as_json:
            print(failure_to_json(failure, stage.logs()))
        _print_failure(failure, stage, console)
        return 1
    report.print_table(console)
    if keep:
        stage.keep()
        _print_commands(stage, console)
    if as_json:
        print(report.to_json())
    return 0


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise TunnelError("the demo makes network namespaces and needs root: sudo tunnel demo")
    if not Path("/dev/net/tun").exists():
        raise TunnelError("the demo needs /dev/net/tun: modprobe tun")
    for program, package in _TOOLS.items():
        if shutil.which(program) is None:
            raise TunnelError(f"the demo needs the command {program}: apt-get install {package}")


def _perform(stage: Stage, narrator: Narrator, keep: bool) -> Report:
    """Everything in order; raise `StepFailedError`."""
    with narrator.step("join two hosts by a cable") as step:
        _lay_cable(stage, step)
    capture = Capture(stage.left.namespace, CABLE, frozenset({PORT}))
    with capture:
        with narrator.step("make a CA and an identity for each host") as step:
            _issue_identities(stage, step)
        with narrator.step("start a daemon on each host") as step:
            _start_daemons(stage, step)
        with narrator.step("ping through the tunnel, IPv4") as step:
            ping_ipv4 = _ping(stage, stage.right.inner_ipv4, step)
        with narrator.step("ping through the tunnel, IPv6") as step:
            ping_ipv6 = _ping(stage, stage.right.inner_ipv6, step)
        with narrator.step("start a web server on the right") as step:
            sha256 = _start_web_server(stage, step)
        with narrator.step("download from the left") as step:
            downloaded = _download(stage, sha256, step)
        mtu = stage.left.mtu()
    with narrator.step("look at what crossed the cable") as step:
        handshake = _check_traffic(capture.traffic, mtu, step)
    revocation = None
    if not keep:
        with narrator.step("take a certificate back") as step:
            revocation = _revoke(stage, step)
        with narrator.step("stop both daemons") as step:
            _stop_daemons(stage, step)
    return Report(mtu, handshake, ping_ipv4, ping_ipv6, downloaded, capture.traffic, revocation)


def _lay_cable(stage: Stage, step: Step) -> None:
    for host in stage.hosts:
        host.namespace.open()
    connect(stage.left.port, stage.right.port)
    step.detail = f"{stage.left.outer_address} and {stage.right.outer_address}"


def _issue_identities(stage: Stage, step: Step) -> None:
    left, right = stage.hosts
    issue = "tunnel cert issue {0.interface} --address {0.inner_ipv4} --address {0.inner_ipv6}"
    stage.ca.type(step, "tunnel cert ca")
    stage.ca.type(step, issue.format(left))
    stage.ca.type(step, f"{issue.format(right)} --server --dns {right.outer_address}")
    stage.ca.type(step, "tunnel cert crl")
    step.detail = f"all in {stage.directory}"


def _start_daemons(stage: Stage, step: Step) -> None:
    stage.right.up(step, f"--crl {_CRL}")
    stage.left.up(step, f"--peer {stage.right.outer_address}", f"--port {PORT}")
    step.detail = "neither was told the key of the other"


def _ping(stage: Stage, address: str, step: Step) -> RoundTrip:
    measured = stage.left.ping(step, address, PINGS)
    step.detail = f"{PINGS} of {PINGS} answered"
    return measured


def _start_web_server(stage: Stage, step: Step) -> str:
    """Return the SHA-256 of the file that it serves."""
    served = stage.directory / "web"
    served.mkdir()
    sha256 = write_random_file(served / _FILE, DOWNLOAD_SIZE)
    serve(stage.right.namespace, stage.right.inner_ipv4, served, stage.log_files["web"])
    step.detail = f"http://{stage.right.inner_ipv4}:{WEB_PORT}/{_FILE}, {DOWNLOAD_SIZE / 1e6:.0f} MB of random bytes"
    return sha256


def _download(stage: Stage, sha256: str, step: Step) -> Download:
    done = download(stage.left.namespace, stage.right.inner_ipv4, _FILE, step.progress)
    if done.sha256 != sha256:
        raise TunnelError(f"the download has SHA-256 {done.sha256}, the file {sha256}")
    step.detail = "SHA-256 equal"
    return done


def _check_traffic(traffic: Traffic, mtu: int, step: Step) -> float:
    """Return how long the handshake took, in seconds."""
    violations = traffic.violations(mtu)
    if violations:
        raise TunnelError(f"not only our messages: {'; '.join(violations)}")
    handshake = traffic.handshake_seconds
    if handshake is None:
        raise TunnelError("no handshake was seen")
    step.detail = f"{traffic.datagrams.total()} datagrams, handshakes and sealed data"
    return handshake


def _revoke(stage: Stage, step: Step) -> float:
    """Return how long the left host was still believed, in seconds from when the revocation list was written."""
    stage.ca.type(step, f"tunnel cert revoke {stage.left.interface}")
    step.lines.append(f"{stage.right.side}: {_wait_for_line(stage.right.log_file, 'peer removed')}")
    seconds = time.time() - (stage.directory / _CRL).stat().st_mtime
    done = stage.left.terminal.attempt(step, f"ping -n -c 3 -i 0.02 -W 0.5 {stage.right.inner_ipv4}")
    if done.returncode == 0:
        raise TunnelError(f"{stage.left.interface} is revoked, and its pings are answered")
    step.lines += [line for line in done.stdout.splitlines() if "transmitted" in line]
    step.detail = f"the session ended within {seconds:.2f} s"
    return seconds


def _wait_for_line(log: Path, part: str) -> str:
    """The first line in `log` with `part` in it; raise `TunnelError` if there is none in time."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        for line in log.read_text().splitlines():
            if part in line:
                return line
        time.sleep(_POLL_INTERVAL)
    raise TunnelError(f"nothing about '{part}' in {log} after {_PATIENCE:g} s")


def _stop_daemons(stage: Stage, step: Step) -> None:
    for host in stage.hosts:
        host.down(step)


def _print_failure(failure: StepFailedError, stage: Stage, console: Console) -> None:
    console.print(f"[red]failed to {escape(failure.step)}[/]: {escape(str(failure))}", soft_wrap=True)
    for name, text in stage.logs().items():
        console.print(f"[bold]the log of {name}[/]")
        console.print("\n".join(text.splitlines()[-_LOG_LINES:]), markup=False, soft_wrap=True)


def _print_commands(stage: Stage, console: Console) -> None:
    program = "tunnel" if shutil.which("tunnel") else find_program()
    inside = f"ip netns exec {stage.left.namespace.name}"
    commands = {
        "ping the right host": f"{inside} ping {stage.right.inner_ipv4}",
        "the same over IPv6": f"{inside} ping {stage.right.inner_ipv6}",
        "see the tunnel": f"{program} status {stage.left.interface}",
        "see it as WireGuard's own tool does": f"wg show {stage.left.interface}",
        "download again": f"{inside} curl -o /dev/null http://{stage.right.inner_ipv4}:{WEB_PORT}/{_FILE}",
        "watch the cable": f"{inside} tcpdump -ni {CABLE}",
        "take its certificate back": f"{program} cert revoke {stage.left.interface} --ca-dir {stage.directory}/ca",
        "remove everything": f"sh {stage.remover}",
    }
    console.print(
        "\n[bold]It is left standing[/] until you remove it, or the next demo does. To play with it:", soft_wrap=True
    )
    for what, command in commands.items():
        if any(tool in command.split() and shutil.which(tool) is None for tool in _OPTIONAL_TOOLS):
            continue
        console.print(f"  [dim]# {what}[/]\n  {escape(command)}", soft_wrap=True)
