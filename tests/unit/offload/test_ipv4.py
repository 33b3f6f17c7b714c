import pytest

from tests.properties.superpackets import Flow, word_sum
from tunnel.offload.ipv4 import checksums, identifications


def header(identification: int) -> bytes:
    return Flow(identification=identification).packet(b"payload")[:20]


@pytest.mark.parametrize("first", [0, 1, 1000, 65472, 65530, 65535])
def test_columns_are_those_of_headers_made_one_by_one(first: int) -> None:
    headers = [header((first + number) % 65536) for number in range(64)]
    rest = word_sum(header(0)[:10] + header(0)[12:])
    assert identifications(first, 64).tobytes() == b"".join(made[4:6] for made in headers)
    assert checksums(rest % 65535, first, 64).tobytes() == b"".join(made[10:12] for made in headers)


def test_the_tables_cannot_be_changed_by_who_gets_a_slice() -> None:
    with pytest.raises(ValueError, match="read-only"):
        identifications(5, 3)[0] = 1
