"""What programs subclass to put parts of their own in, under the module name that they know."""

from __future__ import annotations

from wherry.body.payload.base import AbstractStreamWriter
from wherry.connect.dns.resolver import AbstractResolver, ResolveResult
from wherry.cookies.abc import AbstractCookieJar

__all__ = ("AbstractCookieJar", "AbstractResolver", "AbstractStreamWriter", "ResolveResult")
