import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PosixPath

import pytest
import uvloop
from asyncinotify import Event, Inotify

from tunnel.daemon.file_watch import FileWatch

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class ListeningInotify(Inotify):
    """Tells when somebody waits for its events."""

    __slots__ = ("listening",)

    def __init__(self, listening: asyncio.Event) -> None:
        super().__init__()
        self.listening = listening

    async def get(self) -> Event:
        self.listening.set()
        try:
            return await super().get()
        finally:
            self.listening.clear()


class Watcher:
    """Counts the changes that it is told, and knows when the watch has looked and waits for events."""

    def __init__(self) -> None:
        self.changes = 0
        self._changed = asyncio.Event()
        self._listening = asyncio.Event()

    def new_inotify(self) -> Inotify:
        return ListeningInotify(self._listening)

    def on_change(self) -> None:
        self.changes += 1
        self._changed.set()

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def at_rest(self) -> None:
        await self._listening.wait()

    async def looks_again(self, change: Callable[[], object]) -> None:
        """What is done here makes it look, and it is at rest afterwards."""
        await self.at_rest()
        change()
        self._listening.clear()
        await self.at_rest()

    async def sees(self, change: Callable[[], object]) -> None:
        """One change is told of what is done here, and it was an event that told it: nobody looks for a minute."""
        before = self.changes
        await self.at_rest()
        change()
        await self.changed()
        assert self.changes == before + 1


@asynccontextmanager
async def watching(*paths: Path, **options: object) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    options = {"settling": 0.005, "new_inotify": watcher.new_inotify, **options}
    task = asyncio.create_task(FileWatch(paths, watcher.on_change, **options).run())  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(10):
            yield watcher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "me.pem"
    path.write_text("old")
    return path


def replace(path: Path, text: str = "new") -> None:
    """As `tunnel cert renew` and every careful program writes: beside it, then moved there."""
    other = path.with_name(f".{path.name}.new")
    other.write_text(text)
    other.rename(path)


# ---- one file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("new"),
        replace,
        Path.unlink,
        lambda path: path.rename(path.parent / "elsewhere" / "me.pem"),
        lambda path: (path.parent / "elsewhere" / "new.pem").rename(path),
        lambda path: path.chmod(0o600),
    ],
    ids=["written", "replaced", "deleted", "moved away", "moved here", "made readable"],
)
def test_a_change_is_told(
    file: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], change: Callable[[Path], object]
) -> None:
    async def notice() -> None:
        async with watching(file) as watcher:
            await watcher.sees(lambda: change(file))

    (file.parent / "elsewhere").mkdir()
    (file.parent / "elsewhere" / "new.pem").write_text("new")
    file.chmod(0o644)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(notice())


async def test_every_change_is_told_not_only_the_first(file: Path) -> None:
    async with watching(file) as watcher:
        for number in range(3):
            await watcher.sees(lambda number=number: replace(file, str(number)))  # type: ignore[misc]


async def test_of_several_files_each_counts(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "folder" / "crl.pem"
    other.parent.mkdir()
    other.write_text("old")
    async with watching(file, other) as watcher:
        await watcher.sees(lambda: replace(other))
        await watcher.sees(lambda: replace(file))


async def test_what_happened_before_it_ran_is_told(file: Path) -> None:
    told = asyncio.Event()
    watch = FileWatch([file], told.set)
    replace(file)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(10):
        await told.wait()
    task.cancel()


async def test_what_happens_to_other_files_is_not_told(file: Path) -> None:
    async with watching(file) as watcher:
        for number in range(3):
            await watcher.looks_again(lambda number=number: replace(file.with_name(f"{number}.pem")))  # type: ignore[misc]
        assert watcher.changes == 0


async def test_a_file_that_is_being_written_is_told_when_it_is_whole(file: Path) -> None:
    pieces = ["in ", "many ", "small ", "pieces"]
    told: list[str] = []
    done = asyncio.Event()

    class Growing(PosixPath):
        """A piece is added whenever somebody looks."""

        def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
            if pieces:
                with self.open("a") as growing:
                    growing.write(pieces.pop(0))
            return super().stat(follow_symlinks=follow_symlinks)

    def on_change() -> None:
        told.append(file.read_text())
        done.set()

    task = asyncio.create_task(FileWatch([Growing(file)], on_change, settling=0.001).run())
    async with asyncio.timeout(10):
        await done.wait()
    task.cancel()
    assert told == ["oldin many small pieces"]


# ---- what is not there ----------------------------------------------------------------------------------------------


async def test_a_file_that_comes_to_be_is_told(tmp_path: Path) -> None:
    async with watching(tmp_path / "me.pem") as watcher:
        await watcher.sees(lambda: (tmp_path / "me.pem").write_text("new"))


async def test_a_file_in_a_folder_that_comes_to_be_is_told(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "tunnel" / "me.pem"
    async with watching(file) as watcher:
        await watcher.looks_again(lambda: file.parent.mkdir(parents=True))
        await watcher.sees(lambda: file.write_text("new"))


async def test_a_folder_that_is_taken_away_and_put_back_is_no_loss(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "me.pem"
    file.parent.mkdir()
    file.write_text("old")
    async with watching(file) as watcher:
        await watcher.sees(lambda: file.parent.rename(tmp_path / "away"))
        await watcher.sees(lambda: (tmp_path / "away").rename(file.parent))
        await watcher.sees(lambda: file.write_text("new"))


async def test_a_file_where_a_folder_should_be_is_no_crash(tmp_path: Path, file: Path) -> None:
    async with watching(file / "me.pem") as watcher:
        await watcher.looks_again(file.unlink)
        await watcher.looks_again(file.mkdir)
        await watcher.sees(lambda: (file / "me.pem").write_text("new"))


# ---- links ----------------------------------------------------------------------------------------------------------


def lead(link: Path, target: str) -> None:
    """Lead a link elsewhere, at once."""
    other = link.with_name(f"{link.name}_tmp")
    other.symlink_to(target)
    other.rename(link)


async def test_a_link_that_is_led_elsewhere_is_told_and_its_new_target_is_watched(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    link = tmp_path / "me.pem"
    link.symlink_to("one/file")
    async with watching(link) as watcher:
        await watcher.sees(lambda: (tmp_path / "one" / "file").write_text("written"))
        await watcher.sees(lambda: lead(link, str(tmp_path / "two" / "file")))
        await watcher.sees(lambda: (tmp_path / "two" / "file").write_text("written"))


async def test_a_link_that_is_led_elsewhere_before_anybody_listens_is_no_loss(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    link = tmp_path / "me.pem"
    link.symlink_to("one/file")

    def new_inotify() -> Inotify:
        """By now it is settled which folders will be watched."""
        if link.readlink() != Path("two/file"):
            lead(link, "two/file")
        return watcher.new_inotify()

    async with watching(link, new_inotify=new_inotify) as watcher:
        await watcher.changed()
        await watcher.sees(lambda: (tmp_path / "two" / "file").write_text("written"))


async def test_a_volume_of_kubernetes_is_renewed_as_a_whole(tmp_path: Path) -> None:
    names = ("identity.pem", "ca.pem")

    def publish(version: str) -> None:
        (tmp_path / version).mkdir()
        for name in names:
            (tmp_path / version / name).write_text(version)
        lead(tmp_path / "..data", version)

    publish("..2026_1")
    for name in names:
        (tmp_path / name).symlink_to(f"..data/{name}")
    async with watching(*(tmp_path / name for name in names)) as watcher:
        await watcher.sees(lambda: publish("..2026_2"))
        await watcher.sees(lambda: publish("..2026_3"))


async def test_links_that_lead_in_a_circle_are_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "me.pem"
    file.symlink_to("other")
    (tmp_path / "other").symlink_to("me.pem")
    async with watching(file) as watcher:
        await watcher.sees(lambda: replace(tmp_path / "other"))


async def test_the_way_may_lead_upwards_through_a_link(tmp_path: Path) -> None:
    """``link/..`` is the folder above what the link leads to, not the one that it stands in."""
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "far" / "me.pem").write_text("old")
    (tmp_path / "link").symlink_to("far/away")
    async with watching(tmp_path / "link" / ".." / "me.pem") as watcher:
        await watcher.sees(lambda: (tmp_path / "far" / "me.pem").write_text("new"))


# ---- without inotify ------------------------------------------------------------------------------------------------


def used_up() -> Inotify:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_without_inotify_changes_are_looked_for(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with watching(file, new_inotify=used_up, without_events=0.001) as watcher:
            for number in range(3):
                replace(file, str(number))
                await watcher.changed()
    assert [record.getMessage() for record in caplog.records] == [
        "looking every 0.001 s whether certificates have changed: [Errno 24] Too many open files"
    ]


async def test_a_watch_that_is_cancelled_leaves_no_descriptor_behind(file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with watching(file) as watcher:
        await watcher.sees(lambda: replace(file))
    assert set(os.listdir("/proc/self/fd")) == before
