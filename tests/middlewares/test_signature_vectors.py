"""RFC 9421's own examples: its appendix B, and those of section 2; the keys are those of B.1.

No example is signed by RSASSA-PKCS1-v1_5.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from wherry import ClientError
from wherry.middlewares.signatures import SignedMessage, hmac_sha256, signature_base
from wherry.middlewares.structured_fields import dictionary_of, list_of, parameters_of, strict

RSA_PSS = """
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2+QEtvpuRaV8Yq40gjUR8y2Rj
xa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIF
PNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5WUtzdpiy6
LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdD
Op9LCNCN48V2pnDOkFV6+U9nV5oyc6XI2wIDAQAB
"""
P256 = """
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM
4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
"""
ED25519 = "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="
ED25519_SECRET = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
SHARED = """
uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==
"""

REQUEST = SignedMessage(
    CIMultiDict(
        {
            "Host": "example.com",
            "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "Content-Type": "application/json",
            "Content-Digest": "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm"
            "+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
            "Content-Length": "18",
        }
    ),
    "POST",
    URL("https://example.com/foo?param=Value&Pet=dog"),
)
RESPONSE = SignedMessage(
    CIMultiDict(
        {
            "Date": "Tue, 20 Apr 2021 02:07:56 GMT",
            "Content-Type": "application/json",
            "Content-Digest": "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41Q"
            "JgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:",
            "Content-Length": "23",
        }
    ),
    status=200,
)
PROXIED = SignedMessage(
    CIMultiDict(
        {
            "Client-Cert": ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyB"
            "BdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAx"
            "MjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/"
            "IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBA"
            "IwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgY"
            "IKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1"
            "vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"
        }
    ),
    "POST",
    URL("https://service.internal.example/foo?param=Value&Pet=dog"),
)


def by_rsa_pss(base: bytes, signature: bytes) -> None:
    key: Any = load_der_public_key(base64.b64decode(RSA_PSS))
    method = padding.PSS(mgf=padding.MGF1(hashes.SHA512()), salt_length=64)
    key.verify(signature, base, method, hashes.SHA512())


def by_p256(base: bytes, signature: bytes) -> None:
    key: Any = load_der_public_key(base64.b64decode(P256))
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), base, ec.ECDSA(hashes.SHA256()))


def by_ed25519(base: bytes, signature: bytes) -> None:
    key: Any = load_der_public_key(base64.b64decode(ED25519))
    key.verify(signature, base)
    secret: Any = load_pem_private_key(ED25519_SECRET, None)
    assert secret.sign(base) == signature  # it is the same each time


def by_hmac(base: bytes, signature: bytes) -> None:
    if hmac_sha256(base64.b64decode(SHARED))(base) != signature:
        raise InvalidSignature


class Example(NamedTuple):
    section: str
    message: SignedMessage
    components: list[str]
    params: dict[str, str | int]
    check: Callable[[bytes, bytes], None]
    signature: str


CREATED = 1618884473
EXAMPLES = [
    Example(
        "B.2.1",
        REQUEST,
        [],
        {"created": CREATED, "keyid": "test-key-rsa-pss", "nonce": "b3k2pp5k7z-50gnwp.yemd"},
        by_rsa_pss,
        "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtR"
        "xf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhz"
        "x2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP"
        "5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
    ),
    Example(
        "B.2.2",
        REQUEST,
        ["@authority", "content-digest", '@query-param;name="Pet"'],
        {"created": CREATED, "keyid": "test-key-rsa-pss", "tag": "header-example"},
        by_rsa_pss,
        "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE"
        "5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17S"
        "ARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY"
        "3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
    ),
    Example(
        "B.2.3",
        REQUEST,
        [
            "date", "@method", "@path", "@query", "@authority", "content-type", "content-digest",
            "content-length",
        ],
        {"created": CREATED, "keyid": "test-key-rsa-pss"},
        by_rsa_pss,
        "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRp"
        "RRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH"
        "1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui"
        "9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==",
    ),
    Example(
        "B.2.4",
        RESPONSE,
        ["@status", "content-type", "content-digest", "content-length"],
        {"created": CREATED, "keyid": "test-key-ecc-p256"},
        by_p256,
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
    ),
    Example(
        "B.2.5",
        REQUEST,
        ["date", "@authority", "content-type"],
        {"created": CREATED, "keyid": "test-shared-secret"},
        by_hmac,
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
    ),
    Example(
        "B.2.6",
        REQUEST,
        ["date", "@method", "@path", "@authority", "content-type", "content-length"],
        {"created": CREATED, "keyid": "test-key-ed25519"},
        by_ed25519,
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
    Example(
        "B.3",
        PROXIED,
        ["@path", "@query", "@method", "@authority", "client-cert"],
        {"created": CREATED, "keyid": "test-key-ecc-p256"},
        by_p256,
        "xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==",
    ),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.section)
def test_appendix_b(example: Example) -> None:
    signature = base64.b64decode(example.signature)
    base, told = signature_base(example.components, example.params, example.message)
    assert base.endswith(f'"@signature-params": {told}')
    example.check(base.encode(), signature)
    with pytest.raises(InvalidSignature):
        example.check(base.encode() + b" ", signature)


@pytest.mark.parametrize(
    ("url", "method", "accept", "holds"),
    [
        ("https://example.org/demo?name1=Value1&Name2=value2", "GET", "application/json|*/*", True),
        ("https://example.org/demo?name1=Value1&param=added", "GET", "application/json|*/*", True),
        ("https://example.org/demo?name1=Value1", "GET", "application/json, */*", True),
        ("https://example.com/demo?name1=Value1", "POST", "application/json|*/*", False),
        ("https://example.org/demo?name1=Value1", "GET", "*/*|application/json", False),
    ],
)
def test_b_4_what_may_change_on_the_way(url: str, method: str, accept: str, holds: bool) -> None:
    fields = CIMultiDict([("Accept", value) for value in accept.split("|")])
    base, _ = signature_base(
        ["@method", "@path", "@authority", "accept"],
        {"created": CREATED, "keyid": "test-key-ed25519"},
        SignedMessage(fields, method, URL(url)),
    )
    signature = base64.b64decode(
        "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA=="
    )
    if holds:
        by_ed25519(base.encode(), signature)
    else:
        with pytest.raises(InvalidSignature):
            by_ed25519(base.encode(), signature)


FIELDS = SignedMessage(
    CIMultiDict(
        [
            ("X-OWS-Header", "  Leading and trailing whitespace.   "),
            ("Cache-Control", "max-age=60"),
            ("X-Empty-Header", ""),
            ("Cache-Control", "   must-revalidate"),
            ("Example-Dict", " a=1,    b=2;x=1;y=2,   c=(a   b   c), d  "),
            ("Example-Header", "value, with, lots"),
            ("Example-Header", "of, commas"),
        ]
    ),
    "GET",
    URL(
        "https://www.example.com/parameters?var=this%20is%20a%20big%0Amultiline%20value&"
        "bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&param=value&qux=&twice=1&twice=2"
    ),
    trailers=CIMultiDict({"Expires": "Wed, 9 Nov 2022 07:28:00 GMT"}),
)


@pytest.mark.parametrize(
    "line",
    [
        '"x-ows-header": Leading and trailing whitespace.',
        '"cache-control": max-age=60, must-revalidate',
        '"x-empty-header": ',
        '"example-dict": a=1,    b=2;x=1;y=2,   c=(a   b   c), d',
        '"example-dict";sf: a=1, b=2;x=1;y=2, c=(a b c), d',
        '"example-dict";key="a": 1',
        '"example-dict";key="b": 2;x=1;y=2',
        '"example-dict";key="c": (a b c)',
        '"example-dict";key="d": ?1',
        '"example-header": value, with, lots, of, commas',
        '"example-header";bs: :dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:',
        '"expires";tr: Wed, 9 Nov 2022 07:28:00 GMT',
        '"@query-param";name="param": value',
        '"@query-param";name="qux": ',
        '"@query-param";name="var": this%20is%20a%20big%0Amultiline%20value',
        '"@query-param";name="bar": with%20plus%20whitespace',
        '"@query-param";name="fa%C3%A7ade%22%3A%20": something',
    ],
)
def test_section_2(line: str) -> None:
    part = line.partition(": ")[0]
    base, told = signature_base([part], {}, FIELDS)
    assert base == f'{line}\n"@signature-params": ({part})'
    assert told == f"({part})"


def test_section_2_4_a_response_with_parts_of_its_request() -> None:
    base, _ = signature_base(
        ["@status", "@method;req", "content-digest;req", '@query-param;req;name="Pet"'],
        {},
        RESPONSE,
        REQUEST,
    )
    digest = REQUEST.fields["Content-Digest"]
    assert base.split("\n")[:4] == [
        '"@status": 200',
        '"@method";req: POST',
        f'"content-digest";req: {digest}',
        '"@query-param";req;name="Pet": dog',
    ]


@pytest.mark.parametrize(
    ("message", "request_", "part", "why"),
    [
        (FIELDS, None, '@query-param;name="twice"', "2 parameters"),
        (FIELDS, None, '@query-param;name="none"', "0 parameters"),
        (FIELDS, None, "x-none", "no field"),
        (FIELDS, None, "date;tr", "no field"),
        (REQUEST, None, "date;tr", "no field"),
        (FIELDS, None, 'example-dict;key="z"', "there is no"),
        (FIELDS, None, "x-ows-header;sf", "no structured field"),
        (FIELDS, None, "@status", "no part"),
        (RESPONSE, None, "@method", "no part"),
        (RESPONSE, None, "@method;req", "of the request"),
        (REQUEST, REQUEST, "@method;req", "of the request"),
    ],
)
def test_what_is_not_there_is_not_signed(
    message: SignedMessage, request_: SignedMessage | None, part: str, why: str
) -> None:
    with pytest.raises(ClientError, match=why):
        signature_base([part], {}, message, request_)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("1", "1"),
        ("-007", "-7"),
        ("1.500", "1.5"),
        ("01.0", "1.0"),
        ("-0.5", "-0.5"),
        (r'"a\"b\\"', r'"a\"b\\"'),
        (":aGk:", ":aGk=:"),
        ("@0012", "@12"),
        ('%"f%c3%bc"', '%"f%c3%bc"'),
        ("?0;a=?1;b=?0", "?0;a;b=?0"),
        ("a;  x=1;x=2", "a;x=2"),
        ("a ,\tb", "a, b"),
        ("(  a  b );q=1, ()", "(a b);q=1, ()"),
        ("a=?1;x, b=?0, a=3", "a=3, b=?0"),
        ("a, b;c, a", "a, b;c, a"),
        ("u=1,i", "u=1, i"),
    ],
)
def test_the_strict_form_of_a_field(text: str, written: str) -> None:
    assert strict(text) == written
    assert strict(written) == written


@pytest.mark.parametrize(
    "text",
    [
        "a,", ",a", "a b", "(a", "(a,b)", "1.", "1.2345", "1234567890123456", '"a', '"ü"', ":a b:",
        "?2", "a;", "a;X", "a=", "=1", "a==1", "a\nb", "@1.5", '%"A%C3"', "(a(b))", '("a""b")', ":a:",
    ],
)  # fmt: skip
def test_what_is_no_structured_field(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 9651"):
        strict(text)


@given(st.text())
def test_any_text_is_a_field_or_an_error(text: str) -> None:
    for read in (strict, dictionary_of, list_of, parameters_of):
        with contextlib.suppress(ValueError):
            read(text)
