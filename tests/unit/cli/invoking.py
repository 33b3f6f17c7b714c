"""Commands in this process, as a shell would call them."""

from pathlib import Path

from click.testing import CliRunner, Result

from tunnel.cli.commands import tunnel
from tunnel.cli.places import Places

REPOSITORY = Path(__file__).parents[3]


def invoke(*arguments: str, directory: Path | None = None, stdin: str | bytes | None = None) -> Result:
    """What `tunnel` does; sockets, configurations and the identity are looked for in `directory`."""
    return CliRunner().invoke(tunnel, arguments, obj=places_in(directory) if directory else None, input=stdin)


def places_in(directory: Path) -> Places:
    return Places(directory, (directory / "tunnel", directory / "wireguard"), directory / "tunnel" / "identity.pem")


def error_of(result: Result) -> str:
    """The text of the error that ended it."""
    assert result.exception is not None
    assert result.exit_code == 1
    return str(result.exception)
