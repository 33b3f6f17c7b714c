"""How many examples hypothesis tries of a test: a third of them where time counts, all of them in `make test-all`."""

from hypothesis import HealthCheck, settings

FAST, FULL = "fast", "full"
_ALL = 100

# A busy machine is no reason to fail; the timeout of pytest still is.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def register(*, derandomize: bool) -> None:
    """The two profiles; CI, which is to run the same examples every time, is derandomized."""
    settings.register_profile(FAST, _COMMON, max_examples=_ALL // 3, derandomize=derandomize)
    settings.register_profile(FULL, _COMMON, max_examples=_ALL, derandomize=derandomize)


def examples(count: int) -> int:
    """Of `count` examples, as many as the profile in force allows."""
    return count * settings().max_examples // _ALL
