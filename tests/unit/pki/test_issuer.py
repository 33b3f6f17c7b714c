"""Who has issued a certificate, and whether it may."""

from hashlib import blake2s

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from tests.unit.pki.authorities import (
    LAPTOP,
    NOW,
    altered,
    der,
    intermediate,
    ip_blocks,
    issued,
    named,
    new_authority,
    p256_authority,
)
from tests.unit.pki.chains import chain, refused, renamed, trust
from tunnel.pki.authority import Authority
from tunnel.pki.ipblocks import IP_BLOCKS_OID
from tunnel.pki.issuer import authority_hash
from tunnel.pki.problem import Problem
from tunnel.pki.profile import Claims, parse_certificate, read_claims
from tunnel.pki.verify import verify

AUTHORITY = new_authority()
TRUST = trust(AUTHORITY)
INTERMEDIATE = intermediate(AUTHORITY)
CERTIFICATE = issued(AUTHORITY)
NO_CERT_SIGN = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
RSA_KEY = rsa.generate_private_key(65537, 2048)
P384_KEY = ec.derive_private_key(1384, ec.SECP384R1())


# ── which of those that we trust ─────────────────────────────────────────────────────────────────────────────────────


def test_two_authorities_are_trusted_at_once() -> None:
    other = new_authority("Other CA")
    both = trust(AUTHORITY, other)
    assert verify(chain(CERTIFICATE), both, NOW).claims == read_claims(CERTIFICATE)
    assert verify(chain(issued(other)), both, NOW).claims == read_claims(issued(other))


def test_an_authority_with_a_new_key_may_keep_its_name() -> None:
    old, new = AUTHORITY, renamed(new_authority("Successor"), "Example CA")
    assert old.certificate.subject == new.certificate.subject
    for both in (trust(old, new), trust(new, old)):
        assert verify(chain(issued(old)), both, NOW).claims.name == "laptop"
        assert verify(chain(issued(new)), both, NOW).claims.name == "laptop"


def test_of_an_authority_issued_anew_the_certificate_that_is_in_force_counts() -> None:
    old = altered(AUTHORITY.certificate, AUTHORITY, not_after=NOW - 1)
    coming = altered(AUTHORITY.certificate, AUTHORITY, not_before=NOW + 100)
    for all_three in (trust(old, AUTHORITY, coming), trust(coming, AUTHORITY, old)):
        assert verify(chain(CERTIFICATE), all_three, NOW).claims == read_claims(CERTIFICATE)


def test_of_two_in_force_the_newer_counts() -> None:
    """An authority that was issued anew, for fewer networks say, holds its peers to them at once."""
    newer = altered(AUTHORITY.certificate, AUTHORITY, not_before=NOW, replacing=[ip_blocks("10.7.0.0/16")])
    for both in (trust(AUTHORITY, newer), trust(newer, AUTHORITY)):
        with refused(Problem.PREFIX_NOT_ISSUERS):
            verify(chain(CERTIFICATE), both, NOW)


def test_an_authority_that_names_its_key_otherwise_is_not_asked() -> None:
    """Issuers are told apart by the identifiers in their certificates, however those were made."""
    identifier = x509.SubjectKeyIdentifier(b"anything")
    other = Authority(altered(AUTHORITY.certificate, AUTHORITY, replacing=[identifier]), AUTHORITY.key)
    assert verify(chain(issued(other)), trust(AUTHORITY, other), NOW).claims.name == "laptop"
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(issued(other)), TRUST, NOW)


def test_without_a_key_identifier_the_name_and_the_signature_decide() -> None:
    bare = altered(CERTIFICATE, AUTHORITY, without=[ExtensionOID.AUTHORITY_KEY_IDENTIFIER])
    namesake = renamed(new_authority("Successor"), "Example CA")
    assert verify(chain(bare), trust(namesake, AUTHORITY), NOW).claims.name == "laptop"


def test_an_issuer_may_be_named_by_its_serial_number_instead_of_its_key() -> None:
    """The signature decides then, as it does without any identifier."""
    issuer = [x509.DirectoryName(AUTHORITY.certificate.subject)]
    identifier = x509.AuthorityKeyIdentifier(None, issuer, AUTHORITY.certificate.serial_number)
    assert verify(chain(altered(CERTIFICATE, AUTHORITY, replacing=[identifier])), TRUST, NOW).claims.name == "laptop"


def test_an_authority_that_is_unfit_does_no_harm_to_others() -> None:
    other = new_authority("Other CA")
    unfit = altered(other.certificate, other, without=[ExtensionOID.KEY_USAGE])
    assert verify(chain(CERTIFICATE), trust(unfit, AUTHORITY), NOW).claims == read_claims(CERTIFICATE)


# ── none of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_authority_that_is_not_trusted_is_unknown() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY, "'Other CA'"):
        verify(chain(issued(new_authority("Other CA"))), TRUST, NOW)
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(CERTIFICATE), trust(), NOW)


def test_a_stranger_who_takes_an_authoritys_name_is_unknown() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(issued(renamed(new_authority("Stranger"), "Example CA"))), TRUST, NOW)


def test_a_stranger_who_takes_its_key_identifier_too_has_a_bad_signature() -> None:
    for key in (new_authority("Stranger").key, p256_authority("Stranger").key):
        with refused(Problem.BAD_SIGNATURE, "'Example CA'"):
            verify(chain(altered(CERTIFICATE, Authority(AUTHORITY.certificate, key))), TRUST, NOW)


def test_a_certificate_that_was_changed_has_a_bad_signature() -> None:
    with refused(Problem.BAD_SIGNATURE):
        verify([der(CERTIFICATE).replace(b"laptop", b"lapdog")], TRUST, NOW)


def test_a_certificate_that_vouches_for_itself_is_of_an_unknown_authority() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(new_authority("Stranger")), TRUST, NOW)


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("name", ["Evil\nCA", "Evil\u202eCA", "x" * 65])
def test_the_name_of_a_stranger_stands_in_the_log_only_if_it_is_readable(name: str) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)])
    stranger = Authority(altered(AUTHORITY.certificate, AUTHORITY, subject=subject), AUTHORITY.key)
    with refused(Problem.UNKNOWN_AUTHORITY, "one without a readable name"):
        verify(chain(altered(CERTIFICATE, stranger)), TRUST, NOW)


def test_an_intermediate_that_did_not_sign_the_certificate_is_refused() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(CERTIFICATE, INTERMEDIATE), TRUST, NOW)
    with refused(Problem.BAD_SIGNATURE):
        forged = Authority(INTERMEDIATE.certificate, new_authority("Stranger").key)
        verify(chain(issued(forged), INTERMEDIATE), TRUST, NOW)


def test_an_intermediate_of_a_stranger_is_of_an_unknown_authority() -> None:
    below = intermediate(new_authority("Stranger"))
    with refused(Problem.UNKNOWN_AUTHORITY, "'Stranger'"):
        verify(chain(issued(below), below), TRUST, NOW)


def test_an_intermediate_has_to_be_sent_along() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY, "'Intermediate'"):
        verify(chain(issued(INTERMEDIATE)), TRUST, NOW)


# ── one that may not ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_peer_is_no_authority_for_others() -> None:
    """Otherwise whoever has a certificate could issue more."""
    member = new_authority("member")
    certificate = altered(CERTIFICATE, AUTHORITY, subject=named("member"), public_key=member.key.public_key())
    posing = Authority(certificate, member.key)
    with refused(Problem.WRONG_USAGE, "'member'"):
        verify(chain(issued(posing), posing), TRUST, NOW)


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("unfit", [NO_CERT_SIGN, x509.BasicConstraints(ca=False, path_length=None)])
def test_an_issuer_is_an_authority_that_may_sign_certificates(unfit: x509.ExtensionType, below: bool) -> None:
    with refused(Problem.WRONG_USAGE, "is no authority"):
        verify_with_issuer(below, replacing=unfit)


@pytest.mark.parametrize("below", [True, False])
def test_an_issuer_that_is_held_to_other_purposes_is_refused(below: bool) -> None:
    """One that may issue for those who dial must not make a gateway."""
    with refused(Problem.WRONG_USAGE):
        verify_with_issuer(below, replacing=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


def test_an_issuer_that_is_held_to_our_purposes_is_believed() -> None:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert verify_with_issuer(True, replacing=x509.ExtendedKeyUsage(purposes)).name == "laptop"


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize(
    "missing",
    [
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        IP_BLOCKS_OID,
    ],
)
def test_an_issuer_without_an_extension_of_the_profile_is_refused(missing: x509.ObjectIdentifier, below: bool) -> None:
    with refused(Problem.MISSING_EXTENSION):
        verify_with_issuer(below, without=missing)


@pytest.mark.parametrize("below", [True, False])
def test_a_critical_extension_of_an_issuer_that_we_do_not_know_is_refused(below: bool) -> None:
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    with refused(Problem.UNKNOWN_CRITICAL_EXTENSION, constraints.oid.dotted_string):
        verify_with_issuer(below, replacing=constraints, critical=True)


@pytest.mark.parametrize("key", [RSA_KEY.public_key(), P384_KEY.public_key(), CERTIFICATE.public_key()])
def test_an_authoritys_key_is_ed25519_or_p256(key: CertificatePublicKeyTypes) -> None:
    odd = altered(AUTHORITY.certificate, AUTHORITY, public_key=key)
    with refused(Problem.WRONG_KEY_TYPE):
        verify(chain(CERTIFICATE), trust(odd), NOW)


@pytest.mark.parametrize("algorithm", ["2b6571", "2b6579"])
def test_an_authoritys_key_that_cannot_be_read_is_of_the_wrong_type(algorithm: str) -> None:
    """Ed448, for which it is too short, and something that nobody knows."""
    raw = der(AUTHORITY.certificate).replace(bytes.fromhex("2b6570"), bytes.fromhex(algorithm))
    with refused(Problem.WRONG_KEY_TYPE):
        verify(chain(CERTIFICATE), trust(parse_certificate(raw)), NOW)


def test_a_signature_with_another_hash_is_not_of_the_profile() -> None:
    authority = p256_authority()
    model = issued(authority)
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        model.subject,
        model.public_key(),
        model.serial_number,
        model.not_valid_before_utc,
        model.not_valid_after_utc,
    )
    with refused(Problem.BAD_SIGNATURE):
        verify(chain(builder.sign(authority.key, SHA384())), trust(authority), NOW)


def verify_with_issuer(
    below: bool,
    *,
    replacing: x509.ExtensionType | None = None,
    without: x509.ObjectIdentifier | None = None,
    critical: bool = False,
) -> Claims:
    """The laptop below an authority, or an intermediate, that is altered."""
    model = INTERMEDIATE if below else AUTHORITY
    odd = altered(
        model.certificate,
        AUTHORITY,
        replacing=[replacing] if replacing else [],
        without=[without] if without else [],
        critical=critical,
    )
    if below:
        return verify(chain(issued(INTERMEDIATE, LAPTOP), odd), TRUST, NOW).claims
    return verify(chain(CERTIFICATE), trust(odd), NOW).claims


# ── the hash of its key ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hash_of_an_authority_is_that_of_a_label_and_its_key() -> None:
    authority = new_authority()
    assert isinstance(authority.key, Ed25519PrivateKey)
    key = bytes.fromhex("302a300506032b6570032100") + authority.key.public_key().public_bytes_raw()
    assert authority_hash(authority.certificate) == blake2s(b"tunnel authority" + key).digest()


def test_an_authority_issued_anew_under_its_old_key_keeps_its_hash() -> None:
    anew = altered(AUTHORITY.certificate, AUTHORITY, subject=named("Another name"), not_after=NOW + 1)
    assert authority_hash(anew) == authority_hash(AUTHORITY.certificate)


def test_authorities_of_different_keys_have_different_hashes() -> None:
    others = (renamed(new_authority("Successor"), "Example CA"), p256_authority("Example CA"))
    hashes = {authority_hash(one.certificate) for one in (AUTHORITY, *others)}
    assert len(hashes) == 3
    assert all(len(one) == 32 for one in hashes)
