"""Whoever presents a certificate is held against it: his key, the name we dialled, what it was issued for."""

from dataclasses import replace

import pytest

from tests.unit.pki.authorities import (
    GATEWAY,
    NOW,
    issued,
    key_of,
    new_authority,
)
from tests.unit.pki.chains import chain, refused, trust
from tunnel.pki.problem import Problem
from tunnel.pki.profile import Claims, read_claims
from tunnel.pki.verify import is_named, verify

AUTHORITY = new_authority()
TRUST = trust(AUTHORITY)
CERTIFICATE = issued(AUTHORITY)
GATEWAY_CHAIN = chain(issued(AUTHORITY, GATEWAY))


def test_the_key_has_to_be_the_one_that_was_proved() -> None:
    assert verify(chain(CERTIFICATE), TRUST, NOW, key=key_of("laptop").public_key).claims.name == "laptop"
    with refused(Problem.KEY_MISMATCH, key_of("thief").public_key.short):
        verify(chain(CERTIFICATE), TRUST, NOW, key=key_of("thief").public_key)


def test_only_who_is_issued_for_it_may_be_dialled() -> None:
    """One member must not pose as the gateway, not even where it has its name."""
    assert verify(GATEWAY_CHAIN, TRUST, NOW, name="gw.example.com", as_server=True).claims.is_server
    member = issued(AUTHORITY, replace(GATEWAY, is_server=False))
    with refused(Problem.WRONG_USAGE):
        verify(chain(member), TRUST, NOW, name="gw.example.com", as_server=True)
    assert not verify(chain(member), TRUST, NOW, name="gw.example.com").claims.is_server


def test_who_is_dialled_has_to_have_the_name() -> None:
    with refused(Problem.NAME_MISMATCH, "gateway is not reached as gw.example.org"):
        verify(GATEWAY_CHAIN, TRUST, NOW, name="gw.example.org", as_server=True)


@pytest.mark.parametrize(
    "name",
    [
        "gw.example.com",
        "GW.Example.COM",
        "gw.example.com.",
        "eu.vpn.example.com",
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "2001:DB8:0::1",
    ],
)
def test_a_name_in_the_certificate_matches(name: str) -> None:
    assert is_named(claims_of_gateway(), name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "gateway",  # the common name, which is not where it is reached
        "example.com",
        "www.gw.example.com",
        "vpn.example.com",
        ".vpn.example.com",
        "a.eu.vpn.example.com",
        "gw.example.com.evil.example",
        "gw.e\N{LATIN SMALL LETTER X WITH DIAERESIS}ample.com",
        "gw\N{IDEOGRAPHIC FULL STOP}example.com",
        "192.0.2.2",
        "192.0.2.01",
        "2001:db8::2",
    ],
)
def test_a_name_that_is_not_in_the_certificate_does_not(name: str) -> None:
    assert not is_named(claims_of_gateway(), name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", "gw"),
        ("*.", "gw"),
        ("g*.example.com", "gw.example.com"),
        ("*w.example.com", "gw.example.com"),
        ("gw.*.com", "gw.example.com"),
        ("*.*.com", "gw.example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("*.0.2.1", "192.0.2.1"),
        ("k.example.com", "\N{KELVIN SIGN}.example.com"),
    ],
)
def test_a_star_is_a_whole_left_most_label_and_an_address_is_no_dns_name(pattern: str, name: str) -> None:
    assert not is_named(replace(claims_of_gateway(), dns_names=(pattern,), ip_names=()), name)


def test_a_certificate_without_names_is_for_none() -> None:
    assert not is_named(read_claims(CERTIFICATE), "laptop")


def claims_of_gateway() -> Claims:
    return read_claims(issued(AUTHORITY, GATEWAY))
