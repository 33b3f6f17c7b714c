"""What ``reload=1`` asks for: the lines that follow it, on either side of the control socket.

dry_run=true      say what would change, and change nothing
confirm=60        go back after so many seconds, unless ``confirm=1`` comes first
"""

from dataclasses import dataclass
from typing import Self

MAX_SECONDS = 24 * 3600
"""Who has not looked for a day has forgotten it."""


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """`confirm` is in seconds; None: what is changed stays."""

    dry_run: bool = False
    confirm: int | None = None

    @classmethod
    def parse(cls, body: str) -> Self:
        """Raise `ValueError` for anything but the lines above, each at most once."""
        lines = body.splitlines()
        settings = {key: value for key, _, value in (line.partition("=") for line in lines)}
        if len(settings) != len(lines) or not settings.keys() <= {"dry_run", "confirm"}:
            raise ValueError("unknown or repeated line")
        if settings.get("dry_run", "true") != "true":
            raise ValueError("dry_run: only 'true' is allowed")
        confirm = parse_seconds(settings["confirm"]) if "confirm" in settings else None
        return cls("dry_run" in settings, confirm)

    def to_text(self) -> str:
        """The whole request."""
        lines = ["reload=1"]
        if self.dry_run:
            lines.append("dry_run=true")
        if self.confirm is not None:
            lines.append(f"confirm={self.confirm}")
        return "\n".join(lines) + "\n\n"


def parse_seconds(text: str) -> int:
    """``60`` or ``60s``; raise `ValueError` with the reason."""
    digits = text.removesuffix("s")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6 and 1 <= int(digits) <= MAX_SECONDS):
        raise ValueError(f"not a number of seconds from 1 to {MAX_SECONDS}")
    return int(digits)
