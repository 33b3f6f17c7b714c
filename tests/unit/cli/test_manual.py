"""The pages are read by groff where it is there; what they have to hold is compared with what the program has."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tunnel.cli.commands import tunnel
from tunnel.cli.manual import escape, main, pages
from tunnel.config.quick_reference import REFERENCE
from tunnel.config.quick_sections import REPEATABLE, SETTINGS

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def formatted(page: str) -> str:
    """What a reader sees on a terminal wide enough that no line breaks."""
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-rLL=1000n", "-P-cbou"],
        input=page,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("section", SETTINGS)
def test_every_setting_that_is_read_is_described_in_quick_reference(section: str) -> None:
    assert set(REFERENCE[section]) == set(SETTINGS[section])


def test_a_setting_is_called_repeatable_if_it_can_be_repeated() -> None:
    described = {
        key
        for settings in REFERENCE.values()
        for key, setting in settings.items()
        if "Repeatable." in setting.text or "Of several, all run" in setting.text
    }
    assert described == REPEATABLE - {"DNS"}


@needs_groff
@pytest.mark.parametrize("name", ["tunnel.8", "tunnel-wg.8", "tunnel.conf.5"])
def test_groff_has_nothing_to_say_about_a_page(name: str) -> None:
    assert "NAME\n" in formatted(pages()[name])


@needs_groff
def test_the_page_has_every_command_with_all_its_options() -> None:
    text = formatted(pages()["tunnel.8"])
    for path, command in commands(tunnel, "tunnel"):
        section = text.partition(f"\n   {path}\n")[2].partition("\n   tunnel ")[0]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(name in section for name in option.opts), (path, option.opts)


@needs_groff
def test_hidden_options_are_not_told() -> None:
    assert "ready" + "-fd" not in formatted(pages()["tunnel.8"])


@needs_groff
def test_examples_can_be_copied_from_the_page() -> None:
    text = formatted(pages()["tunnel.8"])
    assert "tunnel status --json | jq '.[].peers[].last_handshake'" in text
    assert "umask 077; tunnel genkey | tee private.key | tunnel pubkey" in text


@needs_groff
@pytest.mark.parametrize("text", [".so /etc/passwd", "'br", r"\fBbold", "a-b ~^`'\"", "– é ×", r"end\\"])
def test_no_text_is_taken_for_roff(text: str) -> None:
    assert text in formatted(f'.TH "X" 8\n.SH "NAME"\n{escape(text)}\n')


def test_the_date_is_that_of_the_source_if_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert re.match(r'\.TH "TUNNEL" 8 1970-01-02 ', pages()["tunnel.8"])


def test_the_pages_are_written_into_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manual", str(tmp_path)])
    main()
    assert {path.name for path in tmp_path.iterdir()} == {"tunnel.8", "tunnel-wg.8", "tunnel.conf.5"}
