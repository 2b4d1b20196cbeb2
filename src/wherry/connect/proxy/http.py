"""What is said to an HTTP proxy, and how its answer to CONNECT is read.

Pure: bytes and fields in, bytes and fields out (RFC 9110 9.3.6, RFC 9112 3.2.2 and 3.2.3).  Knows
hops; never learns what goes through the tunnel, and no field of the user's request comes here.
"""

from __future__ import annotations

import base64
import re

from wherry.connect.route import ProxyHop
from wherry.protocol.grammar import is_token_bytes
from wherry.protocol.heads import ResponseHead
from wherry.redaction import shown_head
from wherry.types import HttpVersion

# Bytes that the head of an answer may have, lines in it, and interim (1xx) answers before the real
# one.
MAX_HEAD = 32 * 1024
MAX_FIELDS = 128
MAX_INTERIM = 16

# RFC 9112 4: the blank before an empty reason phrase is often left out.
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?\Z")
# RFC 9110 5.5: a field's value has no control characters but the tab.
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class NotHttp(ValueError):
    """What came is not an HTTP answer."""


def authority(host: str, port: int) -> str:
    """A host and a port as CONNECT names them; the port is never left out (RFC 9110 7.1)."""
    host = host.partition("%")[0] if ":" in host else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect_head(hop: ProxyHop, host: str, port: int) -> bytes:
    """The CONNECT by which `hop` opens a tunnel to `host`."""
    target = authority(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in forward_fields(hop)]
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")


def forward_fields(hop: ProxyHop) -> list[tuple[str, str]]:
    """The fields that are for this proxy alone: its credentials, and the user's `proxy_headers`.

    They go with its CONNECT, or with each plain request that it forwards; they never go anywhere
    else.
    """
    fields = list(hop.headers)
    if hop.username is not None and not any(
        name.lower() == "proxy-authorization" for name, _ in fields
    ):
        fields.append(("Proxy-Authorization", basic_credentials(hop)))
    return fields


def basic_credentials(hop: ProxyHop) -> str:
    """The value of a Basic Proxy-Authorization field (RFC 7617 2)."""
    pair = f"{hop.username or ''}:{hop.password or ''}"
    try:
        raw = pair.encode(hop.encoding)
    except UnicodeEncodeError:
        raw = pair.encode()
    return "Basic " + base64.b64encode(raw).decode("ascii")


def connect_answer(head: bytes) -> ResponseHead:
    """The head of the answer to a CONNECT, up to and with its empty line.

    Raises:
        NotHttp: It is no HTTP/1 head, or has too many fields.
    """
    # RFC 9112 2.2: an empty line before a message may be passed over.
    # The same: lines may end with LF alone, all of them or none.
    head = head.lstrip(b"\r\n")
    end = b"\r\n" if head.partition(b"\n")[0].endswith(b"\r") else b"\n"
    lines = head.removesuffix(end * 2).split(end)
    found = STATUS_LINE.match(lines[0])
    if found is None:
        raise NotHttp(f"this is no HTTP status line: {lines[0][:64]!r}")
    if len(lines) - 1 > MAX_FIELDS:
        raise NotHttp(f"the answer has more than {MAX_FIELDS} header fields")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        # RFC 9112 5.1 and 5.2: no blank before the colon, no folded lines.
        if not colon or not is_token_bytes(name) or CONTROL.search(value) is not None:
            raise NotHttp(f"this is no header field: {shown_head(line)!r}")
        fields.append((name, value.strip(b" \t")))
    reason = (found[3] or b"").decode("utf-8", "surrogateescape").strip()
    return ResponseHead(int(found[2]), reason, HttpVersion(1, int(found[1])), tuple(fields))
