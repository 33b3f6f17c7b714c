"""Ctrl-C where there is nothing yet, or nothing any more, that could be ended properly.

    start ──▶ the kernel ends us ──modules are there──▶ KeyboardInterrupt, for `ending` to know ──▶ the kernel ends us

Python raises `KeyboardInterrupt` wherever it happens to be, and between two imports, or on the way out, nobody catches
it: a traceback is all that comes of it, or half a module. Without Python's handler the signal just ends the process.

Whoever uses this module does so before anything else, so it imports what the interpreter has built in and no more:
`signal` and `contextlib` would bring a dozen others, and be half of the time in which there is still a traceback.
"""

from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIGINT,
    default_int_handler,
    getsignal,
    signal,
)


def end_at_once() -> bool:
    """From now on Ctrl-C ends us without a word; False if it is ignored (``nohup``) or somebody has plans for it."""
    if getsignal(SIGINT) is not default_int_handler:
        return False
    signal(SIGINT, SIG_DFL)
    return True


class EndedAtOnce:
    """A context: within, as `end_at_once` says; afterwards as before."""

    def __enter__(self) -> None:
        self._is_changed = end_at_once()

    def __exit__(self, *_: object) -> None:
        if self._is_changed:
            signal(SIGINT, default_int_handler)
