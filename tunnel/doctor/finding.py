"""What a check has found: how sure it is, what is wrong, why we think so, and the one command that mends it."""

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How much a finding weighs; the first in this order that occurs is the verdict."""

    FAULT = "fault"
    """This stops packets, or is about to."""

    DOUBT = "doubt"
    """Something does not work, and from here one cannot tell which of a few reasons it has."""

    ADVICE = "advice"
    """Everything may well be as intended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` and `why` are sentences without their full stop; `remedy` is what to type, as root, on this host.

    `peer` is whom it is about, as a person calls it, or empty.
    """

    severity: Severity
    what: str
    why: str
    remedy: str
    peer: str = ""


def fault(what: str, why: str, remedy: str, peer: str = "") -> Finding:
    return Finding(Severity.FAULT, what, why, remedy, peer)


def doubt(what: str, why: str, remedy: str, peer: str = "") -> Finding:
    return Finding(Severity.DOUBT, what, why, remedy, peer)


def advice(what: str, why: str, remedy: str, peer: str = "") -> Finding:
    return Finding(Severity.ADVICE, what, why, remedy, peer)
