"""The `tunnel-wg` command: a drop-in for wireguard-go, for ``wg`` and ``wg-quick`` to drive.

It makes a bare interface and its control socket, without keys, addresses or routes, and returns when both are there.
"""

import os
from functools import partial

import click

from tunnel import __version__
from tunnel.cli import background
from tunnel.cli.interrupts import EndedAtOnce


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
LOG_LEVEL in the environment is verbose, debug, error (the default) or silent; when it is
given, and not silent, the log stays on stderr also in the background, else it goes to syslog.

\b
--offload and --extensions are for what wg(8) has no setting for. Offload lets the kernel cut and
join packets for us, which is most of the speed; where a network card or a driver spoils that in
one direction, keep the other. Extensions are used with peers that know them too, and make no
difference to any other WireGuard.

\b
Examples:
  tunnel-wg wg0 && wg setconf wg0 wg0.conf
  WG_QUICK_USERSPACE_IMPLEMENTATION=tunnel-wg wg-quick up wg0
  LOG_LEVEL=debug tunnel-wg -f wg0
""",
)
@click.argument("name", metavar="NAME")
@click.option("-f", "--foreground", is_flag=True, help="Run here instead of in the background.")
@click.option(
    "--offload",
    type=click.Choice(["auto", "off", "send", "receive"], case_sensitive=False),
    default="auto",
    show_default=True,
    help="Have the kernel help in both directions, none or one.",
)
@click.option(
    "--extensions",
    type=click.Choice(["auto", "off"], case_sensitive=False),
    default="auto",
    show_default=True,
    help="Go beyond plain WireGuard with peers that can, or never.",
)
@click.option("--ready-fd", type=int, hidden=True)
@click.version_option(__version__, prog_name="tunnel-wg", message="%(prog)s %(version)s")
@click.pass_context
def tunnel_wg(
    context: click.Context, name: str, foreground: bool, offload: str, extensions: str, ready_fd: int | None
) -> None:
    """Make the WireGuard interface NAME, to be configured with wg(8)."""
    from tunnel.cli.config_file import check_name
    from tunnel.daemon.log import level_from

    check_name(name)
    word = os.environ.get("LOG_LEVEL", "").lower()
    level = level_from(0, {"LOG_LEVEL": word or "error"})
    if not foreground:
        options = ["--foreground", "--offload", offload, "--extensions", extensions]
        context.exit(background.start(background.own_command("tunnel.cli.tunnel_wg", *options, name)))
    keep_stderr = word not in ("", "silent")
    with EndedAtOnce():
        from tunnel.daemon.privileges import shed
    kept = shed(None, None)  # before `bare` imports what starts threads
    background.run_interface(
        name, bare(name, offload, extensions), level=level, ready_fd=ready_fd, keep_stderr=keep_stderr, remark=kept
    )


def bare(name: str, offload: str, extensions: str) -> "partial[None]":
    """What runs the interface `name`, with the two options as the words that they are."""
    from tunnel.config.values import parse_extensions, parse_offload

    with EndedAtOnce():
        from tunnel.daemon.service import run

    return partial(run, name, None, path=None, offload=parse_offload(offload), extensions=parse_extensions(extensions))
