"""Giving up rights of root that an interface has no use for, before it talks to anybody.

    tunnel up ─▶ configuration, identity, passphrase ─▶ here ─▶ interface, sockets, certificates of strangers, packets
                 with all rights                                with CAP_NET_ADMIN

It stays root, so that it reads renewed files of root, saves, and removes its control socket; but root without
capabilities loads no module, mounts nothing, traces nobody, and is stopped by the modes of others' files. It does not
get more by running programs, either (no_new_privs, and an empty bounding set). See capabilities(7).

Hooks are the exception: they are root's commands and may need any right, so all of them are kept.

Capabilities belong to threads, and a thread has those of the one that it was started by. So this is done while there is
one only: before numpy is imported, which starts others.
"""

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.control.uapi_client import SOCKET_DIRECTORY
from tunnel.daemon.stamp import STATE_DIRECTORY

PRIVILEGED_PORTS = range(1, 1024)


class Right(IntEnum):
    """The numbers of capabilities."""

    CHOWN = 0
    """To whom a file belongs that is written anew."""
    DAC_OVERRIDE = 1
    """Files of others, whatever their modes."""
    NET_BIND_SERVICE = 10
    """Ports below 1024."""
    NET_ADMIN = 12
    """Interfaces, addresses, routes, marks, socket buffers."""


_VERSION_3 = 0x20080522
_HEADER = struct.Struct("=Ii")
_SETS = struct.Struct("=IIIIII")
"""Effective, permitted, inheritable: the lower 32 of each, then the upper ones."""

_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def shed(config: TunnelConfig | None, path: Path | None) -> str:
    """Keep what the interface of `config` needs; returns a line for the log, if there is something to know.

    Without a `config` it is bare, and may be given any port. `path` is the file that it came from.
    """
    if config is not None and has_hooks(config):
        return "hooks may need any right, so all are kept" if os.geteuid() == 0 else ""
    rights = {Right.NET_ADMIN}
    if config is None or config.interface.listen_port in PRIVILEGED_PORTS:
        rights.add(Right.NET_BIND_SERVICE)
    try:
        if path is not None and path.exists() and _is_given_away(path.stat()):
            rights.add(Right.CHOWN)
        with _only_in_force(rights):
            if not all(map(_is_ours, _places(config, path))):
                rights.add(Right.DAC_OVERRIDE)
        keep_only(rights)
    except OSError as error:
        return f"rights that are not needed are kept: {error.strerror}"
    return ""


def has_hooks(config: TunnelConfig) -> bool:
    hooks = config.interface.hooks
    return any((hooks.pre_up, hooks.post_up, hooks.pre_down, hooks.post_down))


def keep_only(rights: Iterable[Right]) -> None:
    """Give up all other capabilities, for this thread and all that it starts, for good. Raise `OSError`."""
    kept = sum(1 << right for right in rights)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _shrink_bounding_set(kept)
    _, permitted = _read()
    if permitted & ~kept:  # else a filter that forbids to ask does no harm
        _write(permitted & kept, permitted & kept)


@contextmanager
def _only_in_force(rights: Iterable[Right]) -> Iterator[None]:
    """Within, the kernel judges what we do as if we had no other capabilities. Raise `OSError`."""
    effective, permitted = _read()
    wanted = effective & sum(1 << right for right in rights)
    if wanted == effective:
        yield
        return
    _write(wanted, permitted)
    try:
        yield
    finally:
        _write(effective, permitted)


def _shrink_bounding_set(kept: int) -> None:
    """Without CAP_SETPCAP it stays as it is, and no_new_privs has to do."""
    number = 0
    while (has := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if has and not kept >> number & 1:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        number += 1


def _read() -> tuple[int, int]:
    """The sets of this thread: effective, permitted."""
    sets = ctypes.create_string_buffer(_SETS.size)
    _check(_libc.capget(_HEADER.pack(_VERSION_3, 0), sets))
    effective, permitted, _, *upper = _SETS.unpack(sets.raw)
    return effective | upper[0] << 32, permitted | upper[1] << 32


def _write(effective: int, permitted: int) -> None:
    """Nothing is inheritable, and so nothing ambient."""
    lower = 0xFFFFFFFF
    sets = _SETS.pack(effective & lower, permitted & lower, 0, effective >> 32, permitted >> 32, 0)
    _check(_libc.capset(_HEADER.pack(_VERSION_3, 0), sets))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# ---- files ----------------------------------------------------------------------------------------------------------


def _places(config: TunnelConfig | None, path: Path | None) -> Iterable[Path]:
    """Where we read and write while the interface runs."""
    yield from (STATE_DIRECTORY, SOCKET_DIRECTORY)
    if path is not None:
        yield from (path, path.resolve().parent)
    if config is not None and config.interface.certificates is not None:
        certificates = config.interface.certificates
        yield from (certificates.identity, *certificates.authorities, *certificates.crls)


def _is_given_away(status: os.stat_result) -> bool:
    """Whether a new file would have another owner or group."""
    return status.st_uid != os.geteuid() or status.st_gid not in (os.getegid(), *os.getgroups())


def _is_ours(path: Path) -> bool:
    """Whether we get at it with the rights that are in force: a directory to write to, or a file to read."""
    try:
        if path.is_dir():
            return path.stat().st_uid == os.geteuid()
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False
