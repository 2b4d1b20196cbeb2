"""Basic authentication (RFC 7617): a user name and a password, and the field value that carries
them.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from abc import ABCMeta
from typing import NamedTuple, Self

from yarl import URL


def encode_basic_auth(login: str, password: str = "", encoding: str = "utf-8") -> str:
    """The value for an Authorization (or Proxy-Authorization) field.

    Args:
        login: The user name; it may not hold a colon.
        password: The password, "" by default.
        encoding: How both become bytes, UTF-8 by default (RFC 7617 2.1).  What ISO-8859-1 cannot
            write goes out in UTF-8 where it is asked for, as from browsers and curl.

    Raises:
        ValueError: The name holds a colon (RFC 7617 2).
    """
    if ":" in login:
        raise ValueError('A ":" is not allowed in login (RFC 7617#section-2)')
    text = f"{login}:{password}"
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        if not (is_latin1(encoding) or is_utf8(encoding)):
            raise
        # Bytes of a command line that are no text stand for themselves.
        data = text.encode("utf-8", "surrogateescape")
    return "Basic " + base64.b64encode(data).decode("ascii")


def is_latin1(encoding: str) -> bool:
    return _codec_name(encoding) == "iso8859-1"


def is_utf8(encoding: str) -> bool:
    return _codec_name(encoding) == "utf-8"


def _codec_name(encoding: str) -> str:
    return codecs.lookup(encoding).name


class _BasicAuth(NamedTuple):
    login: str
    password: str
    encoding: str


class BasicAuth(_BasicAuth, metaclass=ABCMeta):  # others may pass for it
    """Credentials for Basic authentication.

    Args:
        login: The user name; it may not hold a colon.
        password: The password, "" by default.
        encoding: How both become bytes, latin1 by default.

    Raises:
        ValueError: A part is None, or the name holds a colon (RFC 7617 2).
    """

    __slots__ = ()

    def __new__(cls, login: str, password: str = "", encoding: str = "latin1") -> Self:
        if login is None:
            raise ValueError("None is not allowed as login value")
        if password is None:
            raise ValueError("None is not allowed as password value")
        if ":" in login:
            raise ValueError('A ":" is not allowed in login (RFC 1945#section-11.1)')
        return super().__new__(cls, login, password, encoding)

    def __repr__(self) -> str:
        # The password would go wherever a session's options are logged.
        return (
            f"{type(self).__name__}(login={self.login!r}, password='***', "
            f"encoding={self.encoding!r})"
        )

    @classmethod
    def decode(cls, auth_header: str, encoding: str = "latin1") -> BasicAuth:
        """Read the credentials out of an Authorization value.

        Raises:
            ValueError: It is not of the Basic scheme, or is broken.
        """
        scheme, _, token = auth_header.partition(" ")
        if not token:
            raise ValueError("Could not parse authorization header.")
        if scheme.lower() != "basic":
            raise ValueError(f"Unknown authorization method {scheme}")
        try:
            text = base64.b64decode(token.strip().encode("ascii"), validate=True).decode(encoding)
        except (binascii.Error, UnicodeError):
            raise ValueError("Invalid base64 encoding.") from None
        login, colon, password = text.partition(":")
        if not colon:
            raise ValueError("Invalid credentials.")
        return cls(login, password, encoding)

    @classmethod
    def from_url(cls, url: URL, *, encoding: str = "latin1") -> BasicAuth | None:
        """The credentials in a URL, None where there are none."""
        if not isinstance(url, URL):
            raise TypeError("url should be yarl.URL instance")
        if url.raw_user is None and url.raw_password is None:
            return None
        return cls(url.user or "", url.password or "", encoding)

    def encode(self) -> str:
        """The value for an Authorization field."""
        return encode_basic_auth(self.login, self.password, self.encoding)
