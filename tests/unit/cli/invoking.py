"""Commands in this process, as a shell would call them."""

from pathlib import Path

from click.testing import CliRunner, Result

from tunnel.cli.main import tunnel
from tunnel.cli.places import Places

REPOSITORY = Path(__file__).parents[3]


def invoke(*arguments: str, directory: Path | None = None, stdin: str | bytes | None = None) -> Result:
    """What `tunnel` does; sockets and configurations are looked for in `directory`."""
    places = Places(directory, (directory / "tunnel", directory / "wireguard")) if directory else None
    return CliRunner().invoke(tunnel, arguments, obj=places, input=stdin)


def error_of(result: Result) -> str:
    """The text of the error that ended it."""
    assert result.exception is not None
    assert result.exit_code == 1
    return str(result.exception)
