import subprocess
import sys
from dataclasses import replace

import pytest

from tunnel.cli import show
from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.pki.problem import Problem
from tunnel.protocol.stats import DropReason

NOW = 1_700_000_000.0
QUIET = PeerStatus(public_key="quiet")
BUSY = PeerStatus(
    public_key="busy",
    has_preshared_key=True,
    endpoint_name="vpn.example.com:51820",
    endpoint="192.0.2.1:51820",
    allowed_ips=("10.0.0.0/24", "fd00::/64"),
    last_handshake=NOW - 12,
    rx_bytes=1_270_000,
    tx_bytes=148,
    persistent_keepalive=25,
    drops={"replayed": 2, "from_the_future": 1},
)
STATUS = InterfaceStatus("wg0", "ours", 51820, 0x51, 1420, 4711, 7 << 20, 7 << 20, (QUIET, BUSY), {"wrong_mac1": 5})
BARE = InterfaceStatus("wg1", None, 0, 0, None, None, None, None, (), {})


def _text(status: InterfaceStatus) -> str:
    return show.plain_text(show.describe(status, NOW))


def test_the_peer_heard_last_comes_first() -> None:
    assert [section.title for section in show.describe(STATUS, NOW)] == ["wg0", "busy", "quiet"]


def test_everything_known_about_a_peer_is_shown() -> None:
    assert dict(show.describe(STATUS, NOW)[1].rows[:6]) == {
        "endpoint": "192.0.2.1:51820  (configured as vpn.example.com:51820)",
        "allowed ips": "10.0.0.0/24, fd00::/64",
        "handshake": "12 s ago",
        "transfer": "1.21 MiB received, 148 B sent",
        "keepalive": "every 25 s",
        "preshared key": "(hidden)",
    }


def test_a_quiet_peer_says_so() -> None:
    rows = dict(show.describe(STATUS, NOW)[2].rows)
    assert rows["handshake"] == "never"
    assert rows["endpoint"] == "(not known yet)"
    assert "dropped" not in rows


def test_drops_are_told_in_words() -> None:
    assert f"dropped:         5 × {DropReason.WRONG_MAC1.words}\n" in _text(STATUS)


def test_a_reason_that_we_do_not_know_is_told_by_its_name() -> None:
    assert "1 × from the future" in _text(STATUS)


def test_every_reason_has_words() -> None:
    for reason in DropReason:
        (row,) = show.describe(InterfaceStatus("x", None, 0, 0, 0, 0, 0, 0, (), {reason.value: 1}), NOW)[0].rows[-1:]
        assert row == ("dropped", f"1 × {reason.words}")


def test_what_is_not_known_is_left_out() -> None:
    assert _text(BARE) == "interface: wg1\n  public key:      (none)\n  listening port:  (none)"


def test_a_port_without_a_socket_is_not_called_open() -> None:
    assert "listening port:  51820\n" in _text(STATUS)
    assert "listening port:  51820 (not open)\n" in _text(replace(STATUS, receive_buffer=0))


def test_plain_text_is_never_wrapped() -> None:
    networks = tuple(f"10.0.{number}.0/24" for number in range(100))
    text = _text(InterfaceStatus("x", None, 0, 0, 0, 0, 0, 0, (PeerStatus("p", allowed_ips=networks),), {}))
    assert f"  allowed ips:     {', '.join(networks)}\n" in text


def test_a_terminal_gets_the_same_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    sections = show.describe(STATUS, NOW)
    show.print_colours(sections)
    output = capsys.readouterr().out
    for section in sections:
        assert f"{section.kind} {section.title}" in output
        assert all(value in output for _, value in section.rows)


def test_a_terminal_is_not_told_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_colours([show.Section("interface", "[bold]x[/bold]", [("endpoint", "[red]y[/red]")])])
    output = capsys.readouterr().out
    assert "[bold]x[/bold]" in output
    assert "[red]y[/red]" in output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "in the future (was the clock set back?)"),
        (-0.5, "now"),
        (0.4, "now"),
        (12.9, "12 s ago"),
        (60, "1 min ago"),
        (184, "3 min 4 s ago"),
        (3600, "1 h ago"),
        (3605, "1 h ago"),
        (7500, "2 h 5 min ago"),
        (273600, "3 d 4 h ago"),
    ],
)
def test_times_are_told_in_two_units(seconds: float, text: str) -> None:
    assert show.ago(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1_270_000, "1.21 MiB"),
        (1023 * 1024, "0.999 MiB"),
        (7 << 20, "7 MiB"),
        (2**64, "16 EiB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert show.size(count) == text


@pytest.mark.parametrize(
    ("sending", "receiving", "text"),
    [
        (("csum", "gso", "tso4"), ("csum", "gro", "tso4"), "send csum tso4 gso, receive csum tso4 gro"),
        (("csum", "gso"), (), "send csum gso"),
        ((), ("gro",), "receive gro"),
        ((), (), "off"),
    ],
)
def test_the_offloads_that_are_on_are_named(sending: tuple[str, ...], receiving: tuple[str, ...], text: str) -> None:
    status = InterfaceStatus("x", None, 0, 0, send_offloads=sending, receive_offloads=receiving)
    assert dict(show.describe(status, NOW)[0].rows)["offloads"] == text


def test_extensions_are_named_where_some_are_in_use() -> None:
    peer = PeerStatus("p", extensions=("aes-256-gcm", "tcp-slices"))
    assert "  extensions:      aes-256-gcm, tcp-slices" in _text(InterfaceStatus("x", None, 0, 0, peers=(peer,)))


@pytest.mark.parametrize(
    ("max_packet", "words"), [(None, "1480"), (1220, "1480, packets over 1220 bytes are cut or refused")]
)
def test_the_path_mtu_is_told_once_it_is_known(max_packet: int | None, words: str) -> None:
    peer = PeerStatus("p", path_mtu=1480, max_packet=max_packet)
    assert dict(show.describe(InterfaceStatus("x", None, 0, 0, peers=(peer,)), NOW)[1].rows)["path mtu"] == words
    assert "path mtu" not in _text(STATUS)


@pytest.mark.parametrize("unused", [None, ()])
def test_extensions_that_are_not_in_use_are_not_mentioned(unused: tuple[str, ...] | None) -> None:
    peer = PeerStatus("p", extensions=unused)
    assert "extensions" not in _text(InterfaceStatus("x", None, 0, 0, peers=(peer,)))


# --- certificates

DAY = 86400.0
DATED = 1_803_124_800.0  # 2027-02-20 12:00 UTC
GATEWAY = PeerStatus(
    "its key", name="gw", certificate_expires=DATED, admitted="vouched for by Example CA", endpoint="192.0.2.1:51820"
)
CERTIFIED = InterfaceStatus(
    "wg0",
    "ours",
    0,
    0,
    identity="laptop",
    certificate_expires=DATED,
    refusals={"expired": 3, "revoked": 1, "too_old_for_this": 2},
    dialling="gw.example.com:51820, no answer for 12 s",
    peers=(GATEWAY,),
)


def test_an_interface_and_a_peer_with_certificates_in_full() -> None:
    assert show.plain_text(show.describe(CERTIFIED, DATED - 90 * DAY)) == (
        "interface: wg0\n"
        "  identity:        laptop\n"
        "  certificate:     until 2027-02-20 (90 d left)\n"
        "  public key:      ours\n"
        "  listening port:  (none)\n"
        "  dialling:        gw.example.com:51820, no answer for 12 s\n"
        "  refused:         3 × certificate expired\n"
        "                   1 × certificate revoked\n"
        "                   2 × too old for this\n"
        "\n"
        "peer: gw\n"
        "  public key:      its key\n"
        "  admitted:        vouched for by Example CA\n"
        "  certificate:     until 2027-02-20 (90 d left)\n"
        "  endpoint:        192.0.2.1:51820\n"
        "  allowed ips:     (none)\n"
        "  handshake:       never\n"
        "  transfer:        0 B received, 0 B sent"
    )


def test_refusals_come_after_drops_and_are_told_apart() -> None:
    status = InterfaceStatus("x", None, 0, 0, drops={"replayed": 2}, refusals={"revoked": 1})
    rows = [f"  dropped:         2 × {DropReason.REPLAYED.words}", "  refused:         1 × certificate revoked"]
    assert _text(status).endswith("\n".join(rows))


def test_every_problem_has_words() -> None:
    refusals = {problem.value: 1 for problem in Problem}
    rows = show.describe(InterfaceStatus("x", None, 0, 0, refusals=refusals), NOW)[0].rows
    assert [value for _, value in rows[2:]] == [f"1 × {problem.words}" for problem in Problem]


EXPIRIES = [
    (90 * DAY, "until 2027-02-20 (90 d left)", None),
    (7 * DAY + 1, "until 2027-02-20 (7 d left)", None),
    (7 * DAY, "until 2027-02-20 (7 d left, renew it)", "yellow"),
    (2 * DAY - 1, "until 2027-02-20 (1 d left, renew it)", "yellow"),
    (DAY, "until 2027-02-20 (1 d left, renew it)", "red"),
    (DAY - 60, "until 2027-02-20 (23 h 59 min left, renew it)", "red"),
    (0.5, "until 2027-02-20 (0 s left, renew it)", "red"),
    (0, "until 2027-02-20 (expired now, renew it)", "red"),
    (-3 * DAY, "until 2027-02-20 (expired 3 d ago, renew it)", "red"),
]


@pytest.mark.parametrize(("left", "text", "style"), EXPIRIES)
def test_a_certificate_that_ends_soon_asks_to_be_renewed(left: float, text: str, style: str | None) -> None:
    for section in show.describe(CERTIFIED, DATED - left):
        assert dict(section.rows)["certificate"] == text
        assert section.styles.get("certificate") == style


def test_a_certificate_that_ends_soon_is_coloured_and_nothing_else_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = []
    for left in (90, 7, 1):
        show.print_colours(show.describe(CERTIFIED, DATED - left * DAY)[1:])
        lines = capsys.readouterr().out.splitlines()
        coloured.append([line.count(f"\x1b[{code}m") for code in (33, 31) for line in lines if "certificate" in line])
        assert not any(f"\x1b[{code}m" in line for code in (33, 31) for line in lines if "certificate" not in line)
    assert coloured == [[0, 0], [1, 0], [0, 1]]


def test_a_terminal_gets_the_same_words_of_certificates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    sections = show.describe(CERTIFIED, DATED - DAY)
    show.print_colours(sections)
    output = capsys.readouterr().out
    for section in sections:
        assert f"{section.kind} {section.title}" in output
        assert all(label in output and value in output for label, value in section.rows)


def test_a_status_without_refusals_needs_no_certificates() -> None:
    code = (
        "import sys\nfrom tunnel.cli import show\nfrom tunnel.control.status import InterfaceStatus\n"
        "show.describe(InterfaceStatus('x', None, 0, 0), 0)\nassert 'tunnel.pki' not in sys.modules\n"
        "show.describe(InterfaceStatus('x', None, 0, 0, refusals={'expired': 1}), 0)\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)
