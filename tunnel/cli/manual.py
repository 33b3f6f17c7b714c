"""The man pages tunnel(8), tunnel-wg(8) and tunnel.conf(5), made from what the program itself is made of.

    click commands ─ help, options, epilog ─┐
                                            ├─▶ roff, in the macros of man(7) ─▶ DIRECTORY/tunnel.8 ...
    quick_reference.REFERENCE ──────────────┘

``python -m tunnel.cli.manual DIRECTORY`` writes them; so they are never older than the program. The date in them is
that of ``SOURCE_DATE_EPOCH`` if it is set, so that the same source makes the same bytes
(https://reproducible-builds.org/specs/source-date-epoch/).

In our own texts a paragraph is what stands between empty lines, one that begins with ``\\b`` is kept as it is, and
backticks enclose what is typed.
"""

import inspect
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from tunnel import __version__
from tunnel.cli.bare import tunnel_wg
from tunnel.cli.commands import tunnel
from tunnel.config.quick_reference import REFERENCE, Setting

_SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
"""What roff sets as something else than it is in ASCII (groff_char(7))."""

_TYPED = re.compile(r"`([^`]+)`")

_STATUS = (
    ("0", "It is done."),
    ("1", "It failed, and one line on standard error says why."),
    ("2", "It was called wrongly."),
    ("78", "A configuration, a certificate or a value is wrong, and somebody has to mend it; one line says why."),
    ("130", "It was interrupted with Ctrl-C."),
)
_FILES = (
    ("/etc/tunnel/NAME.conf", "The configuration of the interface NAME; see tunnel.conf(5)."),
    ("/etc/wireguard/NAME.conf", "The same, if the former is not there."),
    ("/etc/tunnel/identity.pem", "Who this host is: its key, its certificate and its CA."),
    ("/var/lib/tunnel", "What peers need to believe us after a restart; elsewhere if $STATE_DIRECTORY says so."),
    ("/var/run/wireguard/NAME.sock", "By which `tunnel` and `wg` talk to the process that runs NAME."),
)
_TEXT = """\
A VPN in userspace that speaks WireGuard with every WireGuard, from the configuration files of wg-quick(8). Between two
of its own kind, certificates can take the place of keys: who a host is, its addresses and its routes stand in its
certificate, and nobody keeps lists of keys.

Each interface has a process, which `tunnel up` starts and `tunnel down` ends. With systemd,
`systemctl enable --now tunnel@NAME` runs /etc/tunnel/NAME.conf from now on. wg(8) shows and sets every interface that
is up.
"""
_CONF_TEXT = """\
Such a file describes one WireGuard interface, in the form of wg(8) and wg-quick(8): one section [Interface], and one
[Peer] for each peer. `#` begins a comment. Names of sections and settings may be in any case. Lists are separated by
commas; a setting that is repeatable can also be given on several lines, which add up.

The interface is called as the file is, without `.conf`. As there are private keys in it and shell commands that root
runs, a file that everybody may read or change is refused. Any mistake is told with its line, and nothing is changed.
"""
_CONF_EXAMPLES = """\
\b
Two hosts with keys, this one dialling:
  [Interface]
  PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
  Address = 10.9.0.2/24

\b
  [Peer]
  PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
  AllowedIPs = 10.9.0.0/24
  Endpoint = gw.example.com:51820
  PersistentKeepalive = 25

\b
The same with a certificate:
  [Interface]
  Identity = identity.pem
  Peer = gw.example.com
"""


def pages() -> Mapping[str, str]:
    """The text of every page by its file's name."""
    return {
        "tunnel.8": "\n".join(_tunnel_page()) + "\n",
        "tunnel-wg.8": "\n".join(_tunnel_wg_page()) + "\n",
        "tunnel.conf.5": "\n".join(_conf_page()) + "\n",
    }


def _tunnel_page() -> Iterator[str]:
    context = _context(tunnel, "tunnel")
    yield from _head("tunnel", 8, _help(tunnel))
    yield ".SH SYNOPSIS"
    yield from _synopsis(*_leaves(context))
    yield ".SH DESCRIPTION"
    yield from _prose(_TEXT)
    yield ".SH COMMANDS"
    for command in _leaves(context):
        yield f".SS {_quoted(command.command_path)}"
        yield from _command(command)
    yield ".SH EXAMPLES"
    yield from _prose((tunnel.epilog or "").replace("Examples:\n", ""))
    yield from _listed("EXIT STATUS", _STATUS)
    yield from _listed("FILES", _FILES)
    yield from _see_also("tunnel.conf(5)", "tunnel-wg(8)", "wg(8)", "wg-quick(8)")


def _tunnel_wg_page() -> Iterator[str]:
    context = _context(tunnel_wg, "tunnel-wg")
    yield from _head("tunnel-wg", 8, _help(tunnel_wg))
    yield ".SH SYNOPSIS"
    yield from _synopsis(context)
    yield ".SH DESCRIPTION"
    yield from _command(context)
    yield from _listed("EXIT STATUS", _STATUS)
    yield from _see_also("tunnel(8)", "wg(8)", "wg-quick(8)")


def _conf_page() -> Iterator[str]:
    yield from _head("tunnel.conf", 5, "Configuration of an interface for tunnel up.")
    yield ".SH SYNOPSIS"
    yield from (r".I /etc/tunnel/NAME.conf", ".br", r".I /etc/wireguard/NAME.conf")
    yield ".SH DESCRIPTION"
    yield from _prose(_CONF_TEXT)
    for section, settings in REFERENCE.items():
        yield f".SH {_quoted(f'SETTINGS OF [{section.upper()}]')}"
        for key, setting in settings.items():
            yield from _setting(key, setting)
    yield ".SH EXAMPLES"
    yield from _prose(_CONF_EXAMPLES)
    yield from _see_also("tunnel(8)", "wg(8)", "wg-quick(8)")


# ---- commands ---------------------------------------------------------------------------------------------------


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return command.context_class(command, parent, info_name=name, **command.context_settings)


def _leaves(context: click.Context) -> Iterator[click.Context]:
    """The commands that do something, in the order of the help: `tunnel up`, ..., `tunnel cert ca`, ..."""
    group = context.command
    if not isinstance(group, click.Group):
        yield context
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _leaves(_context(command, name, context))


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _synopsis(*contexts: click.Context) -> Iterator[str]:
    for number, context in enumerate(contexts):
        if number:
            yield ".br"
        yield f".B {escape(context.command_path)}"
        yield f".I {escape(' '.join(context.command.collect_usage_pieces(context)))}"


def _command(context: click.Context) -> Iterator[str]:
    yield from _prose(_help(context.command))
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record and "--help" not in parameter.opts:
            names, text = record
            yield from (".TP", _option(names), _line(text))
    yield from _prose(context.command.epilog or "", is_first=False)


def _option(names: str) -> str:
    """``-o, --output FILE``: what is typed in bold, what stands for something in italics."""
    return " ".join(
        _bold(word.rstrip(",")) + "," * word.endswith(",") if word.startswith("-") else _italic(word)
        for word in names.split()
    )


def _setting(key: str, setting: Setting) -> Iterator[str]:
    yield ".TP"
    yield f"{_bold(key)} = {_italic(setting.form)}"
    yield _line(setting.text)
    if setting.is_our_own:
        yield "Not known to wg\\-quick."


# ---- roff -------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Text for anywhere in a line: nothing in it is a request, an escape, or set as another character."""
    escaped = "".join(_SPECIAL.get(one) or (one if one.isascii() else f"\\[u{ord(one):04X}]") for one in text)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def _quoted(text: str) -> str:
    """One argument of a macro."""
    return '"' + escape(text).replace('"', r"\(dq") + '"'


def _bold(text: str) -> str:
    return rf"\fB{escape(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{escape(text)}\fR"


def _line(text: str) -> str:
    """Running text in one line of roff: white space is one space."""
    return _set(" ".join(text.split())) or r"\&"


def _set(text: str) -> str:
    return "".join(_bold(piece) if index % 2 else escape(piece) for index, piece in enumerate(_TYPED.split(text)))


def _prose(text: str, *, is_first: bool = True) -> Iterator[str]:
    """Paragraphs; `is_first`: right below a heading, which is distance enough."""
    for number, paragraph in enumerate(filter(None, re.split(r"\n\s*\n", text.strip("\n")))):
        if number or not is_first:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_set, paragraph.strip("\b\n").split("\n")), ".fi")
        else:
            yield _line(paragraph)


def _head(name: str, section: int, summary: str) -> Iterator[str]:
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    yield f".TH {_quoted(name.upper())} {section} {date} {_quoted(f'tunnel {__version__}')} {_quoted('tunnel')}"
    yield ".SH NAME"
    first = summary.partition("\n\n")[0].rstrip(".")
    yield f"{escape(name)} \\- {_line(first)}"


def _listed(heading: str, items: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {_quoted(heading)}"
    for term, text in items:
        yield from (".TP", _bold(term), _line(text))


def _see_also(*others: str) -> Iterator[str]:
    yield f".SH {_quoted('SEE ALSO')}"
    for number, page in enumerate(others, 1):
        name, _, section = page.partition("(")
        yield f".BR {escape(name)} ({section}{',' if number < len(others) else ''}"


def main() -> None:
    """Write the pages into the directory that is the only argument."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tunnel.cli.manual DIRECTORY")
    directory = Path(sys.argv[1])
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
