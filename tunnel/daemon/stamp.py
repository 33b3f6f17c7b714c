"""TAI64N stamps for our handshake initiations, which never go back, not even over a restart or a reboot without RTC.

A peer accepts an initiation only if its stamp is greater than the greatest it has seen from our static key (WireGuard
paper, section 5.1). A host whose clock starts in 1970 would be refused in silence, so a bound is kept on disk, one file
per static key. It is *reserved ahead*: the file promises that no stamp above the bound was ever sent, so it is
written about once a minute and not at every handshake.

    sent ──────────▶ bound on disk      after a crash we go on above the bound, although most of it was never used
         RESERVED_AHEAD

While stamps are ahead of the wall clock (after a crash, or after the clock was set back) they advance by the least
possible step, and a much smaller reservation does; otherwise a daemon that restarts in a loop would run away from time.

**A bound far in the future** means that the clock was wrong once. It is honoured all the same: peers remember the high
stamp, and going below it would make every one of them refuse us, which is what this module is there to prevent. One
warning says so; once all peers have forgotten it (they were restarted), the named file may be deleted.

**A file that cannot be read or is corrupt** tells only when it was written. Then, at the latest, the clock showed its
modification time, so the bound is taken to be that plus the reservation. **A file that cannot be written** costs
the protection over a restart and nothing else: one warning, and another try when the next reservation is due.
"""

import logging
import os
import zlib
from contextlib import suppress
from hashlib import blake2s
from pathlib import Path

from tunnel.daemon.clock import Clock
from tunnel.keys import PublicKey
from tunnel.wire.tai64n import NO_STAMP, STAMP_SIZE, next_stamp, pack_stamp

STATE_DIRECTORY = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/tunnel"))
"""The variable is the one that systemd sets where ``StateDirectory=`` does (systemd.exec(5))."""

RESERVED_AHEAD = 60
"""Seconds reserved in one write while stamps follow the wall clock."""

RESERVED_WHEN_AHEAD_OF_TIME = 1
"""Seconds reserved in one write while stamps are ahead of the wall clock: dozens of handshakes."""

SUSPICIOUSLY_FAR = 24 * 3600
"""Seconds ahead of the wall clock from which a stored bound is worth a warning."""

_CHECK_SIZE = 4
_FILE_SIZE = STAMP_SIZE + _CHECK_SIZE
_LABEL_LIMIT = 1 << 63
"""TAI64 labels from here on are reserved."""

_log = logging.getLogger(__name__)


class Stamper:
    """Call it for the next stamp: 12 bytes, greater than every one before. It never raises."""

    def __init__(self, clock: Clock, directory: Path = STATE_DIRECTORY) -> None:
        self._clock = clock
        self._directory = directory
        self._path: Path | None = None
        self._last = NO_STAMP
        self._bound = NO_STAMP
        self._is_warned = False

    def use(self, identity: PublicKey | None) -> None:
        """From now on the stamps are those of this static key; with None nothing is kept on disk.

        To be called whenever the private key changes, before the first stamp under it. Harmless when repeated.
        """
        path = self._directory / f"{_file_name(identity)}.tai64n" if identity else None
        if path == self._path:
            return
        self.close()
        self._path = path
        self._bound = self._stored_bound(path) if path else NO_STAMP
        self._last = max(self._last, self._bound)

    def __call__(self) -> bytes:
        unix_ns = self._clock.unix_ns()
        stamp = next_stamp(self._last, unix_ns)
        if stamp > self._bound:
            self._bound = _reservation(stamp, unix_ns)
            self._store(self._bound)
        self._last = stamp
        return stamp

    def close(self) -> None:
        """Give back what was reserved and not used. Harmless when repeated, and when it never happens."""
        if self._last < self._bound:
            self._bound = self._last
            self._store(self._bound)

    def _stored_bound(self, path: Path) -> bytes:
        """What the file says; its safe meaning if it says nothing sensible; zeros if there is none."""
        try:
            content = path.read_bytes()
            written_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return NO_STAMP
        except OSError as error:
            self._warn(f"cannot read {path}: {error.strerror}; a peer may refuse us if the clock has been set back")
            return NO_STAMP
        bound = _parse(content)
        if bound is None:
            self._warn(f"{path} is corrupt; going on from the time it was written")
            return _add_seconds(pack_stamp(written_ns), RESERVED_AHEAD)
        if bound > _add_seconds(pack_stamp(self._clock.unix_ns()), SUSPICIOUSLY_FAR):
            self._warn(
                f"handshake stamps go on from the far future, because the clock was wrong once (or is now); "
                f"delete {path} only when every peer has been restarted"
            )
        return bound

    def _store(self, bound: bytes) -> None:
        """Write the bound so that after a crash at any moment either the old or the new one is there."""
        if self._path is None:
            return
        temporary = self._path.with_suffix(".tmp")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_pack(bound))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            self._warn(f"cannot write {self._path}: {error.strerror}; a peer may refuse us after a restart")
        else:
            self._is_warned = False

    def _warn(self, text: str) -> None:
        if not self._is_warned:
            _log.warning("%s", text)
        self._is_warned = True


def _file_name(identity: PublicKey) -> str:
    """A hash, so that a listing of the directory does not say who talks here."""
    return blake2s(b"tunnel stamp" + identity.raw, digest_size=16).hexdigest()


def _reservation(stamp: bytes, unix_ns: int) -> bytes:
    """The bound to write when `stamp` is about to be sent at `unix_ns`."""
    is_ahead_of_time = stamp > pack_stamp(unix_ns)
    return _add_seconds(stamp, RESERVED_WHEN_AHEAD_OF_TIME if is_ahead_of_time else RESERVED_AHEAD)


def _add_seconds(stamp: bytes, seconds: int) -> bytes:
    label = min(int.from_bytes(stamp[:8]) + seconds, _LABEL_LIMIT - 1)
    return label.to_bytes(8) + stamp[8:]


def _pack(stamp: bytes) -> bytes:
    return stamp + zlib.crc32(stamp).to_bytes(_CHECK_SIZE)


def _parse(content: bytes) -> bytes | None:
    """The stamp in the file, or None if these are not bytes that `_pack` made."""
    if len(content) != _FILE_SIZE or content != _pack(content[:STAMP_SIZE]):
        return None
    stamp = content[:STAMP_SIZE]
    return stamp if int.from_bytes(stamp[:8]) < _LABEL_LIMIT else None
