from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.unit.cli.certifying import KEY, claims, entries, issue, mode, passphrase_file, refusal, run
from tests.unit.pki.authorities import altered, new_authority
from tunnel.pki.store import format_certificates, format_private_key, parse_certificates, parse_identity_file


def test_an_identity_is_one_private_file_with_key_certificate_and_ca(ca: Path) -> None:
    assert issue("laptop").startswith("laptop.pem: laptop 10.9.0.2, until ")
    assert mode("laptop.pem") == 0o600
    identity = parse_identity_file(Path("laptop.pem").read_bytes(), None, "laptop.pem")
    assert identity.private_key.public_key == claims("laptop.pem").public_key
    assert identity.authorities == parse_certificates((ca / "ca.pem").read_bytes(), "ca.pem").authorities


def test_a_certificate_says_what_was_asked_for(ca: Path) -> None:
    issue(
        "gw",
        *("--address", "fd09::1", "--route", "192.168.7.0/24", "--transit", "10.9.0.0/24"),
        *("--server", "--dns", "GW.example.com", "--dns", "192.0.2.1", "--days", "7"),
        address="10.9.0.1",
    )
    said = claims("gw.pem")
    assert said.name == "gw"
    assert said.addresses == (ip_address("10.9.0.1"), ip_address("fd09::1"))
    assert set(said.routes) == {ip_network("10.9.0.0/24"), ip_network("192.168.7.0/24")}
    assert (said.dns_names, said.ip_names) == (("gw.example.com",), (ip_address("192.0.2.1"),))
    assert said.is_server
    assert 7 * 86400 <= said.not_after - said.not_before <= 7 * 86400 + 600


def test_a_server_without_dns_names_is_dialled_by_its_name(ca: Path) -> None:
    issue("gw.example.com", "--server")
    assert claims("gw.example.com.pem").dns_names == ("gw.example.com",)
    assert "say with --dns" in refusal("issue", "my_server", "--address", "10.9.0.3", "--server")


def test_an_existing_file_is_overwritten_only_if_asked(ca: Path) -> None:
    Path("laptop.pem").write_text("precious")
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == "laptop.pem: exists already; --force overwrites it"
    assert Path("laptop.pem").read_text() == "precious"
    assert entries() == ()
    issue("laptop", "--force")
    assert claims("laptop.pem").name == "laptop"
    assert mode("laptop.pem") == 0o600


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("missing/laptop.pem", "missing/laptop.pem: No such file or directory"),
        (".", ".: not a file"),
        ("/dev/null", "/dev/null: not a file"),
        ("x" * 300, f"{'x' * 300}: File name too long"),
    ],
)
def test_an_identity_that_cannot_be_written_is_not_in_the_ledger(ca: Path, output: str, error: str) -> None:
    assert refusal("issue", "laptop", "--address", "10.9.0.2", "-o", output, "--force") == error
    assert entries() == ()


def test_an_identity_that_cannot_be_in_the_ledger_is_not_given_out(ca: Path, folder: Path) -> None:
    name = "x" * 250  # with what a new file is called until it is whole, that is too long
    (ca / "ledger.json").rename(ca / name)
    (ca / "ledger.json").symlink_to(name)
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == "ca/ledger.json: File name too long"
    assert [path.name for path in folder.iterdir()] == ["ca"]


def test_nothing_is_left_behind_beside_an_identity(ca: Path, folder: Path) -> None:
    issue("laptop")
    assert sorted(path.name for path in folder.iterdir()) == ["ca", "laptop.pem"]


def test_a_link_to_an_identity_stays_one(ca: Path) -> None:
    Path("identity.pem").symlink_to("laptop.pem")
    issue("laptop")
    run("renew", "identity.pem")
    assert Path("identity.pem").is_symlink()
    assert len(entries()) == 2
    assert claims("laptop.pem").serial == entries()[1].serial


def test_an_address_that_somebody_has_is_refused_with_who(ca: Path) -> None:
    issue("office", "--route", "192.168.7.0/24")
    assert refusal("issue", "x", "--address", "10.9.0.2").startswith("10.9.0.2 belongs to office until ")
    assert "192.168.7.0/24, which belongs to office" in refusal("issue", "x", "--address", "192.168.7.9")
    assert "192.168.0.0/16 overlaps" in refusal("issue", "x", "--address", "10.9.0.3", "--route", "192.168.0.0/16")
    assert not Path("x.pem").exists()


def test_a_gateway_may_route_the_network_that_its_clients_are_in(ca: Path) -> None:
    issue("gw", "--transit", "10.9.0.0/24", address="10.9.0.1")
    issue("laptop")
    issue("gw2", "--transit", "10.9.0.0/24", address="10.9.0.3")


def test_a_name_has_one_certificate_unless_it_is_renewed(ca: Path) -> None:
    issue("laptop")
    error = refusal("issue", "laptop", "--address", "10.9.0.3", "--force")
    assert error.startswith("laptop: has a certificate until ")
    assert error.endswith(": renew it, or revoke it first")


def test_a_default_route_needs_permission_and_is_for_everybody(ca: Path) -> None:
    assert refusal("issue", "exit", "--address", "10.9.0.2", "--route", "0.0.0.0/0") == (
        "exit: a default route needs --allow-default-route"
    )
    halves = ("--route", "0.0.0.0/1", "--route", "128.0.0.0/1")
    assert refusal("issue", "exit", "--address", "10.9.0.2", *halves) == (
        "exit: default route without permission: 0.0.0.0/0"
    )
    issue("laptop")
    for name, address in (("exit1", "10.9.0.11"), ("exit2", "10.9.0.12")):
        issue(name, "--route", "0.0.0.0/0", "--route", "::/0", "--allow-default-route", address=address)
    assert refusal("verify", "exit1.pem").startswith("exit1.pem: default route without permission")
    assert "good" in run("verify", "exit1.pem", "--allow-default-route")
    run("renew", "exit1.pem")
    assert set(claims("exit1.pem").routes) == {ip_network("0.0.0.0/0"), ip_network("::/0")}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "x: needs an address, such as --address 10.9.0.2"),
        (["--address", "10.0.0.0/33"], "--address: '10.0.0.0/33': prefix longer than 32"),
        (["--address", "10.0.0.5/24"], "--address: '10.0.0.5/24': an address has no prefix length; "),
        (["--address", "10.0.0.256"], "--address: '10.0.0.256': not an IPv4 address"),
        (["--address", "fe80::1%eth0"], "--address: 'fe80::1%eth0': a zone has no place here"),
        (["--address", "127.0.0.1"], "--address: '127.0.0.1': not an address that a host can have"),
        (["--address", "224.0.0.1"], "--address: '224.0.0.1': not an address that a host can have"),
        (["--address", "::"], "--address: '::': not an address that a host can have"),
        (["--route", "10.0.0.0/33"], "--route: '10.0.0.0/33': prefix longer than 32"),
        (["--route", "10.0.0.1/24"], "--route: '10.0.0.1/24': has bits behind its prefix; did you mean 10.0.0.0/24?"),
        (["--route", "10.0.0.1"], "--route: '10.0.0.1': a single address; --address is for these"),
        (["--transit", "ten"], "--transit: 'ten': not an IPv4 address"),
        (["--days", "0"], "--days: '0': not in 1–36500"),
        (["--days", "-1"], "--days: '-1': not a number"),
        (["--days", "ten"], "--days: 'ten': not a number"),
        (["--days", "9999999"], "--days: '9999999': not in 1–36500"),
        (["--dns", "a b"], "--dns: 'a b': not a DNS name"),
        (["--dns", "ünïcode.example"], "--dns: 'ünïcode.example': not a DNS name"),
        (["--dns", "a.*.example"], "--dns: 'a.*.example': not a DNS name"),
        (["--dns", "192.0.2.256"], "--dns: '192.0.2.256': not an IPv4 address"),
        (["--public-key", "AAAA"], "--public-key: not a public key: 3 bytes of base64 instead of 32"),
        (["--public-key", "A" * 300], "--public-key: not a public key: 225 bytes of base64 instead of 32"),
        (["--public-key", "missing.pem"], "--public-key: missing.pem: no such file"),
        (["--public-key", "A" * 43 + "="], "--public-key: the public key is all zeros"),
        (["--passphrase"], "--passphrase: there is no terminal to ask on; --passphrase-file names a file"),
    ],
)
def test_a_slip_is_one_line_with_its_option_and_reason(ca: Path, arguments: list[str], error: str) -> None:
    address = [] if not arguments or arguments[0] == "--address" else ["--address", "10.9.0.2"]
    assert refusal("issue", "x", *address, *arguments).startswith(error)
    assert entries() == ()
    assert not Path("x.pem").exists()


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b", "ä", "x" * 65, "-"])
def test_a_name_that_no_file_should_have_is_refused(ca: Path, name: str) -> None:
    assert refusal("issue", "--address", "10.9.0.2", "--", name).startswith(f"NAME: '{name}': not 1 to 64 of ")


def test_a_host_with_more_than_fits_a_datagram_is_refused(ca: Path) -> None:
    routes = [text for number in range(120) for text in ("--route", f"10.{number}.64.0/18")]
    assert "too large" in refusal("issue", "x", "--address", "10.9.0.2", *routes)
    assert entries() == ()


def test_a_key_made_elsewhere_never_travels(ca: Path) -> None:
    issue("phone", "--public-key", str(KEY.public_key))
    raw = Path("phone.pem").read_bytes()
    assert b"PRIVATE KEY" not in raw
    assert mode("phone.pem") == 0o644
    identity = parse_identity_file(format_private_key(KEY.x25519) + raw, None, "phone.pem")
    assert identity.private_key == KEY
    assert run("verify", "phone.pem").startswith("phone.pem: good: phone 10.9.0.2, ")


def test_a_public_key_may_be_in_a_file(ca: Path) -> None:
    Path("phone.pub").write_text(f"{KEY.public_key}\n")
    issue("phone", "--public-key", "phone.pub")
    assert claims("phone.pem").public_key == KEY.public_key


# ---- passphrases ----------------------------------------------------------------------------------------------------


def test_keys_can_be_protected_by_passphrases(folder: Path) -> None:
    for_ca, for_host = passphrase_file("c", "one\n"), passphrase_file("h", "two\r\nignored\n")
    run("ca", "--passphrase-file", for_ca)
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == (
        "ca/ca.key: its private key is encrypted; --ca-passphrase-file FILE names the passphrase's file"
    )
    assert refusal("issue", "laptop", "--address", "10.9.0.2", "--ca-passphrase-file", for_host) == (
        "ca/ca.key: wrong passphrase, or a broken private key"
    )
    issue("laptop", "--ca-passphrase-file", for_ca, "--passphrase-file", for_host)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in Path("laptop.pem").read_bytes()
    assert parse_identity_file(Path("laptop.pem").read_bytes(), b"two", "laptop.pem").chain
    assert "good" in run("verify", "laptop.pem", "--passphrase-file", for_host)
    assert "wrong passphrase" in refusal("verify", "laptop.pem", "--passphrase-file", for_ca)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "p: no passphrase in its first line"),
        ("\nsecret", "p: no passphrase in its first line"),
        ("x" * 1024, "p: its first line is longer than 1023 bytes"),
    ],
)
def test_a_file_without_a_fit_passphrase_is_refused(ca: Path, text: str, error: str) -> None:
    passphrase_file("p", text)
    assert refusal("issue", "laptop", "--address", "10.9.0.2", "--passphrase-file", "p") == error


# ---- renew ----------------------------------------------------------------------------------------------------------


def test_renewing_keeps_everything_but_the_time_and_the_serial_number(ca: Path) -> None:
    issue(
        "gw",
        "--server",
        "--transit",
        "10.9.0.0/24",
        "--route",
        "192.168.7.0/24",
        "--passphrase-file",
        passphrase_file("secret", "secret"),
    )
    before, raw = claims("gw.pem"), Path("gw.pem").read_bytes()
    assert run("renew", "gw.pem", "--days", "200").startswith("gw.pem: gw 10.9.0.2 routes ")
    after = claims("gw.pem")
    assert after.not_after > before.not_after + 100 * 86400
    assert (after.name, after.public_key, after.addresses, after.routes, after.dns_names, after.is_server) == (
        (before.name, before.public_key, before.addresses, before.routes, before.dns_names, before.is_server)
    )
    assert raw.partition(b"-----END")[0].partition(b"-----BEGIN")[2] in Path("gw.pem").read_bytes()
    assert mode("gw.pem") == 0o600
    assert [entry.transit for entry in entries()] == [(ip_network("10.9.0.0/24"),)] * 2


def test_a_certificate_without_its_private_key_can_be_renewed(ca: Path) -> None:
    issue("phone", "--public-key", str(KEY.public_key))
    run("renew", "phone.pem", "-o", "new.pem")
    assert mode("new.pem") == 0o644
    assert claims("new.pem").public_key == KEY.public_key
    assert refusal("renew", "phone.pem", "-o", "new.pem") == "new.pem: exists already; --force overwrites it"


def test_renewing_keeps_the_other_authorities_that_are_trusted(ca: Path) -> None:
    run("ca", "--ca-dir", "next")
    issue("laptop")
    with Path("laptop.pem").open("ab") as file:
        file.write(Path("next/ca.pem").read_bytes())
    run("renew", "laptop.pem")
    assert len(parse_certificates(Path("laptop.pem").read_bytes(), "laptop.pem").authorities) == 2


def test_what_another_ca_issued_is_not_renewed(ca: Path) -> None:
    run("ca", "--ca-dir", "other")
    issue("laptop")
    assert refusal("renew", "laptop.pem", "--ca-dir", "other") == "laptop.pem: not issued by the CA in other"
    assert refusal("renew", "ca/ca.pem") == "ca/ca.pem: no certificate of a host in it"


def test_a_forgery_with_the_serial_number_of_ours_is_not_renewed(ca: Path) -> None:
    issue("laptop")
    ours = parse_certificates(Path("laptop.pem").read_bytes(), "laptop.pem")
    Path("forged.pem").write_bytes(format_certificates([altered(ours.chain[0], new_authority("tunnel CA"))]))
    assert claims("forged.pem").serial == claims("laptop.pem").serial
    assert refusal("renew", "forged.pem") == "forged.pem: not issued by the CA in ca"
