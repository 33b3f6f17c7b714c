"""An identity's files, as they are read at the start and again."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.pki.authorities import (
    GATEWAY,
    LAPTOP,
    NOW,
    altered,
    days,
    der,
    intermediate,
    issued,
    key_of,
    networks,
    new_authority,
)
from tunnel.daemon.identity import IdentityFiles, LoadedIdentity, read_file, read_identity, read_secret
from tunnel.errors import ClockError, ConfigError
from tunnel.keys import PrivateKey
from tunnel.pki.authority import Authority, build_crl
from tunnel.pki.store import format_certificates, format_identity
from tunnel.pki.verify import verify

CA = new_authority()
OTHER_CA = new_authority("Other CA")
CERTIFICATE = issued(CA)
KEY = key_of("laptop")


def revocations(
    *revoked: x509.Certificate, by: Authority = CA, number: int = 1, made: float = NOW, lasting: int = 30
) -> x509.CertificateRevocationList:
    return build_crl(by, {one.serial_number: made for one in revoked}, number, made, days=lasting)


def without_number(crl: x509.CertificateRevocationList, by: Authority = CA) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=crl.issuer, last_update=crl.last_update_utc, next_update=crl.next_update_utc
    )
    return builder.sign(by.key, None)


class Folder:
    """Files in a folder, and what is read from them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = IdentityFiles(path / "me.pem")
        self.write_identity()

    def write(self, name: str, raw: bytes, mode: int = 0o600) -> Path:
        path = self.path / name
        path.write_bytes(raw)
        path.chmod(mode)
        return path

    def write_identity(
        self,
        *chain: x509.Certificate,
        authorities: Sequence[x509.Certificate] = (CA.certificate,),
        key: PrivateKey | None = KEY,
        passphrase: bytes | None = None,
    ) -> None:
        self.write("me.pem", format_identity(key, chain or [CERTIFICATE], authorities, passphrase))

    def write_authorities(self, *certificates: x509.Certificate, name: str = "ca.pem") -> None:
        path = self.write(name, format_certificates(certificates), 0o644)
        self.files = replace(self.files, authorities=tuple(dict.fromkeys((*self.files.authorities, path))))

    def write_list(self, crl: x509.CertificateRevocationList, name: str = "crl.pem") -> None:
        path = self.write(name, crl.public_bytes(Encoding.PEM), 0o644)
        self.files = replace(self.files, crls=tuple(dict.fromkeys((*self.files.crls, path))))

    def read(self, now: float = NOW, previous: LoadedIdentity | None = None) -> LoadedIdentity:
        return self.files.read(now, previous)

    def refusal(self, now: float = NOW, previous: LoadedIdentity | None = None) -> str:
        """The one line of the error, without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.read(now, previous)
        text = str(caught.value)
        assert text.isprintable()
        assert text.startswith(f"{self.path}/"), "the file to blame comes first"
        return text.replace(f"{self.path}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An identity that is good."""
    return Folder(tmp_path)


# ---- what is read ---------------------------------------------------------------------------------------------------


def test_an_identity_alone_is_all_that_a_host_needs(folder: Folder) -> None:
    loaded = folder.read()
    assert loaded.identity.private_key == KEY
    assert loaded.claims == verify(loaded.identity.chain, loaded.trust, NOW).claims
    assert loaded.trust.authorities == (CA.certificate,)
    assert loaded.trust.crls == ()
    assert loaded.authority == CA.certificate


def test_authorities_of_all_files_are_trusted_those_of_the_identity_first_and_none_twice(folder: Folder) -> None:
    third = new_authority("Third CA").certificate
    folder.write_authorities(OTHER_CA.certificate, CA.certificate)
    folder.write_authorities(third, name="third.pem")
    assert folder.read().trust.authorities == (CA.certificate, OTHER_CA.certificate, third)


def test_the_authority_of_our_chain_may_stand_in_another_file(folder: Folder) -> None:
    folder.write_identity(authorities=[OTHER_CA.certificate])
    folder.write_authorities(CA.certificate)
    assert folder.read().authority == CA.certificate


def test_a_chain_with_an_intermediate_leads_to_the_authority_above_it(folder: Folder) -> None:
    middle = intermediate(CA)
    folder.write_identity(issued(middle), middle.certificate)
    loaded = folder.read()
    assert loaded.authority == CA.certificate
    assert len(loaded.identity.chain) == 2


def test_of_an_authority_issued_anew_the_one_in_force_is_ours(folder: Folder) -> None:
    over = altered(CA.certificate, CA, not_after=NOW - 1)
    folder.write_identity(authorities=[over])
    folder.write_authorities(CA.certificate)
    assert folder.read().authority == CA.certificate


def test_lists_are_read_and_kept(folder: Folder) -> None:
    crl = revocations(issued(CA, GATEWAY))
    folder.write_list(crl)
    assert folder.read().trust.crls == (crl,)


def test_an_intermediate_beside_our_authorities_may_have_a_list(folder: Folder) -> None:
    middle = intermediate(CA)
    crl = revocations(by=middle)
    folder.write_authorities(CA.certificate, middle.certificate)
    folder.write_list(crl)
    loaded = folder.read()
    assert loaded.trust.crls == (crl,)
    assert loaded.trust.authorities == (CA.certificate,)


def test_the_identity_of_somebody_else_will_do_as_the_file_of_a_ca(folder: Folder) -> None:
    folder.write_authorities(issued(OTHER_CA, GATEWAY), OTHER_CA.certificate)
    assert OTHER_CA.certificate in folder.read().trust.authorities


def test_a_host_may_route_everything_by_its_own_certificate(folder: Folder) -> None:
    folder.write_identity(issued(CA, replace(LAPTOP, routes=networks("0.0.0.0/0"))))
    assert folder.read().claims.routes == networks("0.0.0.0/0")


def test_a_passphrase_opens_the_key(folder: Folder) -> None:
    folder.write_identity(passphrase=b"six random words")
    folder.files = replace(folder.files, passphrase=b"six random words")
    assert folder.read().identity.private_key == KEY


def test_links_are_followed(folder: Folder) -> None:
    (folder.path / "link.pem").symlink_to("me.pem")
    folder.files = IdentityFiles(folder.path / "link.pem")
    assert folder.read().claims.name == "laptop"


def test_neither_key_nor_passphrase_is_shown(folder: Folder) -> None:
    folder.write_identity(passphrase=b"six random words")
    folder.files = replace(folder.files, passphrase=b"six random words")
    shown = f"{folder.files!r} {folder.read()!r}"
    assert "random" not in shown
    assert KEY.to_base64() not in shown
    assert repr(KEY.raw) not in shown


def test_all_paths_are_told(folder: Folder) -> None:
    folder.write_authorities(CA.certificate)
    folder.write_list(revocations())
    assert [path.name for path in folder.files.paths] == ["me.pem", "ca.pem", "crl.pem"]


# ---- the identity is refused ----------------------------------------------------------------------------------------


def test_an_identity_that_is_missing_is_said(folder: Folder) -> None:
    (folder.path / "me.pem").unlink()
    assert folder.refusal() == "me.pem: no such file: tunnel cert issue makes one"


def test_a_folder_is_not_an_identity(folder: Folder) -> None:
    (folder.path / "me.pem").unlink()
    (folder.path / "me.pem").mkdir()
    assert folder.refusal() == "me.pem: not a file"


def test_a_pipe_is_not_waited_for(folder: Folder) -> None:
    (folder.path / "me.pem").unlink()
    os.mkfifo(folder.path / "me.pem")
    assert folder.refusal() == "me.pem: not a file"


def test_an_identity_that_everybody_may_read_is_refused(folder: Folder) -> None:
    folder.path.chmod(0o755)
    (folder.path / "me.pem").chmod(0o644)
    assert folder.refusal() == (f"me.pem: holds a secret, and everybody may read or change it: chmod 600 {'me.pem'}")


def test_an_encrypted_key_without_a_passphrase_is_refused(folder: Folder) -> None:
    folder.write_identity(passphrase=b"six random words")
    why = "its private key is encrypted; --passphrase-file FILE names the passphrase's file"
    assert folder.refusal() == f"me.pem: {why}"


def test_a_wrong_passphrase_is_refused_and_not_shown(folder: Folder) -> None:
    folder.write_identity(passphrase=b"six random words")
    folder.files = replace(folder.files, passphrase=b"five words")
    assert folder.refusal() == "me.pem: wrong passphrase, or a broken private key"


def test_a_file_without_a_private_key_is_refused(folder: Folder) -> None:
    folder.write_identity(key=None)
    assert folder.refusal() == "me.pem: no private key in it: put this host's in front of its certificate"


def test_the_key_of_another_host_is_refused(folder: Folder) -> None:
    folder.write_identity(key=key_of("gateway"))
    assert folder.refusal() == "me.pem: its private key is not that of its certificate"


def test_what_is_no_pem_is_refused(folder: Folder) -> None:
    folder.write("me.pem", os.urandom(1000))
    assert folder.refusal().startswith("me.pem: no private key in it")


def test_a_file_that_is_cut_off_is_refused(folder: Folder) -> None:
    raw = (folder.path / "me.pem").read_bytes()
    folder.write("me.pem", raw[: len(raw) // 2])
    assert folder.refusal() == "me.pem: a PEM block in it is cut off"


def test_a_certificate_that_is_broken_is_refused(folder: Folder) -> None:
    raw = (folder.path / "me.pem").read_bytes()
    begin = raw.index(b"-----BEGIN CERTIFICATE-----") + 28
    folder.write("me.pem", raw[:begin] + b"AAAA" + raw[begin + 4 :])
    assert folder.refusal().startswith("me.pem: not a certificate of our profile: broken")


def test_a_chain_with_two_intermediates_is_too_long(folder: Folder) -> None:
    upper = intermediate(CA, "Upper", path_length=1)
    lower = intermediate(upper, "Lower")
    folder.write_identity(issued(lower), lower.certificate, upper.certificate)
    why = "chain too long: 3 certificates; at most one intermediate may stand below its CA"
    assert folder.refusal() == f"me.pem: {why}"


def test_a_chain_that_does_not_fit_a_datagram_is_refused(folder: Folder) -> None:
    middle = intermediate(CA)
    wide = replace(LAPTOP, dns_names=tuple(f"{'x' * 50}{number}.example.com" for number in range(7)))
    folder.write_identity(issued(middle, wide), middle.certificate)
    assert folder.refusal().startswith("me.pem: certificate too large for a datagram: ")


@pytest.mark.parametrize(
    ("days_later", "why"),
    [
        (90.1, "certificate expired: laptop held until 2027-04-15 08:00 UTC; renew it: tunnel cert renew"),
        (-0.5, "certificate not yet valid: laptop holds from 2027-01-15 07:55 UTC on; set the clock of this host"),
        (
            -2,
            "the clock of this host is wrong: authority 'Example CA' is of 2027-01-15 07:55 UTC, which is to come; "
            "set the clock of this host",
        ),
        (
            3651,
            "certificate expired: authority 'Example CA' held until 2037-01-12 08:00 UTC; "
            "make a new CA: tunnel cert ca",
        ),
    ],
)
def test_a_certificate_out_of_its_time_is_refused_with_what_to_do(folder: Folder, days_later: float, why: str) -> None:
    if days_later == -0.5:
        folder.write_identity(authorities=[altered(CA.certificate, CA, not_before=NOW - days(10))])
    assert folder.refusal(NOW + days(days_later)) == f"me.pem: {why}"


@pytest.mark.parametrize(("days_later", "error"), [(-2, ClockError), (90.1, ConfigError)])
def test_only_a_clock_that_is_behind_may_mend_itself(
    folder: Folder, days_later: float, error: type[ConfigError]
) -> None:
    with pytest.raises(ConfigError) as refused:
        folder.read(NOW + days(days_later))
    assert type(refused.value) is error


def test_a_certificate_whose_authority_is_nowhere_is_refused(folder: Folder) -> None:
    folder.write_identity(authorities=[OTHER_CA.certificate])
    folder.write_authorities(new_authority("Third CA").certificate)
    why = "authority that we do not trust: 'Example CA'; --ca or CA = names the file of its CA"
    assert folder.refusal() == f"me.pem: {why}"


def test_a_certificate_that_our_list_has_is_refused(folder: Folder) -> None:
    folder.write_list(revocations(CERTIFICATE))
    why = "certificate revoked: 'laptop' on 2027-01-15 08:00 UTC; issue a new one: tunnel cert issue"
    assert folder.refusal() == f"me.pem: {why}"


# ---- other files are refused ----------------------------------------------------------------------------------------


def test_a_missing_file_of_a_ca_or_a_list_is_said(folder: Folder) -> None:
    folder.files = replace(folder.files, authorities=(folder.path / "ca.pem",))
    assert folder.refusal() == "ca.pem: no such file: the ca.pem of a CA belongs there"
    folder.write_authorities(CA.certificate)
    folder.files = replace(folder.files, crls=(folder.path / "crl.pem",))
    assert folder.refusal() == "crl.pem: no such file: tunnel cert crl makes one"


@pytest.mark.parametrize("name", ["ca.pem", "crl.pem"])
def test_what_is_believed_must_not_be_everybodys_to_change(folder: Folder, name: str) -> None:
    folder.write_authorities(CA.certificate)
    folder.write_list(revocations())
    folder.path.chmod(0o755)
    folder.read()
    (folder.path / name).chmod(0o646)
    assert folder.refusal() == f"{name}: we believe what it says, and everybody may change it: chmod o-w {name}"


def test_a_file_of_a_ca_without_one_is_refused(folder: Folder) -> None:
    folder.write_authorities(issued(CA, GATEWAY))
    assert folder.refusal() == "ca.pem: no CA in it: none of its certificates is its own issuer"
    folder.write("ca.pem", b"hello")
    assert folder.refusal() == "ca.pem: no certificate in it"


def test_a_ca_that_may_not_issue_is_refused(folder: Folder) -> None:
    harmless = x509.BasicConstraints(ca=False, path_length=None)
    folder.write_authorities(altered(OTHER_CA.certificate, OTHER_CA, replacing=[harmless]))
    assert folder.refusal() == "ca.pem: certificate not issued for this use: 'Other CA' is no authority"


def test_what_is_no_list_is_refused(folder: Folder) -> None:
    folder.write_list(revocations())
    for raw in (b"", b"hello", format_certificates([CA.certificate])):
        folder.write("crl.pem", raw)
        assert folder.refusal() == "crl.pem: not a certificate revocation list"


def test_two_lists_in_one_file_are_refused_because_only_one_would_be_read(folder: Folder) -> None:
    folder.write_list(revocations())
    both = [revocations(number=number).public_bytes(Encoding.PEM) for number in (1, 2)]
    folder.write("crl.pem", b"".join(both))
    assert folder.refusal() == "crl.pem: more than one revocation list in it: each needs a file of its own"


def test_a_list_of_somebody_else_is_refused(folder: Folder) -> None:
    folder.write_list(revocations(by=OTHER_CA))
    why = "revocation list of 'Other CA', which is none of our authorities; --ca or CA = names the file of its CA"
    assert folder.refusal() == f"crl.pem: {why}"


def test_a_list_that_its_authority_has_not_signed_is_refused(folder: Folder) -> None:
    forger = Authority(CA.certificate, OTHER_CA.key)
    folder.write_list(revocations(by=forger))
    why = "signature that is not its issuer's: revocation list of 'Example CA'; make a new one: tunnel cert crl"
    assert folder.refusal() == f"crl.pem: {why}"


def test_a_list_that_has_expired_is_refused_even_of_an_authority_that_is_not_that_of_our_chain(folder: Folder) -> None:
    folder.write_authorities(OTHER_CA.certificate)
    for authority in (CA, OTHER_CA):
        folder.write_list(revocations(by=authority, made=NOW - days(31)))
        why = (
            f"revocation list of '{authority.certificate.subject.rfc4514_string()[3:]}' held until 2027-01-14 08:00 UTC"
        )
        assert folder.refusal() == f"crl.pem: revocation list expired: {why}; make a new one: tunnel cert crl"


def test_an_expired_list_beside_a_newer_one_of_its_authority_does_no_harm(folder: Folder) -> None:
    folder.write_list(revocations(made=NOW - days(31)), name="old.pem")
    folder.write_list(revocations(number=2))
    assert len(folder.read().trust.crls) == 2


def test_of_several_lists_of_an_authority_each_has_to_be_its_own(folder: Folder) -> None:
    folder.write_list(revocations(by=Authority(CA.certificate, OTHER_CA.key), made=NOW - days(1)), name="old.pem")
    folder.write_list(revocations(number=2))
    assert folder.refusal().startswith("old.pem: signature that is not its issuer's: ")


def test_whether_an_authority_may_revoke_is_said_by_its_certificate_that_is_in_force(folder: Folder) -> None:
    only_issues = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    before = altered(CA.certificate, CA, not_before=NOW - days(100), replacing=[only_issues])
    folder.write_list(revocations())
    folder.write_identity(authorities=[before])
    assert folder.refusal().startswith("crl.pem: certificate not issued for this use: 'Example CA' may not sign")
    for both in ([before, CA.certificate], [CA.certificate, before]):
        folder.write_identity(authorities=both)
        assert folder.read().claims.name == "laptop"


def test_a_list_from_the_future_tells_of_a_wrong_clock(folder: Folder) -> None:
    folder.write_list(revocations(made=NOW + days(3)))
    assert folder.refusal().endswith("which is to come; set the clock of this host")


def test_a_list_that_names_its_own_authority_can_be_relied_upon(folder: Folder) -> None:
    """Serial numbers of an intermediate and of what it has issued have nothing to do with each other."""
    folder.write_list(revocations(CA.certificate))
    assert folder.read().claims.name == "laptop"


# ---- read again -----------------------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_taken(folder: Folder) -> None:
    before = folder.read()
    folder.write_identity(issued(CA, now=NOW + days(60)))
    after = folder.read(NOW + days(60), before)
    assert after.claims.not_after == before.claims.not_after + days(60)


def test_a_list_that_is_newer_or_the_same_takes_the_place_of_the_one_in_force(folder: Folder) -> None:
    folder.write_list(revocations(number=5))
    before = folder.read()
    assert folder.read(previous=before).trust == before.trust
    newer = revocations(number=6, made=NOW + 1)
    folder.write_list(newer)
    assert folder.read(previous=before).trust.crls == (newer,)


OLDER = "crl.pem: revocation list of 'Example CA' is older than the one in force; make a new one: tunnel cert crl"


def test_a_list_with_a_lower_number_is_refused_however_young_it_is(folder: Folder) -> None:
    folder.write_list(revocations(number=5))
    before = folder.read()
    folder.write_list(revocations(number=4, made=NOW + 100))
    assert folder.refusal(previous=before) == OLDER


def test_a_list_with_the_same_number_but_an_earlier_date_is_refused(folder: Folder) -> None:
    folder.write_list(revocations())
    before = folder.read()
    folder.write_list(revocations(made=NOW - 100))
    assert folder.refusal(previous=before) == OLDER


def test_lists_without_a_number_are_as_old_as_their_date_says(folder: Folder) -> None:
    folder.write_list(without_number(revocations()))
    before = folder.read()
    folder.write_list(without_number(revocations(made=NOW - 100)))
    assert folder.refusal(previous=before) == OLDER
    folder.write_list(without_number(revocations(made=NOW + 100)))
    folder.read(previous=before)


def test_after_a_restart_an_older_list_is_taken(folder: Folder) -> None:
    folder.write_list(revocations(number=5))
    folder.read()
    folder.write_list(revocations(number=4))
    folder.read()


def test_the_list_of_another_authority_does_not_make_that_in_force_disappear(folder: Folder) -> None:
    folder.write_authorities(OTHER_CA.certificate)
    folder.write_list(revocations())
    before = folder.read()
    folder.write_list(revocations(by=OTHER_CA))
    why = "no revocation list of 'Example CA' any more, and one is in force: put it back"
    assert folder.refusal(previous=before) == f"crl.pem: {why}"


def test_the_list_of_an_authority_that_is_not_trusted_any_more_may_go(folder: Folder) -> None:
    folder.write_authorities(OTHER_CA.certificate)
    folder.write_list(revocations(by=OTHER_CA))
    before = folder.read()
    folder.files = replace(folder.files, authorities=(), crls=())
    assert folder.read(previous=before).trust.crls == ()


def test_a_list_of_an_authority_issued_anew_is_compared_with_the_last_of_the_same_key(folder: Folder) -> None:
    folder.write_list(revocations(number=5))
    before = folder.read()
    folder.write_authorities(altered(CA.certificate, CA, not_before=NOW - 1, not_after=NOW + days(7300)))
    folder.write_list(revocations(number=4))
    assert folder.refusal(previous=before) == OLDER


# ---- what ends ------------------------------------------------------------------------------------------------------


def ends(loaded: LoadedIdentity) -> dict[str, tuple[str, float]]:
    """What -> (file, seconds from NOW to its end)."""
    return {one.what: (Path(one.source).name, one.not_after - NOW) for one in loaded.expiring}


def test_everything_that_ends_is_told_with_its_file(folder: Folder) -> None:
    folder.write_authorities(OTHER_CA.certificate, CA.certificate)
    folder.write_list(revocations())
    assert ends(folder.read()) == {
        "certificate of laptop": ("me.pem", days(90)),
        "authority 'Example CA'": ("me.pem", days(3650)),
        "authority 'Other CA'": ("ca.pem", days(3650)),
        "revocation list of 'Example CA'": ("crl.pem", days(30)),
    }


def test_a_certificate_and_its_intermediate_end_each_in_its_own_time(folder: Folder) -> None:
    middle = intermediate(CA)
    short = Authority(altered(middle.certificate, CA, not_after=NOW + days(10)), middle.key)
    folder.write_identity(issued(middle), short.certificate)
    told = ends(folder.read())
    assert told["certificate of laptop"] == ("me.pem", days(90))
    assert told["intermediate 'Intermediate'"] == ("me.pem", days(10))


def test_an_authority_that_was_issued_anew_is_not_missed(folder: Folder) -> None:
    anew = altered(CA.certificate, CA, not_after=NOW + days(7000))
    folder.write_authorities(anew)
    assert ends(folder.read())["authority 'Example CA'"] == ("ca.pem", days(7000))
    folder.write_identity(authorities=[anew])
    folder.write_authorities(CA.certificate)
    assert ends(folder.read())["authority 'Example CA'"] == ("me.pem", days(7000))


def test_a_list_that_has_a_successor_is_not_missed(folder: Folder) -> None:
    folder.write_list(revocations(number=2))
    folder.write_list(revocations(made=NOW - days(20)), name="old.pem")
    assert ends(folder.read())["revocation list of 'Example CA'"] == ("crl.pem", days(30))


# ---- reading files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder_mode", "mode", "is_open"), [(0o755, 0o644, True), (0o700, 0o644, False), (0o755, 0o640, False)]
)
def test_a_secret_is_open_if_every_user_can_get_at_it(
    tmp_path: Path, folder_mode: int, mode: int, is_open: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"secret")
    path.chmod(mode)
    tmp_path.chmod(folder_mode)
    if is_open:
        with pytest.raises(ConfigError, match="everybody may read or change it: chmod 600"):
            read_secret(path)
    else:
        assert read_secret(path) == b"secret"


def test_a_file_without_secrets_may_be_read_by_everybody(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "file"
    path.write_bytes(format_certificates([CERTIFICATE]))
    path.chmod(0o644)
    assert read_file(path) == read_identity(path) == path.read_bytes()


# ---- what cryptography has to say -----------------------------------------------------------------------------------

READ = """
import sys
from tunnel.daemon.identity import ignore_warnings
from tunnel.pki.problem import CertificateError
from tunnel.pki.profile import parse_certificate, read_claims
if "quiet" in sys.argv:
    ignore_warnings()
for line in sys.stdin:
    try:
        read_claims(parse_certificate(bytes.fromhex(line)))
    except CertificateError:
        pass
"""


def odd_certificates() -> list[bytes]:
    """What cryptography warns of: a name that is too long, one that is too short, a serial number below zero."""
    odd = [
        altered(CERTIFICATE, CA, subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)]))
        for name in ("x" * 65, "")
    ]
    plain = der(CERTIFICATE)
    serial = CERTIFICATE.serial_number.to_bytes(16)
    assert plain.count(serial) == 1
    return [*map(der, odd), plain.replace(serial, bytes([serial[0] | 0x80]) + serial[1:])]


def what_is_printed(*arguments: str) -> str:
    """On standard error, by a process that reads them."""
    given = "\n".join(one.hex() for one in odd_certificates())
    command = [sys.executable, "-c", READ, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=20, check=True).stderr


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_hostile_certificate_does_not_make_us_print_anything() -> None:
    printed = what_is_printed()
    assert all(odd in printed for odd in ("but it was 65", "but it was 0", "serial number which wasn't positive"))
    assert what_is_printed("quiet") == ""
