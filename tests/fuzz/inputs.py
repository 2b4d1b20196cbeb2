"""Bytes that lead far into parsers: what peers write, cut and joined anew."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = [
    b'"', b"\\", b"=", b";", b",", b" ", b"\t", b"<", b">", b"'", b"%", b"*", b"/", b":", b"@", b"[", b"]", b"{", b"}",
    b"-", b".", b"\0", b"\x01", b"\x1b", b"\x7f", b"\x80", b"\xff", b"\r\n", b"\n", b"\r", b"0", b"1", b"9" * 20, b"9" * 400,
    "²".encode(), "ä".encode(), "€".encode(), "\u2028".encode(), b"\xed\xa0\x80", b"\xef\xbb\xbf", b"a", b"filename",
    b"filename*", b"filename*0*=", b"utf-8''", b"utf-7''%2B2AA-", b"punycode''", b"charset=", b"realm=", b"nonce=", b"qop=auth",
    b"algorithm=", b"SHA-256-sess", b"domain=", b"opaque=", b"userhash=true", b"rspauth=", b"Digest ", b"Basic ", b"max-age=",
    b"no-cache=", b"private", b"expires=", b"domain=.", b"path=/", b"Mon, 01 Jan 2024 00:00:00 GMT", b"99999999999", b"+9999",
    b"http://", b"https://", b"//", b"[::1]", b":43@", b"xn--", b"..", b".com", b"?#", b"permessage-deflate",
    b"server_max_window_bits=", b"client_no_context_takeover", b"--A\r\n", b"--A--\r\n", b"Content-Type: ", b"multipart/mixed; boundary=B",
    b'Content-Disposition: form-data; name="', b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"data: ", b"id: ",
    b"event: ", b"retry: ", b"\n\n", b"[" * 2000, b'{"a": ', b"1e999", b"NaN", b"null", b'"\\ud800"', b"\x1f\x8b\x08\x00",
    b"x\x9c", b"\x28\xb5\x2f\xfd", b"\x81\x05hello", b"\x88\x02\x03\xe8", b"\xc1\x07", b"\x82\x86\x84", b"\x3f\xff\xff\xff\xff",
    b"\xc0\x0c\x00\x01", b"\x05\x00", b"\x05\x00\x00\x01", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.0 ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Upgrade: x\r\n", b"\r\n\r\n", b"2\r\nhi\r\n", b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b";x=y\r\n", b"ffffffffffffffff\r\n",
    b"\0\0\1\1\5\0\0\0\1\x88", b"\0\0\2\0\1\0\0\0\1hi", b"\0\0\4\3\0\0\0\0\1\0\0\0\7", b"\0\0\4\x08\0\0\0\0\0\0\0\0\1", b"\0\0\0\x09\4\0\0\0\1",
    b"\0\0\6\4\0\0\0\0\0\0\1\xff\xff\xff\xff", b"\0\0\x08\7\0\0\0\0\0\0\0\0\1\0\0\0\0", b"machine ", b"login ", b"default ", b"macdef x", b"password ",
    b'"domain": "a.test", "host_only": false, "path": "/", "secure": true, "received": 1', b"}]}", b"}}}", b'"expires": ', b"TRUE\t", b"\t",
]  # fmt: skip


def inputs() -> st.SearchStrategy[bytes]:
    """A few words and a few bytes, in any order."""
    word = st.sampled_from(WORDS) | st.binary(min_size=1, max_size=4)
    return st.lists(word, max_size=24).map(b"".join)
