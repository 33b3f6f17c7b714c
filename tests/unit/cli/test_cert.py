import os
import stat
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, flock
from ipaddress import ip_address, ip_network
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import pytest
from cryptography.x509 import CRLNumber, load_pem_x509_crl

from tests.unit.cli.invoking import error_of, invoke
from tests.unit.pki.authorities import altered, new_authority
from tunnel.cli.ca_folder import CaFolder
from tunnel.keys import PrivateKey
from tunnel.pki.ledger import Entry, parse_ledger
from tunnel.pki.profile import Claims, read_claims
from tunnel.pki.store import format_certificates, format_private_key, parse_certificates, parse_identity_file

KEY = PrivateKey(bytes(range(32)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Commands run in here."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture
def ca(folder: Path) -> Path:
    assert run("ca") != ""
    return folder / "ca"


def run(*arguments: str) -> str:
    """The output of a command that must succeed."""
    result = invoke("cert", *arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def refusal(*arguments: str) -> str:
    text = error_of(invoke("cert", *arguments))
    assert "\n" not in text
    return text


def issue(name: str, *arguments: str, address: str = "10.9.0.2") -> str:
    return run("issue", name, "--address", address, *arguments)


def claims(path: str) -> Claims:
    return read_claims(parse_certificates(Path(path).read_bytes(), path).chain[0])


def entries() -> tuple[Entry, ...]:
    return parse_ledger(Path("ca/ledger.json").read_bytes(), "ledger.json").entries


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


# ---- a CA -------------------------------------------------------------------------------------------------------


def test_a_ca_is_a_folder_of_our_own(ca: Path) -> None:
    assert mode(ca) == 0o700
    assert mode(ca / "ca.key") == mode(ca / "ledger.json") == 0o600
    assert mode(ca / "ca.pem") == 0o644
    assert sorted(path.name for path in ca.iterdir()) == ["ca.key", "ca.pem", "ledger.json"]


def test_a_second_ca_does_not_overwrite_the_first(ca: Path) -> None:
    before = (ca / "ca.key").read_bytes()
    assert refusal("ca") == "ca: there is a CA already; a new one needs a folder of its own"
    assert (ca / "ca.key").read_bytes() == before


def test_a_ca_may_be_bound_to_networks(folder: Path) -> None:
    run("ca", "--network", "10.9.0.0/16", "--network", "fd09::/64")
    issue("laptop", "--address", "fd09::2")
    assert "10.8.0.1/32" in refusal("issue", "other", "--address", "10.8.0.1")


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 65])
def test_a_ca_without_a_proper_name_is_refused(folder: Path, name: str) -> None:
    assert "name has 1 to 64 printable characters" in refusal("ca", "--name", name)
    assert not Path("ca").exists()


def test_without_a_ca_the_error_says_how_to_make_one(folder: Path) -> None:
    expected = "there is no CA here; tunnel cert ca makes one, --ca-dir names its folder"
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == f"ca: {expected}"
    assert refusal("crl", "--ca-dir", "elsewhere") == f"elsewhere: {expected}"


@pytest.mark.parametrize(("name", "bits"), [("ca.key", 0o644), ("ca.key", 0o606)])
def test_a_key_that_everybody_may_read_or_change_is_refused(ca: Path, name: str, bits: int) -> None:
    ca.chmod(0o755)
    (ca / name).chmod(bits)
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == (
        "ca/ca.key: holds a secret, and everybody may read or change it: chmod 600 ca/ca.key"
    )


def test_a_folder_that_everybody_may_write_to_is_refused(ca: Path) -> None:
    ca.chmod(0o777)
    assert refusal("crl") == "ca: everybody may put another CA in its place: chmod 700 ca"


def test_commands_on_one_folder_wait_for_each_other(ca: Path) -> None:
    descriptor = os.open(ca, os.O_RDONLY)
    with CaFolder.open(ca, None), pytest.raises(BlockingIOError):
        flock(descriptor, LOCK_EX | LOCK_NB)
    flock(descriptor, LOCK_EX | LOCK_NB)
    os.close(descriptor)


def test_a_key_of_another_ca_is_refused(ca: Path) -> None:
    run("ca", "--ca-dir", "other")
    (ca / "ca.key").write_bytes(Path("other/ca.key").read_bytes())
    assert refusal("crl") == "ca/ca.key: not the private key of ca/ca.pem"


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    Path("file").touch()
    assert refusal("ca", "--ca-dir", "file") == "file: File exists"
    assert refusal("ca", "--ca-dir", "file/ca") == "file/ca: Not a directory"


def test_half_a_ca_is_none(folder: Path) -> None:
    limits = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (300, limits[1]))  # bytes: enough for the key, but not for the certificate
    try:
        assert refusal("ca") == "ca/ca.pem: File too large"
    finally:
        setrlimit(RLIMIT_FSIZE, limits)
    assert list(Path("ca").iterdir()) == []
    run("ca")


# ---- issue ------------------------------------------------------------------------------------------------------


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


# ---- passphrases ------------------------------------------------------------------------------------------------


def passphrase_file(name: str, text: str) -> str:
    Path(name).write_text(text)
    Path(name).chmod(0o600)
    return name


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


# ---- renew, revoke, crl -----------------------------------------------------------------------------------------


def test_renewing_keeps_everything_but_the_time_and_the_serial_number(ca: Path) -> None:
    issue("gw", "--server", "--transit", "10.9.0.0/24", "--route", "192.168.7.0/24", "--passphrase-file", secret())
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


def secret() -> str:
    return passphrase_file("secret", "secret")


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


@pytest.mark.parametrize("who", ["laptop", "laptop.pem"])
def test_revoking_a_host_takes_back_all_that_it_has(ca: Path, who: str) -> None:
    issue("laptop")
    Path("old.pem").write_bytes(Path("laptop.pem").read_bytes())
    run("renew", "laptop.pem")
    assert run("revoke", who).count("revoked laptop, serial ") == 2
    for path in ("old.pem", "laptop.pem"):
        assert "revoked" in refusal("verify", path, "--crl", "ca/crl.pem")
        assert "issue a new one" in refusal("renew", path)
    assert refusal("revoke", who) == f"{who}: nothing to revoke: expired, or revoked already"
    issue("successor")


def test_one_certificate_can_be_revoked_by_its_serial_number(ca: Path) -> None:
    issue("laptop")
    run("renew", "laptop.pem", "-o", "new.pem")
    run("revoke", f"{claims('laptop.pem').serial:x}")
    assert [entry.revoked is None for entry in entries()] == [False, True]
    assert "good" in run("verify", "new.pem", "--crl", "ca/crl.pem")


@pytest.mark.parametrize("who", ["nobody", "", "ABCDEF", ":"])
def test_what_was_never_issued_cannot_be_revoked(ca: Path, who: str) -> None:
    assert refusal("revoke", "--", who).endswith("neither a name, nor a file, nor a serial number that was issued here")
    assert not (ca / "crl.pem").exists()


def test_a_revocation_list_is_made_anew_with_the_next_number(ca: Path) -> None:
    issue("laptop")
    run("revoke", "laptop")
    first = load_pem_x509_crl((ca / "crl.pem").read_bytes())
    assert run("crl", "--days", "60").startswith("ca/crl.pem: 1 revoked, until ")
    second = load_pem_x509_crl((ca / "crl.pem").read_bytes())
    assert [one.serial_number for one in second] == [claims("laptop.pem").serial]
    assert second.next_update_utc is not None
    assert first.next_update_utc is not None
    assert second.next_update_utc > first.next_update_utc
    assert [one.extensions.get_extension_for_class(CRLNumber).value.crl_number for one in (first, second)] == [1, 2]
    assert mode(ca / "crl.pem") == 0o644


# ---- show, verify -----------------------------------------------------------------------------------------------


def test_show_says_what_a_certificate_says_and_no_secret(ca: Path) -> None:
    issue("gw", "--server", "--route", "192.168.7.0/24")
    output = run("show", "gw.pem")
    for line in (
        "identity: gw",
        "  private key:     in this file, not encrypted",
        "  addresses:       10.9.0.2",
        "  routes:          192.168.7.0/24",
        "  dialled as:      gw",
        "(90 days left)",
        "authority: tunnel CA",
    ):
        assert line in output
    identity = parse_identity_file(Path("gw.pem").read_bytes(), None, "gw.pem")
    assert identity.private_key.to_base64() not in output


def test_show_without_a_file_lists_what_was_issued(ca: Path) -> None:
    assert run("show") == "ca: nothing issued yet\n"
    issue("laptop")
    issue("gw", "--transit", "10.9.0.0/24", address="10.9.0.1")
    run("revoke", "laptop")
    first, second = run("show").splitlines()
    assert first.startswith("laptop  10.9.0.2  revoked at ")
    assert second.startswith("gw      10.9.0.1, 10.9.0.0/24  until ")


def test_verify_looks_at_the_name_that_is_dialled(ca: Path) -> None:
    issue("gw", "--server", "--dns", "gw.example.com")
    assert "good" in run("verify", "gw.pem", "--server", "gw.example.com")
    assert "other.example.com" in refusal("verify", "gw.pem", "--server", "other.example.com")


def test_verify_believes_only_the_authorities_it_is_given(ca: Path) -> None:
    run("ca", "--ca-dir", "other", "--name", "Other CA")
    issue("laptop")
    assert refusal("verify", "laptop.pem", "--ca", "other/ca.pem").startswith("laptop.pem: authority that we do not")
    assert refusal("verify", "ca/ca.pem") == "ca/ca.pem: no certificate of a host in it"


@pytest.mark.parametrize("command", ["verify", "renew"])
def test_an_identity_that_everybody_may_read_is_refused_if_it_has_a_private_key(
    ca: Path, folder: Path, command: str
) -> None:
    issue("laptop")
    issue("phone", "--public-key", str(KEY.public_key), address="10.9.0.3")
    folder.chmod(0o755)
    Path("laptop.pem").chmod(0o644)
    assert refusal(command, "laptop.pem") == (
        "laptop.pem: holds a secret, and everybody may read or change it: chmod 600 laptop.pem"
    )
    run(command, "phone.pem")


@pytest.mark.parametrize("command", ["show", "verify", "renew"])
def test_what_is_no_certificate_is_refused_with_its_name(ca: Path, command: str) -> None:
    assert refusal(command, "missing.pem") == "missing.pem: No such file or directory"
    assert refusal(command, "ca/ledger.json") == "ca/ledger.json: no certificate in it"
    assert refusal(command, "ca") == "ca: Is a directory"


@pytest.mark.parametrize("name", ["ca", "issue", "show", "verify", "renew", "revoke", "crl"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert f"tunnel cert {name}" in run(name, "--help").partition("Example")[2]
