from pathlib import Path

import pytest

from tunnel.daemon.capabilities import find_offer, has_fast_aes
from tunnel.testing.memory import ALL_OFFLOADS
from tunnel.wire.control import SLICES, Capability

INTEL = "processor\t: 0\nflags\t\t: fpu sse2 pclmulqdq aes avx2\nbugs\t\t: spectre_v1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd aes pmull sha1\n"
OLD = "processor\t: 1\nflags\t\t: fpu sse2\n"


def cpu_info(directory: Path, text: str) -> Path:
    file = directory / "cpuinfo"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", [INTEL, ARM, INTEL + INTEL])
def test_aes_is_offered_where_the_cpu_has_it(tmp_path: Path, text: str) -> None:
    assert find_offer(frozenset(), cpu_info(tmp_path, text)) == Capability.AES_256_GCM


@pytest.mark.parametrize("text", ["", OLD, INTEL + OLD, "flags: aes\n", "flags: pmull\n", "model name: aes pmull\n"])
def test_aes_is_not_offered_unless_every_cpu_has_all_it_needs(tmp_path: Path, text: str) -> None:
    assert not has_fast_aes(cpu_info(tmp_path, text))


def test_a_machine_that_does_not_tell_has_no_fast_aes(tmp_path: Path) -> None:
    assert not has_fast_aes(tmp_path / "missing")


@pytest.mark.parametrize(
    ("offloads", "offer"),
    [
        (ALL_OFFLOADS, SLICES | Capability.PARTIAL),
        ({"csum", "tso4", "tso6"}, Capability.TCP_SLICES | Capability.PARTIAL),
        ({"csum"}, Capability.PARTIAL),
        ({"csum", "tso4"}, Capability.PARTIAL),
        ({"tso4", "tso6"}, Capability(0)),
        (set(), Capability(0)),
    ],
)
def test_what_the_interface_takes_undone_is_offered(tmp_path: Path, offloads: set[str], offer: Capability) -> None:
    assert find_offer(offloads, cpu_info(tmp_path, OLD)) == offer
