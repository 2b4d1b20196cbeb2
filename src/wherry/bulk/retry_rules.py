"""When a fetch is tried again, and after how long.

Pure functions of what went wrong, for `Fetcher` and ``wherry fetch`` alike; nothing here waits.
"""

from __future__ import annotations

import time
from typing import Final

import wherry
from wherry.middlewares.retry import retry_after

# RFC 9110 15: what may go away by itself.
TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# RFC 6585 4, RFC 9110 15.6.4: who says so means all requests, not this one.
BACK_OFF: Final = frozenset({429, 503})
LONGEST_PAUSE: Final = 60.0  # seconds


def pause_before(attempt: int, asked: str | None, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to wait before a further try: doubled each time, or what the server asks for.

    Args:
        attempt: How many tries were made before the one that failed.
        asked: Retry-After, in seconds or as a date; None where the server said nothing.
        longest: The longest wait, in seconds.
    """
    seconds = retry_after(asked, time.time())
    if seconds:
        return min(seconds, longest)
    return min(0.25 * 2.0 ** min(attempt, 64), longest)


def may_pass(exc: BaseException) -> bool:
    """Whether a further try may go better."""
    if isinstance(exc, wherry.ClientResponseError):
        return exc.status in TRANSIENT
    if isinstance(exc, (wherry.ClientConnectorCertificateError, wherry.ServerFingerprintMismatch)):
        return False  # who answers there is not who was meant, and will not be next time
    return isinstance(exc, (wherry.ClientConnectionError, wherry.ClientPayloadError, TimeoutError))


def is_unreachable(exc: BaseException) -> bool:
    """Whether no connection could be made: it says something of the host, and not of the page."""
    return isinstance(exc, (wherry.ClientConnectorError, wherry.ConnectionTimeoutError))
