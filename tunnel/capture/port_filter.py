"""Which packets a packet socket is shown: a program for the kernel's classic BPF machine (bpf(4), filter.rst of Linux).

It loads from the packet into one register and jumps; the last instruction says how many bytes are kept, 0 is none.
Offsets are relative to the network header, so that the link's own header, or its absence, does not matter.

    not from or to the tunnel's interface ─▶ IPv4 without options, or IPv6 ─▶ UDP ─▶ one of the two ports is ours
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_JUMP_IF_EQUAL, _JUMP_IF_SET = 0x15, 0x45
_RETURN = 0x06

_NETWORK = -0x100000
_PROTOCOL, _INTERFACE = -0x1000, -0x1000 + 8
_ETH_IPV4, _ETH_IPV6, _UDP = 0x0800, 0x86DD, 17
_FRAGMENT_OFFSET = 0x1FFF
_EVERYTHING = 0x40000

_INSTRUCTION = struct.Struct("=HBBI")


class Instruction(NamedTuple):
    """`then` and `otherwise` are how many instructions a jump passes over."""

    code: int
    then: int
    otherwise: int
    value: int


def udp_port_filter(port: int, except_interface: int) -> tuple[Instruction, ...]:
    """Datagrams from or to `port`, on every interface but the one with this index. Of fragments only the first."""
    ipv6, accept, refuse = 14, 21, 22
    lines: list[tuple[int, int, int, int]] = [  # code, target if true, target otherwise, value; 0 is the next one
        (_LOAD_WORD, 0, 0, _INTERFACE),
        (_JUMP_IF_EQUAL, refuse, 0, except_interface),
        (_LOAD_HALF, 0, 0, _PROTOCOL),
        (_JUMP_IF_EQUAL, 0, ipv6, _ETH_IPV4),
        (_LOAD_BYTE, 0, 0, _NETWORK),
        (_JUMP_IF_EQUAL, 0, refuse, 0x45),
        (_LOAD_BYTE, 0, 0, _NETWORK + 9),
        (_JUMP_IF_EQUAL, 0, refuse, _UDP),
        (_LOAD_HALF, 0, 0, _NETWORK + 6),
        (_JUMP_IF_SET, refuse, 0, _FRAGMENT_OFFSET),
        (_LOAD_HALF, 0, 0, _NETWORK + 20),
        (_JUMP_IF_EQUAL, accept, 0, port),
        (_LOAD_HALF, 0, 0, _NETWORK + 22),
        (_JUMP_IF_EQUAL, accept, refuse, port),
        (_JUMP_IF_EQUAL, 0, refuse, _ETH_IPV6),
        (_LOAD_BYTE, 0, 0, _NETWORK + 6),
        (_JUMP_IF_EQUAL, 0, refuse, _UDP),
        (_LOAD_HALF, 0, 0, _NETWORK + 40),
        (_JUMP_IF_EQUAL, accept, 0, port),
        (_LOAD_HALF, 0, 0, _NETWORK + 42),
        (_JUMP_IF_EQUAL, accept, refuse, port),
        (_RETURN, 0, 0, _EVERYTHING),
        (_RETURN, 0, 0, 0),
    ]
    return tuple(
        Instruction(code, then and then - at - 1, otherwise and otherwise - at - 1, value & 0xFFFFFFFF)
        for at, (code, then, otherwise, value) in enumerate(lines)
    )


def pack_program(program: Sequence[Instruction]) -> bytes:
    """Instructions as the kernel has them (struct sock_filter)."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
