"""Media types and character sets: what a Content-Type header says, and what a byte order mark says.

Pure functions over strings and bytes.  Which encoding a response's text is in is decided in the
client room.
"""

from __future__ import annotations

import codecs
import functools
from typing import NamedTuple

from multidict import MultiDict, MultiDictProxy

from wherry.protocol.grammar import split, unescaped

__all__ = (
    "MimeType",
    "bom_encoding",
    "is_json_type",
    "known_charset",
    "parse_mimetype",
    "text_type",
)

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


# What a server may choose: the labels of the WHATWG's Encoding standard (4.2), and UTF-32, which
# JSON was once sent in.  Blanks and punctuation are left out of labels ("ISO_8859-1:1987").  Python
# has more codecs by names: some are no text encodings ("base64"), some take time that is not linear
# ("punycode", "idna"), and some give half surrogate pairs ("utf-7").  Where the standard decodes a
# label as a larger encoding, Python's own of that name is meant.
_LABELS = {
    "utf-8": "utf8 unicode11utf8 unicode20utf8 xunicode20utf8",
    "utf-16": "utf16 u16",
    "utf-16-le": "utf16le csunicode iso10646ucs2 ucs2 unicode unicodefeff",
    "utf-16-be": "utf16be unicodefffe",
    "utf-32": "utf32",
    "utf-32-le": "utf32le",
    "utf-32-be": "utf32be",
    "ascii": "ascii usascii ansix341968 us",
    "iso8859-1": "iso88591 iso885911987 latin1 l1 csisolatin1 isoir100 cp819 ibm819",
    "iso8859-2": "iso88592 iso885921987 latin2 l2 csisolatin2 isoir101",
    "iso8859-3": "iso88593 iso885931988 latin3 l3 csisolatin3 isoir109",
    "iso8859-4": "iso88594 iso885941988 latin4 l4 csisolatin4 isoir110",
    "iso8859-5": "iso88595 iso885951988 cyrillic csisolatincyrillic isoir144",
    "iso8859-6": "iso88596 iso885961987 iso88596e iso88596i csiso88596e csiso88596i arabic"
    " asmo708 ecma114"
    " csisolatinarabic isoir127",
    "iso8859-7": "iso88597 iso885971987 greek greek8 ecma118 elot928 csisolatingreek isoir126"
    " suneugreek",
    "iso8859-8": "iso88598 iso885981988 iso88598e iso88598i csiso88598e csiso88598i hebrew visual"
    " logical"
    " csisolatinhebrew isoir138",
    "iso8859-9": "iso88599 iso885991989 latin5 l5 csisolatin5 isoir148",
    "iso8859-10": "iso885910 latin6 l6 csisolatin6 isoir157",
    "iso8859-11": "iso885911",
    "iso8859-13": "iso885913",
    "iso8859-14": "iso885914",
    "iso8859-15": "iso885915 latin9 l9 csisolatin9",
    "iso8859-16": "iso885916",
    "cp866": "ibm866 cp866 866 csibm866",
    "koi8-r": "koi8r koi8 koi cskoi8r",
    "koi8-u": "koi8u koi8ru",
    "mac-roman": "macintosh mac macroman xmacroman csmacintosh",
    "mac-cyrillic": "maccyrillic xmaccyrillic xmacukrainian",
    "cp874": "windows874 cp874 dos874",
    "tis-620": "tis620",
    **{f"cp{page}": f"windows{page} cp{page} xcp{page}" for page in range(1250, 1259)},
    "gb2312": "gb2312 gb231280 chinese csgb2312 csiso58gb231280 isoir58",
    "gbk": "gbk xgbk cp936 windows936",
    "gb18030": "gb18030",
    "big5": "big5 cnbig5 csbig5 xxbig5",
    "big5hkscs": "big5hkscs",
    "euc_jp": "eucjp xeucjp cseucpkdfmtjapanese",
    "iso2022_jp": "iso2022jp csiso2022jp",
    "shift_jis": "shiftjis sjis xsjis mskanji csshiftjis",
    "cp932": "windows31j ms932 cp932",
    "euc_kr": "euckr cseuckr csksc56011987 isoir149 korean ksc56011987 ksc56011989 ksc5601"
    " kscksc5601",
    "cp949": "windows949 cp949 ms949",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
_LONGEST_LABEL = 40
_PUNCTUATION = str.maketrans("", "", " \t-_:.'\"")
# What is longer is read anew each time: what is remembered is bounded in bytes, too.
_LONGEST_REMEMBERED = 200


class MimeType(NamedTuple):
    """A media type in its parts: ``type/subtype+suffix; parameters``, names in lower case."""

    type: str
    subtype: str
    suffix: str
    parameters: MultiDictProxy[str]

    @property
    def essence(self) -> str:
        """``type/subtype+suffix`` without the parameters."""
        return f"{self.type}/{self.subtype}{'+' if self.suffix else ''}{self.suffix}"


def parse_mimetype(value: str) -> MimeType:
    """Take a Content-Type value apart (RFC 9110 8.3.1); what does not look like one gives empty
    parts.

    >>> parsed = parse_mimetype('application/problem+json; charset="utf-8"')
    >>> parsed.type, parsed.subtype, parsed.suffix, parsed.parameters["charset"]
    ('application', 'problem', 'json', 'utf-8')
    """
    return _remembered(value) if len(value) <= _LONGEST_REMEMBERED else _read(value)


def _read(value: str) -> MimeType:
    essence, _, rest = value.partition(";")
    essence = essence.strip().lower()
    if essence == "*":
        essence = "*/*"
    main, _, sub = essence.partition("/")
    sub, _, suffix = sub.partition("+")
    parameters: MultiDict[str] = MultiDict()
    for item in split(rest, ";"):
        name, _, text = item.partition("=")
        name = name.strip().lower()
        if name:
            parameters.add(name, _unquote(text.strip()))
    return MimeType(main, sub, suffix, MultiDictProxy(parameters))


_remembered = functools.lru_cache(maxsize=256)(_read)


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    # Leniently: a string without its end is what it has.
    inner = text[1:-1] if text.endswith('"') and len(text) > 1 else text[1:]
    return unescaped(inner)


def known_charset(name: str | None) -> str | None:
    """The name by which Python knows a text encoding that a server may choose, or None if it is
    none.

    >>> known_charset("Windows-1252"), known_charset("punycode")
    ('cp1252', None)
    """
    if not name or len(name) > _LONGEST_LABEL or not name.isascii():
        return None
    # Not `codecs.lookup`: it remembers every name that it was ever asked for.
    return _CODECS.get(name.lower().translate(_PUNCTUATION))


def text_type(content_type: str | None, encoding: str | None) -> tuple[str, str]:
    """(content type, encoding) of a text that is sent; what is not said follows from the other, or
    is UTF-8.
    """
    if encoding is None:
        encoding = "utf-8"
        if content_type is not None:
            encoding = parse_mimetype(content_type).parameters.get("charset", encoding)
    if content_type is None:
        content_type = f"text/plain; charset={encoding}"
    return content_type, encoding


def bom_encoding(body: bytes) -> str | None:
    """The encoding that a byte order mark at the start of `body` tells; decoding with it drops the
    mark.
    """
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding
    return None


def is_json_type(content_type: str) -> bool:
    """Whether it is ``application/json``, or of any type with the ``+json`` suffix (RFC 6839
    3.1).
    """
    parsed = parse_mimetype(content_type)
    if parsed.suffix:
        # RFC 6838 4.2.8: what follows the last plus.
        return parsed.suffix.rpartition("+")[2] == "json"
    return parsed.type == "application" and parsed.subtype == "json"
