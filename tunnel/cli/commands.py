"""The `tunnel` command: a group whose subcommands are imported only when they are named."""

from collections.abc import Mapping
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from tunnel import __version__
from tunnel.cli.interrupts import EndedAtOnce

COMMANDS: Mapping[str, str] = {
    "up": "tunnel.cli.up",
    "down": "tunnel.cli.down",
    "reload": "tunnel.cli.reload",
    "confirm": "tunnel.cli.reload",
    "save": "tunnel.cli.reload",
    "peer": "tunnel.cli.peer",
    "status": "tunnel.cli.status",
    "events": "tunnel.cli.events",
    "metrics": "tunnel.cli.metrics",
    "capture": "tunnel.cli.capture",
    "doctor": "tunnel.cli.doctor",
    "why": "tunnel.cli.why",
    "genkey": "tunnel.cli.keys",
    "pubkey": "tunnel.cli.keys",
    "genpsk": "tunnel.cli.keys",
    "cert": "tunnel.cli.cert",
    "demo": "tunnel.cli.demo",
}
"""Name -> the module that has a `click.Command` of that name, in the order in which the help shows them."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when the subcommand is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with EndedAtOnce():
            command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names without their help: for that, all would be imported while somebody waits for Tab."""
        names = [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  tunnel demo                       see it work, on this machine alone
  umask 077; tunnel genkey | tee private.key | tunnel pubkey
  tunnel up wg0 -d                  bring up /etc/tunnel/wg0.conf in the background
  tunnel up --peer gw.example.com   join with the certificate in /etc/tunnel/identity.pem
  tunnel status                     who is connected
  tunnel down wg0                   stop it, and put everything back
""",
)
@click.version_option(__version__, prog_name="tunnel", message="%(prog)s %(version)s")
def tunnel() -> None:
    """A WireGuard-compatible VPN."""
