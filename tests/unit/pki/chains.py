"""Chains as they travel, those who are trusted with them, and refusals."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509

from tests.unit.pki.authorities import altered, der, ip_blocks, named
from tunnel.pki.authority import Authority
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.verify import Trust


def trust(*authorities: Authority | x509.Certificate) -> Trust:
    return Trust(tuple(one.certificate if isinstance(one, Authority) else one for one in authorities))


def chain(*certificates: Authority | x509.Certificate) -> list[bytes]:
    """As it travels: the peer's first."""
    return [der(one.certificate if isinstance(one, Authority) else one) for one in certificates]


def renamed(authority: Authority, name: str) -> Authority:
    """The same key under another name."""
    return Authority(altered(authority.certificate, authority, subject=named(name)), authority.key)


def narrowed(authority: Authority, *texts: str) -> Authority:
    """The same key, that may issue these networks only."""
    certificate = altered(authority.certificate, authority, replacing=[ip_blocks(*texts)])
    return Authority(certificate, authority.key)


@contextmanager
def refused(problem: Problem, why: str = "") -> Iterator[None]:
    """What is done in it is refused for this problem, in one line that has `why` in it."""
    with pytest.raises(CertificateError) as caught:
        yield
    assert caught.value.problem is problem
    assert why in str(caught.value)
    assert str(caught.value).isprintable()
