import json
from collections import Counter
from dataclasses import replace
from io import StringIO

from rich.console import Console

from tunnel.demo.capture import Traffic
from tunnel.demo.host import RoundTrip
from tunnel.demo.narrator import StepFailedError
from tunnel.demo.report import Report, failure_to_json
from tunnel.demo.web import Download

CERTIFIED = [(16, 1200), (17, 1200), (18, 1200), (19, 1200)]

REPORT = Report(
    mtu=1420,
    handshake_seconds=0.0035,
    ping_ipv4=RoundTrip(0.5, 0.75),
    ping_ipv6=RoundTrip(0.6, 0.85),
    download=Download(size=250_000_000, seconds=4.0, sha256="ab" * 32),
    traffic=Traffic(Counter({**dict.fromkeys(CERTIFIED, 1), (4, 1452): 600, (5, 1452): 400}), lost=3),
    revocation_seconds=0.25,
)


def test_the_json_document_has_units_in_its_names() -> None:
    document = json.loads(REPORT.to_json())
    assert document["ok"] is True
    assert document["throughput_mbit_per_s"] == 500.0
    assert document["handshake_ms"] == 3.5
    assert document["ping_ipv6_avg_ms"] == 0.85
    assert document["revocation_ms"] == 250.0
    assert document["datagrams"] == {
        "handshake_initiation": 0,
        "handshake_response": 0,
        "cookie_reply": 0,
        "transport_data": 600,
        "extended_data": 400,
        "certificate_request": 1,
        "certificate": 1,
        "certified_initiation": 1,
        "certified_response": 1,
    }


def test_the_table_shows_the_measurements_and_admits_what_was_not_seen() -> None:
    shown = StringIO()
    REPORT.print_table(Console(file=shown, width=200))
    for expected in ("500 Mbit/s", "0.75 ms", "3.50 ms", "250 ms", "1004 datagrams", "4 of handshakes", "0 foreign"):
        assert expected in shown.getvalue()
    assert "3 frames passed unseen" in shown.getvalue()


def test_where_nothing_was_revoked_nothing_is_said_of_it() -> None:
    report = replace(REPORT, revocation_seconds=None)
    shown = StringIO()
    report.print_table(Console(file=shown, width=200))
    assert "revocation" not in shown.getvalue()
    assert json.loads(report.to_json())["revocation_ms"] is None


def test_a_failure_as_json_has_the_step_the_reason_and_the_logs() -> None:
    document = json.loads(failure_to_json(StepFailedError("dig", OSError("too hard")), {"left0": "clang"}))
    assert document == {"ok": False, "step": "dig", "error": "too hard", "logs": {"left0": "clang"}}
