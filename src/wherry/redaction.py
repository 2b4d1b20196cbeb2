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

__all__ = ("HIDDEN", "SecretText", "is_secret_name", "shown_fields", "shown_url")

HIDDEN = "***"

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
