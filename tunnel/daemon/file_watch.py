"""Files that others replace while we run: certificates that were renewed, revocation lists that were brought here.

    written, replaced, made, deleted ─┐
    a link led elsewhere             ─┼─▶ does any file look different? ─▶ has it done changing? ─▶ on_change
    nothing for a minute             ─┘

What is watched (inotify(7)) are folders, since a file that is replaced is another one afterwards; and of every link on
the way the folder that it stands in: Kubernetes puts ``identity.pem -> ..data/identity.pem`` into a volume, and renews
all of its files at once by leading ``..data`` to another folder. An event only says that it is time to look: whether
something happened is told by what stat(2) says of the files, so that what their neighbours do is no business of ours.

Looking now and then finds what events do not tell: changes on the far side of a network file system, or far up in the
path. Without inotify (the user's instances are used up) that is all there is, every second.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from asyncinotify import Inotify, Mask

SETTLING = 0.1
"""Seconds that files have to stay as they are before they count as whole."""

LOOK_ANYWAY = 60.0
LOOK_WITHOUT_EVENTS = 1.0
"""Seconds between looks when no event asks for one."""

MAX_LINKS = 40
"""Links on the way to a file, as path_resolution(7) has it."""

_CHANGED = (
    Mask.CLOSE_WRITE
    | Mask.MODIFY
    | Mask.ATTRIB  # chmod is what an error about a secret asks for
    | Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)

Look = list[tuple[int, ...] | None]
"""How each file looks, in the order of the paths; None is not there."""

_log = logging.getLogger(__name__)


class FileWatch:
    """While it runs, `on_change` is called whenever a file looks different and has stayed so for a moment.

    What counts is everything since the watch was made, though it run later: make it, read the files, then run it, and
    nothing is missed. Files and folders need not be there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        on_change: Callable[[], None],
        *,
        settling: float = SETTLING,
        without_events: float = LOOK_WITHOUT_EVENTS,
        new_inotify: Callable[[], Inotify] = Inotify,
    ) -> None:
        self._paths = [path.absolute() for path in paths]
        self._on_change = on_change
        self._settling = settling
        self._without_events = without_events
        self._new_inotify = new_inotify
        self._is_blind = False
        self._seen = self._look()

    async def run(self) -> None:
        """Until it is cancelled.

        One event is one round with watches of its own, so it does not matter what else has happened meanwhile.
        """
        while True:
            with ExitStack() as stack:
                folders = self._folders()
                inotify = self._open(folders, stack)
                await self._tell_change()
                if self._folders() == folders:  # else what we wait for may come to pass where we do not listen
                    await self._wait(inotify)
            await asyncio.sleep(self._settling)  # a busy folder keeps us no busier than this

    def _open(self, folders: set[Path], stack: ExitStack) -> Inotify | None:
        """Listen, until the stack is unwound; None if there are no events to be had."""
        try:
            inotify = stack.enter_context(self._new_inotify())
            for folder in folders:
                with suppress(FileNotFoundError, NotADirectoryError):  # gone just now
                    inotify.add_watch(folder, _CHANGED)
        except OSError as error:
            if not self._is_blind:
                seconds = f"{self._without_events:g} s"
                _log.warning("looking every %s whether certificates have changed: %s", seconds, error)
            self._is_blind = True
            return None
        self._is_blind = False
        return inotify

    async def _wait(self, inotify: Inotify | None) -> None:
        """Until it is time to look."""
        if inotify is None:
            await asyncio.sleep(self._without_events)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_ANYWAY):
                await inotify.get()

    async def _tell_change(self) -> None:
        """Call `on_change` once nothing changes any more, if anything has."""
        look = self._look()
        if look == self._seen:
            return
        while look != self._seen:
            self._seen = look
            await asyncio.sleep(self._settling)
            look = self._look()
        self._on_change()

    def _look(self) -> Look:
        return list(map(_stat, self._paths))

    def _folders(self) -> set[Path]:
        return {_existing(folder) for path in self._paths for folder in _folders_towards(path)}


def _stat(path: Path) -> tuple[int, ...] | None:
    """What is different of a file after it was written, replaced or made readable."""
    try:
        it = path.stat()
    except OSError:
        return None
    return it.st_dev, it.st_ino, it.st_mode, it.st_size, it.st_mtime_ns, it.st_ctime_ns


def _folders_towards(path: Path) -> Iterator[Path]:
    """Where it is decided what an absolute path leads to: the folder of each link on the way, and the file's own."""
    here, links = Path("/"), 0
    names = list(reversed(path.parts))
    while names:
        name = names.pop()
        target = _read_link(here / name)
        if target is None or links == MAX_LINKS:
            here /= name
        else:
            yield here
            links += 1
            names += reversed(target.parts)  # an absolute one has the root for its first name
    yield here.parent


def _read_link(path: Path) -> Path | None:
    try:
        return path.readlink()
    except OSError:  # not a link, or not there
        return None


def _existing(folder: Path) -> Path:
    """Itself, or the nearest one above it that is there: that is where it would be made."""
    return next(one for one in (folder, *folder.parents) if os.path.isdir(one))
