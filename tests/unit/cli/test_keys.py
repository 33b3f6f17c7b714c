import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.invoking import error_of, invoke
from tunnel.keys import PresharedKey, PrivateKey

# A private key, not clamped as it stands, and what `wg pubkey` prints for it.
PRIVATE_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PUBLIC_KEY = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="


def test_genkey_prints_a_new_private_key_each_time() -> None:
    first, second = invoke("genkey").output, invoke("genkey").output
    assert PrivateKey.from_base64(first.removesuffix("\n")).to_base64() == first.removesuffix("\n")
    assert first != second


def test_genpsk_prints_a_new_preshared_key_each_time() -> None:
    first, second = invoke("genpsk").output, invoke("genpsk").output
    assert not PresharedKey.from_base64(first.removesuffix("\n")).is_zero
    assert first != second


@pytest.mark.parametrize("after", ["", "\n", " \n\n"])
def test_pubkey_prints_what_wg_prints(after: str) -> None:
    assert invoke("pubkey", stdin=PRIVATE_KEY + after).output == f"{PUBLIC_KEY}\n"


@pytest.mark.parametrize("text", [b"", b"hello", b"\xff\x00", b"A" * 43, b"A" * 100000])
def test_pubkey_refuses_what_is_no_key_without_quoting_it(text: bytes) -> None:
    message = error_of(invoke("pubkey", stdin=text))
    assert message.startswith("standard input: not a private key: ")
    assert not text or text.decode("latin-1") not in message


@pytest.mark.parametrize(("umask", "is_warned"), [(0o022, True), (0o077, False)])
@pytest.mark.parametrize("command", ["genkey", "genpsk"])
def test_writing_a_secret_to_a_world_accessible_file_is_warned_about(
    tmp_path: Path, command: str, umask: int, is_warned: bool
) -> None:
    descriptor = os.open(tmp_path / "key", os.O_WRONLY | os.O_CREAT, 0o666 & ~umask)
    os.fchmod(descriptor, 0o666 & ~umask)
    with open(descriptor, "w") as file:
        program = [sys.executable, "-m", "tunnel", command]
        done = subprocess.run(program, stdout=file, stderr=subprocess.PIPE, text=True, timeout=20, check=True)
    assert done.stderr.startswith("tunnel: warning: ") is is_warned
    assert (tmp_path / "key").read_text().endswith("=\n")
