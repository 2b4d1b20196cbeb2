"""Multipart bodies, both ways: the public names of the modules beside this one."""

from wherry.body.disposition import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    content_disposition_filename,
    parse_content_disposition,
)
from wherry.body.multipart.reader import (
    BodyPartReader,
    BodyPartReaderPayload,
    MultipartReader,
    MultipartResponseWrapper,
)
from wherry.body.multipart.scanner import BadMultipart
from wherry.body.multipart.writer import MultipartPayloadWriter, MultipartWriter

__all__ = (
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "BadMultipart",
    "BodyPartReader",
    "BodyPartReaderPayload",
    "MultipartPayloadWriter",
    "MultipartReader",
    "MultipartResponseWrapper",
    "MultipartWriter",
    "content_disposition_filename",
    "parse_content_disposition",
)
