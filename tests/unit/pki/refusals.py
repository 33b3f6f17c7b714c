from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tunnel.pki.problem import CertificateError, Problem


@contextmanager
def refused(problem: Problem, why: str = "") -> Iterator[None]:
    """What is done in it is refused for this problem, in one line that has `why` in it."""
    with pytest.raises(CertificateError) as caught:
        yield
    assert caught.value.problem is problem
    assert why in str(caught.value)
    assert str(caught.value).isprintable()
