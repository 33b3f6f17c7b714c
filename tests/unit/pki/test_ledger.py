import json

import pytest

from tests.unit.pki.authorities import NOW, networks
from tunnel.errors import ConfigError
from tunnel.pki.ledger import Entry, Ledger, find_conflict, format_ledger, format_serial, parse_ledger

LATER = NOW + 86400
OFFICE = Entry(7, "office", networks("10.9.0.3", "192.168.7.0/24", "fd07::/64"), LATER)
GATEWAY = Entry(8, "gw", networks("10.9.0.1"), LATER, transit=networks("10.9.0.0/24"))
LEDGER = Ledger((OFFICE, GATEWAY))


def conflict(*wanted: str, name: str = "new", ledger: Ledger = LEDGER, now: float = NOW) -> str:
    return str(find_conflict(ledger, name, networks(*wanted), now) or "")


def test_a_ledger_that_is_written_is_read_back() -> None:
    ledger = Ledger((OFFICE, GATEWAY), crl_number=3).with_revoked([8], NOW)
    assert parse_ledger(format_ledger(ledger), "ledger.json") == ledger


def test_an_address_that_somebody_has_is_refused_with_who() -> None:
    assert conflict("10.9.0.9", "10.9.0.3") == "10.9.0.3 belongs to office until 2027-01-16 08:00 UTC"


@pytest.mark.parametrize("wanted", ["192.168.7.9", "192.168.0.0/16", "192.168.7.128/25", "fd07::1"])
def test_what_overlaps_the_network_of_somebody_is_refused(wanted: str) -> None:
    assert "which belongs to office" in conflict(wanted)


def test_what_nobody_has_is_granted() -> None:
    assert conflict("10.9.0.4", "192.168.8.0/24", "fd08::/64") == ""


def test_a_transit_network_belongs_to_nobody() -> None:
    assert conflict("10.9.0.2") == conflict("10.9.0.128/25") == ""


def test_nobody_is_in_their_own_way() -> None:
    assert conflict("10.9.0.3", "192.168.7.0/24", name="office") == ""


def test_an_address_is_free_again_once_it_is_revoked() -> None:
    assert conflict("10.9.0.3", ledger=LEDGER.with_revoked([7], NOW)) == ""


def test_an_address_is_free_again_once_its_certificate_has_expired() -> None:
    assert conflict("10.9.0.3", now=LATER) != ""
    assert conflict("10.9.0.3", now=LATER + 1) == ""


def test_what_was_revoked_stays_so_since_the_first_time() -> None:
    ledger = LEDGER.with_revoked([7], NOW).with_revoked([7, 8], LATER)
    assert ledger.revoked == {7: NOW, 8: LATER}


def test_a_name_has_what_is_valid() -> None:
    renewed = LEDGER.with_entry(Entry(9, "gw", networks("10.9.0.1"), LATER + 86400))
    assert [entry.serial for entry in renewed.valid_of("gw", NOW)] == [8, 9]
    assert [entry.serial for entry in renewed.valid_of("gw", LATER + 1)] == [9]
    assert renewed.has("gw")
    assert not renewed.has("g")


def test_each_revocation_list_has_the_next_number() -> None:
    assert LEDGER.with_next_crl().with_next_crl().crl_number == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"version": 1, "crl_number": 0, "issued": [{}]}',
        b'{"version": 1, "crl_number": 0, "issued": {"a": 1}}',
        format_ledger(LEDGER).replace(b"10.9.0.1", b"10.9.0.256"),
        format_ledger(LEDGER).replace(b"2027-01-16", b"2027-13-16"),
        format_ledger(LEDGER)[:-10],
        format_ledger(LEDGER).replace(b'"crl_number": 0', b'"crl_number": Infinity'),
        format_ledger(LEDGER).replace(b'"crl_number": 0', b'"crl_number": -1'),
    ],
)
def test_what_is_no_ledger_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^ledger\.json: not the ledger of a CA$"):
        parse_ledger(raw, "ledger.json")


def test_a_ledger_of_a_later_version_is_refused() -> None:
    document = json.loads(format_ledger(LEDGER)) | {"version": 2}
    with pytest.raises(ConfigError, match="version 2 of the ledger is not known"):
        parse_ledger(json.dumps(document).encode(), "ledger.json")


def test_serials_and_times_are_written_as_openssl_and_iso_do() -> None:
    assert format_serial(0xABC) == "0ABC"
    office, _ = json.loads(format_ledger(LEDGER))["issued"]
    assert office["not_after"] == "2027-01-16T08:00:00Z"
