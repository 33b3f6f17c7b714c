"""When a certificate or a revocation list holds, and when it is rather our clock that is wrong. Times: Unix seconds."""

from datetime import UTC, datetime

from tunnel.pki.problem import CertificateError, Problem

CLOCK_SLACK = 86400.0
"""Seconds that what lies in our own files may be dated ahead of us."""


def check_validity(what: str, not_before: float, not_after: float, now: float) -> None:
    """Raise `CertificateError` (NOT_YET_VALID, EXPIRED) unless `now` is between the two, both included."""
    if now < not_before:
        raise CertificateError(Problem.NOT_YET_VALID, f"{what} holds from {format_time(not_before)} on")
    if now > not_after:
        raise CertificateError(Problem.EXPIRED, f"{what} held until {format_time(not_after)}")


def check_clock(what: str, made: float, now: float) -> None:
    """Raise `CertificateError` (WRONG_CLOCK) if we have something that is not to be made for a long time."""
    if made > now + CLOCK_SLACK:
        raise CertificateError(Problem.WRONG_CLOCK, f"{what} is of {format_time(made)}, which is to come")


def format_time(seconds: float) -> str:
    """``2026-11-22 16:00 UTC``."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
