"""Cookies by RFC 6265bis: parsing, matching, jars, and saving them.

Knows URLs and field values; never connections, requests or responses.
"""

from wherry.cookies.abc import AbstractCookieJar, ClearCookiePredicate, DummyCookieJar
from wherry.cookies.cookie_header import merge_cookie_lines, request_cookie_line
from wherry.cookies.jar import CookieJar
from wherry.cookies.parse import parse_set_cookie

__all__ = (
    "AbstractCookieJar",
    "ClearCookiePredicate",
    "CookieJar",
    "DummyCookieJar",
    "merge_cookie_lines",
    "parse_set_cookie",
    "request_cookie_line",
)
