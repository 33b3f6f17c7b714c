import pytest

from tunnel.control.reload_request import ReloadRequest, parse_seconds


@pytest.mark.parametrize(
    "request_", [ReloadRequest(), ReloadRequest(dry_run=True), ReloadRequest(confirm=60), ReloadRequest(True, 1)]
)
def test_what_is_sent_is_what_arrives(request_: ReloadRequest) -> None:
    operation, _, body = request_.to_text().removesuffix("\n").partition("\n")
    assert operation == "reload=1"
    assert ReloadRequest.parse(body) == request_


@pytest.mark.parametrize(
    "body", ["x=1", "dry_run", "dry_run=false", "confirm=0", "confirm=", "confirm=1\nconfirm=1", "\n", "confirm=٣"]
)
def test_anything_else_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"line|only|not a number"):
        ReloadRequest.parse(body)


def test_seconds_are_a_number_with_or_without_their_unit() -> None:
    assert (parse_seconds("60"), parse_seconds("60s")) == (60, 60)


@pytest.mark.parametrize("text", ["", "s", "0", "-1", "1.5", "60m", "86401", "9" * 5000])
def test_other_seconds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 86400"):
        parse_seconds(text)
