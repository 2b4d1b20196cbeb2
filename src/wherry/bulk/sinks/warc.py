"""`Warc`: web archives, WARC 1.1 (ISO 28500:2017), for replay and for archives (extra `warc`).

FastWARC writes the records: it is as quick as doing so by hand, and knows the format.  What stands
here is what a page is in that format.
"""

from __future__ import annotations

import hashlib
import io
import re
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final

try:
    from fastwarc.warc import WarcRecord, WarcRecordType
except ModuleNotFoundError as _exc:  # pragma: no cover
    raise ModuleNotFoundError(
        f"Warc needs {_exc.name}: pip install 'wherry[warc]'", name=_exc.name
    ) from _exc
from yarl import URL

from wherry import __version__
from wherry.bulk.results import Page
from wherry.bulk.sinks.rolling import BytesWriter, RollingSink, ShardWriter
from wherry.bulk.sinks.without_secrets import as_json, public_request_fields, public_url

__all__ = ("Warc",)

_HTTP: Final = "application/http; msgtype={}"
# The body stands there without its codings: a reader that believed these fields would undo them
# again.  Under these names other archiving clients keep them.
_OF_CODINGS: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_KEPT_AS: Final = b"X-Archive-Orig-"
_LINE_END: Final = re.compile(rb"[\r\n\0]+")
# The registered protocol of each version, for WARC-Protocol.
_PROTOCOLS: Final = {"1.0": "http/1.0", "1.1": "http/1.1", "2": "h2", "3": "h3"}


class Warc(RollingSink):
    """Writes pages into `RUN-NUMBER.warc.gz`: WARC 1.1, each record a gzip member of its own.

    A file begins with a warcinfo record.  A page is a response and a request record, and a metadata
    record where it was redirected (`via`) or `on_response` gave something (`extracted`, as JSON).
    The body stands without its content coding, whose fields are renamed to `X-Archive-Orig-...`;
    fields of the request that hold credentials are left out.  A page's place is `FILE#OFFSET`,
    where its response record begins.

    Args:
        place: The folder, as a path or a URL of fsspec's (`s3://bucket/pages`).
        roll: Bytes after which a file is ended, 128 MiB.
        storage_options: What fsspec is told of the place.
    """

    suffix = ".warc.gz"

    def new_writer(self, path: Path, name: str) -> ShardWriter:
        """What writes a shard of this kind."""
        return _Records(path, name)


class _Records(BytesWriter):
    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        self._info = _new_id()

    def beginning(self) -> bytes:
        about = (
            f"software: wherry/{__version__}\r\n"
            "format: WARC File Format 1.1\r\n"
            "conformsTo: http://iipc.github.io/warc-specifications/specifications/"
            "warc-format/warc-1.1/\r\n"
        )
        fields = {
            "WARC-Date": _date(datetime.now(UTC)),
            "WARC-Filename": self.name,
            "Content-Type": "application/warc-fields",
        }
        return _record(WarcRecordType.warcinfo, self._info, fields, about.encode())

    def encode(self, page: Page) -> bytes:
        response = _new_id()
        common = {
            # The moment at which capturing began (WARC 1.1, 5.4).
            "WARC-Date": _date(page.fetched_at - timedelta(seconds=page.elapsed)),
            "WARC-Target-URI": _target(page.final_url),
            "WARC-Warcinfo-ID": f"<urn:{self._info}>",
        }
        http = dict(common)
        if page.http_version in _PROTOCOLS:
            http["WARC-Protocol"] = _PROTOCOLS[page.http_version]
        if page.ip is not None:
            http["WARC-IP-Address"] = page.ip
        beside = {"WARC-Concurrent-To": f"<urn:{response}>"}
        records = [
            _record(
                WarcRecordType.response,
                response,
                http | {"Content-Type": _HTTP.format("response")},
                _response_head(page),
                page.body,
            ),
            _record(
                WarcRecordType.request,
                _new_id(),
                http | beside | {"Content-Type": _HTTP.format("request")},
                _request_head(page),
            ),
        ]
        about = _metadata(page)
        if about:
            fields = common | beside | {"Content-Type": "application/warc-fields"}
            records.append(_record(WarcRecordType.metadata, _new_id(), fields, about))
        return b"".join(records)


def _record(
    kind: WarcRecordType, name: str, fields: dict[str, str], head: bytes, payload: bytes = b""
) -> bytes:
    """A record, with its digests, as a gzip member.

    The digests are SHA-1, as in all archives: readers verify no other.
    """
    record = WarcRecord()
    record.init_headers(kind, name.encode())
    for field, value in fields.items():
        record.headers[field] = value
    record.set_bytes_content(head + payload)
    digest = None
    if kind in (WarcRecordType.response, WarcRecordType.request):
        digest = hashlib.sha1(payload, usedforsecurity=False).digest()
    plain = io.BytesIO()
    record.write(plain, checksum_data=True, payload_digest=digest)
    packer = zlib.compressobj(wbits=31)
    return packer.compress(plain.getbuffer()) + packer.flush()


def _new_id() -> str:
    return f"uuid:{uuid.uuid4()}"


def _date(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _target(url: str) -> str:
    return public_url(url).partition("#")[0]


def _line(text: bytes) -> bytes:
    """Without what would end the line: nothing that a peer says begins another one."""
    return _LINE_END.sub(b" ", text)


def _response_head(page: Page) -> bytes:
    """The head as HTTP/1.1 writes it, whatever brought it: that is what readers know."""
    reason = page.reason or _phrase(page.status)
    lines = [f"HTTP/1.1 {page.status} {reason}".encode("utf-8", "surrogateescape")]
    for name, value in page.raw_headers:
        if name.startswith(b":"):
            continue
        kept = _KEPT_AS + name if name.lower() in _OF_CODINGS else name
        lines.append(kept + b": " + value)
    lines.append(b"Content-Length: %d" % len(page.body))
    return b"\r\n".join(map(_line, lines)) + b"\r\n\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _request_head(page: Page) -> bytes:
    url = URL(page.final_url, encoded=True)
    lines = [f"{page.request_method} {url.raw_path_qs} HTTP/1.1"]
    fields = list(public_request_fields(page))
    if not any(name.lower() == "host" for name, _ in fields):
        lines.append(f"Host: {url.raw_authority.rpartition('@')[2]}")
    lines += [f"{name}: {value}" for name, value in fields]
    encoded = (line.encode("utf-8", "surrogateescape") for line in lines)
    return b"\r\n".join(map(_line, encoded)) + b"\r\n\r\n"


def _metadata(page: Page) -> bytes:
    """What the records of the exchange cannot say (application/warc-fields); mostly nothing."""
    lines = []
    if page.url != page.final_url:
        lines += [f"via: {_target(page.url)}", "hopsFromSeed: R"]
    if page.extracted is not None:
        lines.append(f"extracted: {as_json(page.extracted, page.url)}")
    encoded = (line.encode("utf-8", "replace") for line in lines)
    return b"".join(_line(line) + b"\r\n" for line in encoded)
