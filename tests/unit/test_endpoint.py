import pytest

from tunnel.endpoint import Endpoint, EndpointName, Source


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:51820", "192.0.2.1", 51820),
        ("[2001:db8::1]:1", "2001:db8::1", 1),
        ("vpn.example.com:65535", "vpn.example.com", 65535),
        ("localhost:80", "localhost", 80),
    ],
)
def test_a_name_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    name = EndpointName.parse(text)
    assert (name.host, name.port) == (host, port)
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected host:port"),
        ("192.0.2.1", "expected host:port"),
        (":51820", "expected host:port"),
        ("host:", "port '' is not a number from 1 to 65535"),
        ("host:0", "port '0' is not a number from 1 to 65535"),
        ("host:65536", "port '65536' is not a number from 1 to 65535"),
        ("host:-1", "port '-1' is not a number from 1 to 65535"),
        ("host:http", "port 'http' is not a number from 1 to 65535"),
        ("host:٣", "port '٣' is not a number from 1 to 65535"),
        ("2001:db8::1:51820", "an IPv6 address needs brackets"),
        ("[not an address]:1", "not an address"),
        ("a host:1", "white space in a host name"),
        ("ho\0st:1", "white space in a host name"),
    ],
)
def test_what_is_not_host_and_port_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        EndpointName.parse(text)
    assert why in str(caught.value)


def test_a_name_that_is_an_address_is_numeric() -> None:
    assert EndpointName("192.0.2.1", 1).numeric() == Endpoint("192.0.2.1", 1)


def test_a_name_that_is_a_name_is_not_numeric() -> None:
    assert EndpointName("example.com", 1).numeric() is None


@pytest.mark.parametrize(
    "text", ["192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%3]:51820", "[::]:1", "0.0.0.0:65535"]
)
def test_an_endpoint_survives_its_text(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


def test_the_host_becomes_canonical() -> None:
    assert Endpoint.parse("[2001:DB8:0:0:0:0:0:1]:1").host == "2001:db8::1"


def test_an_ipv4_mapped_address_is_ipv4() -> None:
    endpoint = Endpoint.create("::ffff:192.0.2.1", 1)
    assert endpoint == Endpoint("192.0.2.1", 1)
    assert not endpoint.is_ipv6


@pytest.mark.parametrize(("host", "is_ipv6"), [("192.0.2.1", False), ("2001:db8::1", True), ("::", True)])
def test_the_family_follows_from_the_host(host: str, is_ipv6: bool) -> None:
    assert Endpoint(host, 1).is_ipv6 is is_ipv6


def test_a_numeric_zone_is_the_scope() -> None:
    endpoint = Endpoint.create("fe80::1%3", 1)
    assert (endpoint.host, endpoint.scope_id) == ("fe80::1", 3)


def test_a_zone_by_name_is_refused() -> None:
    with pytest.raises(ValueError, match="zone 'eth0' is not an interface index"):
        Endpoint.create("fe80::1%eth0", 1)


def test_a_host_name_is_no_endpoint() -> None:
    with pytest.raises(ValueError, match="example"):
        Endpoint.create("example.com", 1)


def test_the_packed_address_is_in_network_order() -> None:
    assert Endpoint("192.0.2.1", 1).packed == b"\xc0\0\2\1"
    assert Endpoint("2001:db8::1", 1).packed == b"\x20\1\x0d\xb8" + bytes(11) + b"\1"


def test_another_source_makes_another_endpoint() -> None:
    endpoint = Endpoint("192.0.2.1", 1)
    assert endpoint == Endpoint("192.0.2.1", 1)
    assert endpoint != Endpoint("192.0.2.1", 1, source=Source("10.0.0.1", 2))


def test_endpoints_are_keys_of_a_dict() -> None:
    assert {Endpoint("192.0.2.1", 1): "peer"}[Endpoint.parse("192.0.2.1:1")] == "peer"
