"""``tunnel doctor`` and ``tunnel why`` as they are typed, where nothing runs, and how an examination is shown."""

import json
from dataclasses import replace
from pathlib import Path

from tests.unit.cli.invoking import error_of, invoke
from tests.unit.doctor.patients import FACTS, silent
from tunnel.cli.doctor import describe
from tunnel.doctor.examination import examine
from tunnel.keys import PrivateKey


def write_config(directory: Path, mode: int = 0o600) -> Path:
    path = directory / "tunnel" / "wg-none0.conf"
    path.parent.mkdir()
    path.write_text(f"[Interface]\nPrivateKey = {PrivateKey(bytes(32)[:-1] + b'@').to_base64()}\n")
    path.chmod(mode)
    return path


def test_what_does_not_run_is_told_with_what_to_type(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    result = invoke("doctor", "wg-none0", directory=tmp_path)
    assert result.output.endswith(f"verdict: the interface is not up\n    try: tunnel up {path} -d\n")


def test_a_file_that_cannot_be_used_comes_first(tmp_path: Path) -> None:
    path = write_config(tmp_path, 0o644)
    path.parent.chmod(0o755)
    assert f"try: chmod 600 {path}" in invoke("doctor", "wg-none0", directory=tmp_path).output


def test_programs_get_steps_and_verdict(tmp_path: Path) -> None:
    (document,) = json.loads(invoke("doctor", "wg-none0", "--json", directory=tmp_path).output)
    assert (document["name"], document["healthy"]) == ("wg-none0", False)
    assert set(document["verdict"]) == {"severity", "peer", "what", "why", "remedy"}
    assert [step["result"] for step in document["steps"]] == ["bad"] + ["skipped"] * (len(document["steps"]) - 1)


def test_without_a_name_something_has_to_be_up(tmp_path: Path) -> None:
    assert "no interface is up" in error_of(invoke("doctor", directory=tmp_path))


def test_a_name_that_no_interface_can_have_is_refused(tmp_path: Path) -> None:
    assert "is no interface name" in error_of(invoke("doctor", "..", directory=tmp_path))


def test_no_address_is_refused(tmp_path: Path) -> None:
    assert error_of(invoke("why", "gateway", directory=tmp_path)) == "'gateway' is no IP address"


def test_where_no_interface_is_up_a_packet_goes_around_every_tunnel(tmp_path: Path) -> None:
    assert "no interface is up" in invoke("why", "127.0.0.1", directory=tmp_path).output


def test_every_step_has_its_line_and_the_verdict_is_last() -> None:
    lines = describe(examine(silent(knock="ECONNREFUSED"))).splitlines()
    assert "  ✓ process" in lines
    assert "  ✗ handshake" in lines
    assert "  – names" in lines
    assert lines[-2] == "verdict: kkkkkkkk…: nobody listens at its endpoint"
    assert lines[-1].startswith("    try: wg set wg0 peer ")


def test_of_a_host_that_is_well_that_is_said() -> None:
    assert describe(examine(FACTS)).endswith("verdict: nothing is wrong, as far as can be seen from here")


def test_peers_that_were_not_looked_at_are_counted() -> None:
    assert "992 more peers" in describe(examine(replace(FACTS, untried=992)))
