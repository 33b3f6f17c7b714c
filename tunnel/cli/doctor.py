"""``tunnel doctor``: why does it not work? One verdict, and the command that mends it."""

import json

import click

from tunnel.cli.completion import configured
from tunnel.cli.config_file import ConfigFile, interface_name
from tunnel.cli.places import Places, pass_places
from tunnel.control.uapi_client import list_interfaces
from tunnel.doctor.examination import Examination, examine
from tunnel.doctor.facts import ConfigFacts
from tunnel.doctor.finding import Finding
from tunnel.doctor.gather import Question, gather, read_status
from tunnel.doctor.naming import find_peer
from tunnel.errors import ConfigError, TunnelError

UNHEALTHY = 1


@click.command(
    epilog="""\b
Examples:
  tunnel doctor                     whatever is up
  tunnel doctor office              this one, up or not
  tunnel doctor office 10.8.0.7     only the peer that has this address
  tunnel doctor office --json | jq -r '.[].verdict.remedy'
"""
)
@click.argument("target", metavar="[NAME|FILE]", required=False, shell_complete=configured)
@click.argument("peer", metavar="[PEER]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of interfaces (docs/operations.md).")
@pass_places
def doctor(places: Places, target: str | None, peer: str | None, as_json: bool) -> int:
    """Walk the way of a packet, and say what stops it.

    PEER is the beginning of a public key, a certificate's name, an endpoint's host, or an address of the peer. It takes
    up to a quarter of a minute if nobody answers. Pings go through the tunnel; nothing is changed. The exit status is
    0 if all is well, 1 if something was found.
    """
    targets = [target] if target else list_interfaces(places.sockets)
    if not targets:
        raise TunnelError("no interface is up; tunnel doctor NAME looks at one that should be")
    examinations = [_examine(one, peer, places) for one in targets]
    if as_json:
        click.echo(json.dumps([one.as_document() for one in examinations], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(map(describe, examinations)))
    return 0 if all(one.is_healthy for one in examinations) else UNHEALTHY


def describe(examination: Examination) -> str:
    """A line per step, what was found below it, the verdict last."""
    lines = [f"interface: {examination.name}"]
    for step in examination.steps:
        lines.append(f"  {step.mark.value} {step.title}")
        for finding in step.findings:
            lines += [f"      {sentence(finding)}", f"        because {finding.why}"]
    if examination.untried:
        lines.append(f"  – {examination.untried} more peers: name one to have it looked at")
    verdict = examination.verdict
    if verdict is None:
        return "\n".join([*lines, "", "verdict: nothing is wrong, as far as can be seen from here"])
    intro = "it works, but: " if examination.is_healthy else ""
    return "\n".join([*lines, "", f"verdict: {intro}{sentence(verdict)}", f"    try: {verdict.remedy}"])


def sentence(finding: Finding) -> str:
    """What is wrong, and with whom."""
    return f"{finding.peer}: {finding.what}" if finding.peer else finding.what


def _examine(target: str, peer: str | None, places: Places) -> Examination:
    name = interface_name(target)
    key = _find_key(name, peer, places) if peer else None
    return examine(gather(Question(name, _read_config(target, places), places.sockets, key)))


def _find_key(name: str, text: str, places: Places) -> str:
    found = find_peer(read_status(name, places.sockets).peers, text)
    if found is None:
        raise TunnelError(
            f"{name}: '{text}' is no peer: neither a key, a name, an endpoint's host nor an address of one"
        )
    return found.public_key


def _read_config(target: str, places: Places) -> ConfigFacts:
    """What the file says, if there is one: interfaces come up without, too."""
    try:
        file = ConfigFile.find(target, places.configs)
    except ConfigError:
        return ConfigFacts()
    try:
        return ConfigFacts(file.path, file.read())
    except ConfigError as error:
        return ConfigFacts(file.path, problem=str(error))
