"""``tunnel demo``."""

import click


@click.command(
    epilog="""\b
Examples:
  tunnel demo
  tunnel demo --keep        leave it standing, and print commands to play with it
  tunnel demo --json        what was measured, for programs
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print what was measured as one JSON document.")
@click.option("--keep", is_flag=True, help="Leave the two hosts standing.")
@click.pass_context
def demo(context: click.Context, as_json: bool, keep: bool) -> None:
    """Watch two hosts talk through an encrypted tunnel, on this machine."""
    from tunnel.demo.command import run_demo

    context.exit(run_demo(as_json=as_json, keep=keep))
