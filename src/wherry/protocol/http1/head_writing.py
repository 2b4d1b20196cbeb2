"""Heads of HTTP/1.1 messages: how a request's is written, and what a response's says of framing and
persistence.
"""

from __future__ import annotations

from wherry.protocol.heads import RequestHead, ResponseHead
from wherry.types import HttpVersion10, HttpVersion11


def encode_head(head: RequestHead) -> bytes:
    """The bytes of a request's head, up to and with the empty line (RFC 9112 3 to 6)."""
    template = head.template
    if template is not None:
        common = template.encoded_http1
        if common is None:
            common = template.encoded_http1 = _between_target_and_fields(template)
        start = f"{head.method} {head.target}".encode("utf-8", "surrogateescape")
        own = (
            "".join([f"{name}: {value}\r\n" for name, value in head.fields]) if head.fields else ""
        )
        if head.content_length is not None:
            own = f"{own}Content-Length: {head.content_length}\r\n"
        return b"%b%b%b\r\n" % (start, common, own.encode("utf-8", "surrogateescape"))
    version = "1.0" if head.version == HttpVersion10 else "1.1"
    shared = head.shared
    block = shared.encoded_http1
    if block is None:
        block = shared.encoded_http1 = "".join(
            [f"{name}: {value}\r\n" for name, value in shared.pairs]
        ).encode("utf-8", "surrogateescape")
    lines = [f"{name}: {value}\r\n" for name, value in head.fields] if head.fields else []
    if head.content_length is not None:
        lines.append(f"Content-Length: {head.content_length}\r\n")
    elif head.streamed:
        lines.append("Transfer-Encoding: chunked\r\n")
    if head.expect_continue:
        lines.append("Expect: 100-continue\r\n")
    if head.upgrade is not None:
        lines.append(f"Connection: Upgrade\r\nUpgrade: {head.upgrade}\r\n")
    elif head.close:
        lines.append("Connection: close\r\n")
    elif version == "1.0":
        lines.append("Connection: keep-alive\r\n")
    line = f"{head.method} {head.target} HTTP/{version}\r\nHost: {head.authority}\r\n"
    start = line.encode("utf-8", "surrogateescape")
    if not lines:
        return b"%b%b\r\n" % (start, block)
    return b"%b%b%b\r\n" % (start, block, "".join(lines).encode("utf-8", "surrogateescape"))


def _between_target_and_fields(template: RequestHead) -> bytes:
    """What heads that are `from_template` this one have in common."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in template.shared.pairs])
    return f" HTTP/1.1\r\nHost: {template.authority}\r\n{lines}".encode("utf-8", "surrogateescape")


def is_framed(head: ResponseHead) -> bool:
    """Whether the fields say where the body ends (RFC 9112 6.3)."""
    if head.get(b"content-length") is not None:
        return True
    codings = head.get_all(b"transfer-encoding")
    return bool(codings) and codings[-1].rsplit(b",", 1)[-1].strip().lower() == b"chunked"


def can_decode(head: ResponseHead) -> bool:
    """Whether we undo what Transfer-Encoding names: chunks, once, and nothing besides.

    RFC 9110 10.1.4: without a TE of ours a server may use no other, and what is left of one would
    pass for the content.  In what else the field may be written, parsers do not agree.  "identity"
    was taken out of HTTP/1.1 (RFC 9112 C.2.2), and changes nothing.
    """
    codings = head.get_all(b"transfer-encoding")
    if not codings or codings == [b"chunked"] or head.status in (204, 304):
        return True
    return len(codings) == 1 and codings[0].lower() in (b"chunked", b"identity")


def persists(head: ResponseHead) -> bool:
    """Whether the connection stays open after this message (RFC 9112 9.3), its framing left
    aside.
    """
    if head.version != HttpVersion11 and head.get(b"transfer-encoding") is not None:
        # RFC 9112 6.1: HTTP/1.0 has no transfer codings, its framing is not to be trusted.
        return False
    options = {
        option.strip().lower()
        for value in head.get_all(b"connection")
        for option in value.split(b",")
    }
    if b"close" in options:
        return False
    return head.version == HttpVersion11 or b"keep-alive" in options
