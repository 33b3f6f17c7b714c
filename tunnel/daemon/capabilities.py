"""What this machine offers to peers that are like us (`tunnel.protocol.extension`): by what kernel and CPU can do.

AES-256-GCM is fast with the AES and carry-less multiplication instructions of the CPU and slow without, and there
ChaCha20-Poly1305 is the better choice.
"""

import re
from collections.abc import Set
from pathlib import Path

from tunnel.wire.control import Capability

CPU_INFO = Path("/proc/cpuinfo")

_FLAGS = re.compile(r"^(?:flags|features)\s*:(.*)$", re.IGNORECASE | re.MULTILINE)
_MULTIPLICATIONS = {"pclmulqdq", "pmull"}
"""On x86, and on ARM."""

_NEEDED = {
    Capability.TCP_SLICES: {"csum", "tso4", "tso6"},
    Capability.UDP_SLICES: {"csum", "uso4", "uso6"},
    Capability.PARTIAL: {"csum"},
}


def find_offer(receive_offloads: Set[str], cpu_info: Path = CPU_INFO) -> Capability:
    """`receive_offloads`: what the TUN takes undone (`tunnel.daemon.ports.PacketDevice`)."""
    offer = Capability.AES_256_GCM if has_fast_aes(cpu_info) else Capability(0)
    for capability, needed in _NEEDED.items():
        if needed <= receive_offloads:
            offer |= capability
    return offer


def has_fast_aes(cpu_info: Path = CPU_INFO) -> bool:
    """Whether every CPU says so; False if there is nothing to read."""
    try:
        lines = _FLAGS.findall(cpu_info.read_text(errors="replace"))
    except OSError:
        return False
    cpus = [set(line.lower().split()) for line in lines]
    return bool(cpus) and all("aes" in cpu and cpu & _MULTIPLICATIONS for cpu in cpus)
