"""From a failing seed to the shortest run that fails in the same way."""

from __future__ import annotations

from collections.abc import Iterable

from .checks import Variation
from .programs import run

#: What a run can be without, in the order in which it is tried.
FEATURES = (
    *("middlewares", "proxies", "proxy-faults", "tls-faults", "cancellation", "early-close"),
    *("fragment", "stall", "reset", "refuse", "black_hole", "latency"),
)
_MOST_TASKS, _MOST_ACTIONS = 8, 8


def failure(seed: int, variation: Variation) -> str | None:
    """What kind of failure a run is; None where it is none."""
    try:
        run(seed, variation)
    except Exception as exc:
        words = str(exc).split()
        # Numbers and addresses differ between two runs of one fault.
        said = " ".join(word for word in words[:12] if word.isalpha())
        return f"{type(exc).__name__} {said}"
    return None


def shrink(seed: int) -> tuple[Variation, str]:
    """The shortest variation of a seed that still fails as the seed does, and how that is.

    Raises:
        ValueError: The seed does not fail.
    """
    best = Variation()
    wanted = failure(seed, best)
    if wanted is None:
        raise ValueError(f"seed {seed} does not fail")
    for feature in FEATURES:
        tried = Variation(best.keep, best.without | {feature})
        if failure(seed, tried) == wanted:
            best = tried
    keep = {f"{task}.{number}" for task in range(_MOST_TASKS) for number in range(_MOST_ACTIONS)}
    size = len(keep) // 2
    while size:
        smaller = False
        for part in _parts(sorted(keep), size):
            tried = Variation(frozenset(keep - part), best.without)
            if part < keep and failure(seed, tried) == wanted:
                keep, best, smaller = keep - part, tried, True
        if not smaller or size > len(keep) // 2:
            size //= 2
    return best, wanted


def _parts(names: list[str], size: int) -> Iterable[set[str]]:
    return (set(names[at : at + size]) for at in range(0, len(names), size))
