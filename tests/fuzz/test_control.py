"""Invariant: whatever comes on the control socket is answered with errno replies or the end of the connection.

In whatever pieces it comes; nothing is applied that is not a whole and right `set`, and the next caller is served.
"""

import asyncio
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.control.handler import PEER, RecordingHandler, ask, serving
from tunnel.config.uapi import UapiError, parse_set
from tunnel.control.uapi_socket import Limits

ANSWERS = re.compile(rb"(([a-z0-9_]+=[^\n]*\n|\{[^\n]*\}\n)*errno=-?[0-9]+\n\n)*")

FRAGMENTS = st.sampled_from(
    [
        b"get=1\n\n",
        b"get=1\n",
        b"set=1\n",
        b"status=1\n\n",
        b"\n",
        b"=",
        b"listen_port=51820\n",
        b"private_key=" + b"ab" * 32 + b"\n",
        b"public_key=" + PEER.to_hex().encode() + b"\n",
        b"allowed_ip=10.0.0.0/24\n",
        b"endpoint=[fe80::1%lo]:1\n",
        b"replace_peers=true\n",
        b"errno=0\n\n",
        b"\xff\xfe\x00",
    ]
)
PIECES = st.lists(FRAGMENTS | st.binary(max_size=200), max_size=12)
LIMITS = Limits(request_size=1000, request_seconds=5)


@given(pieces=PIECES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_errno_or_the_end_of_the_connection(pieces: list[bytes], tmp_path: Path) -> None:
    asyncio.run(_feed(pieces, tmp_path))


async def _feed(pieces: list[bytes], directory: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, directory, LIMITS):
        answer = await _converse(pieces, directory)
        assert ANSWERS.fullmatch(answer), answer
        assert len(handler.patches) <= _right_sets(b"".join(pieces))
        assert await ask(directory, b"set=1\n\n") == b"errno=0\n\n"


async def _converse(pieces: list[bytes], directory: Path) -> bytes:
    """Write the pieces one by one, then nothing more; return everything that is answered."""
    reader, writer = await asyncio.open_unix_connection(directory / "wg0.sock")
    async with asyncio.timeout(10):
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
        except OSError:  # hung up on, because of a piece before
            pass
        try:
            return await reader.read()
        except ConnectionResetError:  # it had not read all when it hung up
            return b""
        finally:
            writer.close()


def _right_sets(data: bytes) -> int:
    """How many whole and right sets there are in these bytes, at most."""
    bodies = re.findall(rb"(?=set=1\n((?:[^\n]+\n)*)\n)", data)
    return sum(_is_right(body.decode("ascii", "replace")) for body in bodies)


def _is_right(body: str) -> bool:
    try:
        parse_set(body, lambda zone: 1)
    except UapiError:
        return False
    return True
