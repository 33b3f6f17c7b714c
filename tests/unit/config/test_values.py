"""Whom to dial, as a person writes it."""

import re

import pytest

from tunnel.config.values import parse_dialled_name
from tunnel.endpoint import EndpointName


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("gw.example.com", "gw.example.com", 51820),
        ("gw.example.com:443", "gw.example.com", 443),
        ("gw", "gw", 51820),
        ("GW.Example.com.", "gw.example.com.", 51820),
        ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1),
        ("192.0.2.1", "192.0.2.1", 51820),
        ("192.0.2.1:443", "192.0.2.1", 443),
        ("2001:db8::1", "2001:db8::1", 51820),
        ("2001:DB8:0::1", "2001:db8::1", 51820),
        ("::1", "::1", 51820),
        ("[2001:db8::1]", "2001:db8::1", 51820),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("::ffff:192.0.2.1", "192.0.2.1", 51820),
    ],
)
def test_a_dialled_name_is_a_name_or_an_address_with_a_port_or_without(text: str, host: str, port: int) -> None:
    assert parse_dialled_name(text) == EndpointName(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (":51820", "expected host:port"),
        ("gw:", "port '' is not a number from 1 to 65535"),
        ("gw:65536", "port '65536' is not a number from 1 to 65535"),
        ("https://gw", "expected host or host:port, not a URL or a prefix"),
        ("10.0.0.0/8", "expected host or host:port, not a URL or a prefix"),
        ("192.0.2.256", "not an IPv4 address"),
        ("127.1:5", "not an IPv4 address"),
        ("2001:db8::1::443", "not an IPv6 address"),
        ("fe80::1%eth0", "a zone has no place here"),
        ("[fe80::1%3]:1", "a zone has no place here"),
        ("[2001:db8::1", "an IPv6 address needs brackets: [2001:db8::1]:51820"),
        ("bücher.example", "not a host name"),
        ("gw1,gw2", "not a host name"),
        ("gw..example", "not a host name"),
        ("*.example.com", "not a host name"),
        ("a" * 254, "not a host name"),
    ],
)
def test_what_cannot_be_dialled_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        parse_dialled_name(text)
