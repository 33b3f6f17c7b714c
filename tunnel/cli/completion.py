"""What the shell offers where a command takes an interface or a file, when Tab is pressed.

    shell ─ _TUNNEL_COMPLETE=bash_complete ─▶ click: which parameter is it? ─▶ here ─▶ items ─▶ shell

Nothing here may fail, print or take long: whoever presses Tab waits for it. Who may not look gets no names.
"""

import click
from click.shell_completion import CompletionItem

from tunnel.cli.places import Places
from tunnel.control.uapi_client import list_interfaces
from tunnel.errors import ControlError

_SUFFIX = ".conf"


def running(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Interfaces that somebody runs."""
    try:
        names = list_interfaces(_places(context).sockets)
    except ControlError:
        names = []
    return _matching(names, incomplete)


def configured(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Interfaces that have a configuration file."""
    names: set[str] = set()
    for directory in _places(context).configs:
        try:
            names |= {path.name.removesuffix(_SUFFIX) for path in directory.glob(f"*{_SUFFIX}")}
        except OSError:
            continue
    return _matching(sorted(names), incomplete)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whatever the shell finds."""
    return [CompletionItem(incomplete, type="file")]


def _places(context: click.Context) -> Places:
    return context.find_object(Places) or Places()


def _matching(names: list[str], incomplete: str) -> list[CompletionItem]:
    """Names that begin so; a path is for the shell to complete."""
    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
