"""What is shown of what may be a secret: a repr, a message or a log goes where nobody expects a
password.

Pure functions of text.  They hide by the names of fields and parameters, so they hide rather too
much than too little; what a program reads itself (`headers["Authorization"]`, `url.query`) is as it
was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = (
    "HIDDEN",
    "SecretText",
    "is_secret_name",
    "shown_fields",
    "shown_head",
    "shown_reason",
    "shown_url",
)

HIDDEN = "***"
# Bytes of a broken head that are looked at, and that are shown.
_HEAD_SEEN, _HEAD_SHOWN = 512, 64

# Names of header fields and parameters that hold what lets somebody in.  Authentication-Info and
# WWW-Authenticate have what a server asks and proves, and Signature-Input what was signed: no
# secrets.
_SECRET_NAME = re.compile(
    r"authorization|cookie|credential|passw|pwd|secret|token|api[-_.]?key|auth[-_.]?key|access[-_.]?key"
    r"|^x-auth|^key$|^code$|^sig$|signature$|^dpop$|^assertion$|^session(id)?$",
    re.IGNORECASE,
).search
# Fields that mean to be sent, or shown, to everybody.
_HARMLESS = frozenset({"cookie2", "sec-token-binding", "access-control-allow-credentials"})
# RFC 3986 3.2.1, wherever in a text a URL begins.
_USERINFO = re.compile(r"//[^/?#\s@<>\"']*@")
# The same in a text that was cut off somewhere.
_CUT_USERINFO = re.compile(r"//[^/?#\s@<>\"']*(?:@|\Z)")
_LINES = re.compile(rb"[^\r\n]+")
_PARAMETER = re.compile(r"([?&;#])([^=&;#?\s<>\"']{1,256})=([^&;#\s<>\"']*)")


class SecretText(str):
    """Text that is hidden under whatever name it stands among header fields."""

    __slots__ = ()


def is_secret_name(name: str) -> bool:
    """Whether a header field, or a parameter of a URL, of this name is likely to hold a secret."""
    return _SECRET_NAME(name) is not None and name.lower() not in _HARMLESS


def shown_url(url: object) -> str:
    """A URL, or a text with URLs in it, without credentials and without the values of secret
    parameters.

    >>> shown_url("https://me:mine@example.org/?page=2&access_token=abc")
    'https://***@example.org/?page=2&access_token=***'
    """
    text = str(url)
    if "@" in text:
        text = _USERINFO.sub(f"//{HIDDEN}@", text)
    return _PARAMETER.sub(_hide, text) if "=" in text else text


def _hide(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    return f"{mark}{name}={HIDDEN if value and is_secret_name(name) else value}"


def shown_reason(exc: Exception) -> str:
    """What another library says of a URL: it quotes the part that it means, be there a password in
    it.
    """
    reason = str(exc)
    before, quote, rest = reason.partition("'")
    _, at, rest = rest.rpartition("@")
    return f"{before}{quote}{HIDDEN}@{rest}" if at else reason


def shown_head(data: bytes, *, begins: bool = True) -> bytes:
    """The beginning of a head that cannot be read, without the values of secret fields.

    Args:
        data: What came, be it cut off.
        begins: Whether a line begins where `data` does; else nobody knows whose value that is.

    >>> shown_head(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: id=abc\\r\\nX\\x01")
    b'HTTP/1.1 200 OK\\r\\nSet-Cookie: ***\\r\\nX\\x01'
    """
    shown = _LINES.sub(_shown_line, bytes(data[:_HEAD_SEEN]))
    if not begins:
        rest = _LINES.sub(b"", shown, count=1) if shown[:1] not in (b"\r", b"\n") else shown
        shown = HIDDEN.encode() + rest
    return shown[:_HEAD_SHOWN]


def _shown_line(found: re.Match[bytes]) -> bytes:
    name, colon, _ = found[0].partition(b":")
    if colon and is_secret_name(name.strip().decode("latin-1")):
        return b"%b: %b" % (name, HIDDEN.encode())
    line = _CUT_USERINFO.sub(f"//{HIDDEN}@", found[0].decode("latin-1"))
    return shown_url(line).encode("latin-1")


def shown_fields(fields: Any) -> str:
    """The repr of header fields, whatever holds them, without the values of secret ones.

    >>> shown_fields({"Accept": "*/*", "Authorization": "Bearer abc"})
    "{'Accept': '*/*', 'Authorization': '***'}"
    """
    if fields is None:
        return "None"
    pairs = [(str(name), _shown_value(str(name), value)) for name, value in _pairs(fields)]
    if type(fields) is dict:
        return repr(dict(pairs))
    if isinstance(fields, Mapping):
        inside = ", ".join(f"{name!r}: {value!r}" for name, value in pairs)
        return f"<{type(fields).__name__}({inside})>"
    return repr(pairs)


def _pairs(fields: Any) -> Iterable[tuple[Any, Any]]:
    return fields.items() if isinstance(fields, Mapping) else fields


def _shown_value(name: str, value: Any) -> Any:
    if is_secret_name(name) or isinstance(value, SecretText):
        return HIDDEN
    return shown_url(value) if isinstance(value, str) else value
