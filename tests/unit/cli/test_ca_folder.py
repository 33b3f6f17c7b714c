import os
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import pytest

from tests.unit.cli.certifying import issue, mode, refusal, run
from tunnel.cli.ca_folder import CaFolder


def test_a_ca_is_a_folder_of_our_own(ca: Path) -> None:
    assert mode(ca) == 0o700
    assert mode(ca / "ca.key") == mode(ca / "ledger.json") == 0o600
    assert mode(ca / "ca.pem") == 0o644
    assert sorted(path.name for path in ca.iterdir()) == ["ca.key", "ca.pem", "ledger.json"]


def test_a_second_ca_does_not_overwrite_the_first(ca: Path) -> None:
    before = (ca / "ca.key").read_bytes()
    assert refusal("ca") == "ca: there is a CA already; a new one needs a folder of its own"
    assert (ca / "ca.key").read_bytes() == before


def test_a_ca_may_be_bound_to_networks(folder: Path) -> None:
    run("ca", "--network", "10.9.0.0/16", "--network", "fd09::/64")
    issue("laptop", "--address", "fd09::2")
    assert "10.8.0.1/32" in refusal("issue", "other", "--address", "10.8.0.1")


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "x" * 65])
def test_a_ca_without_a_proper_name_is_refused(folder: Path, name: str) -> None:
    assert "name has 1 to 64 printable characters" in refusal("ca", "--name", name)
    assert not Path("ca").exists()


def test_without_a_ca_the_error_says_how_to_make_one(folder: Path) -> None:
    expected = "there is no CA here; tunnel cert ca makes one, --ca-dir names its folder"
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == f"ca: {expected}"
    assert refusal("crl", "--ca-dir", "elsewhere") == f"elsewhere: {expected}"


@pytest.mark.parametrize(("name", "bits"), [("ca.key", 0o644), ("ca.key", 0o606)])
def test_a_key_that_everybody_may_read_or_change_is_refused(ca: Path, name: str, bits: int) -> None:
    ca.chmod(0o755)
    (ca / name).chmod(bits)
    assert refusal("issue", "laptop", "--address", "10.9.0.2") == (
        "ca/ca.key: holds a secret, and everybody may read or change it: chmod 600 ca/ca.key"
    )


def test_a_folder_that_everybody_may_write_to_is_refused(ca: Path) -> None:
    ca.chmod(0o777)
    assert refusal("crl") == "ca: everybody may put another CA in its place: chmod 700 ca"


def test_commands_on_one_folder_wait_for_each_other(ca: Path) -> None:
    descriptor = os.open(ca, os.O_RDONLY)
    with CaFolder.open(ca, None), pytest.raises(BlockingIOError):
        flock(descriptor, LOCK_EX | LOCK_NB)
    flock(descriptor, LOCK_EX | LOCK_NB)
    os.close(descriptor)


def test_a_key_of_another_ca_is_refused(ca: Path) -> None:
    run("ca", "--ca-dir", "other")
    (ca / "ca.key").write_bytes(Path("other/ca.key").read_bytes())
    assert refusal("crl") == "ca/ca.key: not the private key of ca/ca.pem"


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    Path("file").touch()
    assert refusal("ca", "--ca-dir", "file") == "file: File exists"
    assert refusal("ca", "--ca-dir", "file/ca") == "file/ca: Not a directory"


def test_half_a_ca_is_none(folder: Path) -> None:
    limits = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (300, limits[1]))  # bytes: enough for the key, but not for the certificate
    try:
        assert refusal("ca") == "ca/ca.pem: File too large"
    finally:
        setrlimit(RLIMIT_FSIZE, limits)
    assert list(Path("ca").iterdir()) == []
    run("ca")
