"""What parses responses: llhttp (httptools) where it can be imported, else our own in plain Python.

Both have the same names, call the same callbacks, and take the same bytes.
"""

from __future__ import annotations

try:
    from httptools import (
        HttpParserCallbackError,
        HttpParserError,
        HttpParserUpgrade,
        HttpResponseParser,
    )
except ImportError:  # no wheel for this Python, and nothing to compile it with
    from wherry.protocol.http1.plain_parser import (  # type: ignore[assignment]
        HttpParserCallbackError,
        HttpParserError,
        HttpParserUpgrade,
        HttpResponseParser,
    )

__all__ = (
    "HttpParserCallbackError",
    "HttpParserError",
    "HttpParserUpgrade",
    "HttpResponseParser",
)
