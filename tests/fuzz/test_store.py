"""Invariant: any bytes are an identity, or the ledger of a CA, or a `ConfigError` of one line with the file.

An identity is often almost one: a good one with bytes changed, blocks left out, doubled or in another order.
"""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pki.authorities import LAPTOP, issued, key_of, networks, new_authority
from tunnel.errors import ConfigError
from tunnel.pki.ledger import Entry, Ledger, format_ledger, parse_ledger
from tunnel.pki.store import format_certificates, format_identity, format_private_key, parse_identity_file

CA = new_authority()
KEY = key_of("laptop")
IDENTITY = format_identity(KEY, [issued(CA, LAPTOP)], [CA.certificate], remark="laptop")
BLOCKS = [
    format_private_key(KEY.x25519),
    format_private_key(KEY.x25519, b"secret"),
    format_private_key(CA.key),
    format_certificates([issued(CA, LAPTOP)]),
    format_certificates([CA.certificate]),
    b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    b"text\n",
]
LEDGER = format_ledger(Ledger((Entry(7, "office", networks("10.9.0.3", "fd07::/64"), 1.8e9, revoked=1.7e9),)))


def with_a_change(good: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, len(good))
    return st.builds(lambda start, end, put: good[:start] + put + good[end:], places, places, st.binary(max_size=4))


def check(parse: Callable[[], object]) -> None:
    try:
        parse()
    except ConfigError as error:
        text = str(error)
        assert text.startswith("file: ")
        assert text.isprintable()
        assert KEY.to_base64() not in text


@given(
    st.binary(max_size=200) | with_a_change(IDENTITY) | st.lists(st.sampled_from(BLOCKS), max_size=5).map(b"".join),
    st.none() | st.just(b"secret") | st.binary(max_size=8),
)
def test_an_identity_file_is_one_or_an_error(raw: bytes, passphrase: bytes | None) -> None:
    check(lambda: parse_identity_file(raw, passphrase, "file"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def ledgers(draw: st.DrawFn) -> bytes:
    """With one field of the document, or of its entry, replaced by any JSON."""
    document = json.loads(LEDGER)
    target = draw(st.sampled_from([document, document["issued"][0]]))
    target[draw(st.sampled_from(sorted(target)))] = draw(JSON)
    return json.dumps(document).encode()


@given(st.binary(max_size=200) | with_a_change(LEDGER) | ledgers())
def test_a_ledger_is_one_or_an_error(raw: bytes) -> None:
    check(lambda: parse_ledger(raw, "file"))
