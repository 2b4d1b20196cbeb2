"""Digest arithmetic, by the RFCs' own examples."""

from __future__ import annotations

import hashlib

import pytest

from wherry.auth import digest
from wherry.auth.challenge import parse_challenges, parse_params
from wherry.auth.digest import (
    SUPPORTED_ALGORITHMS,
    DigestChallenge,
    choose_challenge,
    choose_qop,
    proves,
    read_authentication_info,
    respond,
)
from wherry.errors import ClientError

RFC7616_MD5 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC7616_SHA256 = RFC7616_MD5.replace("MD5", "SHA-256")
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def chosen(*values: str) -> DigestChallenge:
    challenge = choose_challenge(parse_challenges(values))
    assert challenge is not None
    return challenge


def sent(value: str) -> dict[str, str]:
    assert value.startswith("Digest ")
    return parse_params(value.removeprefix("Digest "))


def test_rfc_7616_3_9_1_md5() -> None:
    answer = respond(
        chosen(RFC7616_MD5), "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce=CNONCE
    )
    params = sent(answer.value)
    assert params["response"] == "8ca523f5e9506fed4657c9700eebdbec"
    assert params == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": "MD5",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "nc": "00000001",
        "cnonce": CNONCE,
        "qop": "auth",
        "response": "8ca523f5e9506fed4657c9700eebdbec",
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }


def test_rfc_7616_3_9_1_sha_256_is_chosen_before_md5() -> None:
    challenge = chosen(RFC7616_MD5, RFC7616_SHA256)
    answer = respond(challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce=CNONCE)
    assert (
        sent(answer.value)["response"]
        == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    )


def test_rfc_7616_3_9_2_sha_512_256_with_a_hashed_name() -> None:
    challenge = chosen(
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    answer = respond(
        challenge,
        "Jäsøn Doe",
        "Secret, or not?",
        "GET",
        "/doe.json",
        cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    )
    params = sent(answer.value)
    # Both are those of erratum 4897: the RFC printed what an early draft of SHA-512/256 gives.
    assert params["userhash"] == "true"
    name = hashlib.new("sha512_256", "Jäsøn Doe:api@example.org".encode()).hexdigest()
    assert (
        params["username"]
        == name
        == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    )
    assert params["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_rfc_2617_3_5() -> None:
    challenge = chosen(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    answer = respond(
        challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", cnonce="0a4f113b"
    )
    assert sent(answer.value)["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in sent(answer.value)


def test_rfc_2069_2_4_without_qop() -> None:
    """S001-15; the response is that of the RFC's errata 749."""
    challenge = chosen(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    answer = respond(challenge, "Mufasa", "CircleOfLife", "GET", "/dir/index.html", qop="")
    params = sent(answer.value)
    assert params["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert not {"qop", "nc", "cnonce"} & params.keys()
    assert answer.proof is None


def test_auth_int_covers_the_body_and_sess_the_client_nonce() -> None:
    challenge = DigestChallenge("r", "n", "SHA-256-sess", ("auth-int",))
    answer = respond(
        challenge, "u", "p", "POST", "/x?y=1", qop="auth-int", body=b"body", count=255, cnonce="c"
    )

    def hashed(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    a1 = hashed(f"{hashed('u:r:p')}:n:c")
    a2 = hashed(f"POST:/x?y=1:{hashed('body')}")
    assert sent(answer.value)["response"] == hashed(f"{a1}:n:000000ff:c:auth-int:{a2}")
    assert sent(answer.value)["nc"] == "000000ff"
    assert answer.proof is not None
    assert answer.proof(b"what came") != answer.proof(b"what was put in its place")


def test_a_session_without_qop_sends_its_client_nonce() -> None:
    params = sent(
        respond(
            DigestChallenge("r", "n", "MD5-sess"), "u", "p", "GET", "/", qop="", cnonce="c"
        ).value
    )
    assert params["cnonce"] == "c"
    assert "qop" not in params


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["MD5", "SHA-256", "SHA-512-256"], "SHA-512-256"),
        (["MD5-sess", "MD5"], "MD5-sess"),
        (["SHA-999", "MD5"], "MD5"),
        (["sha-256", "MD5"], "sha-256"),
        (["SHA", "MD5"], "SHA"),
        (["SHA-256", "SHA-512"], "SHA-512"),
    ],
)
def test_the_strongest_known_algorithm_is_taken(offered: list[str], taken: str) -> None:
    values = [f'Digest realm="r", nonce="n", algorithm={name}' for name in offered]
    assert chosen(*values).algorithm == taken
    assert chosen(", ".join(values)).algorithm == taken


@pytest.mark.parametrize(
    "value",
    [
        'Basic realm="r"',
        'Basic realm="r", nonce="n"',
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", algorithm=SHA-3',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        "Digest",
    ],
)
def test_what_cannot_be_answered_is_passed_over(value: str) -> None:
    assert choose_challenge(parse_challenges([value])) is None


def test_which_qop_is_used() -> None:
    """S001-16"""
    assert choose_qop((), 0) == ""
    assert choose_qop(("auth",), 0) == "auth"
    assert choose_qop(("auth-int",), None) == "auth-int"
    assert choose_qop(("auth", "auth-int"), 10) == "auth-int"
    assert choose_qop(("auth", "auth-int"), None) == "auth"
    assert choose_qop(("auth", "auth-int"), 10**9) == "auth"


def test_a_name_beyond_ascii() -> None:
    plain = DigestChallenge("r", "n")
    assert 'username="Jäsøn"' in respond(plain, "Jäsøn", "p", "GET", "/").value
    asked = plain._replace(charset="UTF-8")
    assert "username*=UTF-8''J%C3%A4s%C3%B8n" in respond(asked, "Jäsøn", "p", "GET", "/").value
    old = plain._replace(charset="ISO-8859-1")
    value = respond(old, "Jäsøn", "p", "GET", "/", qop="", cnonce="c").value
    assert b'username="J\xe4s\xf8n"' in value.encode("utf-8", "surrogateescape")
    a1 = hashlib.md5("Jäsøn:r:p".encode("latin-1")).hexdigest()
    a2 = hashlib.md5(b"GET:/").hexdigest()
    assert hashlib.md5(f"{a1}:n:{a2}".encode()).hexdigest() in value


def test_a_decomposed_name_is_composed_first() -> None:
    challenge = DigestChallenge("r", "n")
    both = [
        respond(challenge, name, "p", "GET", "/", cnonce="c").value
        for name in ("\u00e4", "a\u0308")
    ]
    assert both[0] == both[1]


def test_quotes_and_backslashes_survive() -> None:
    challenge = chosen(r'Digest realm="a\"b\\c", nonce="n\"", opaque="o\\"')
    params = sent(respond(challenge, 'u"\\', "p", "GET", "/").value)
    assert (params["realm"], params["nonce"], params["opaque"]) == ('a"b\\c', 'n"', "o\\")
    assert params["username"] == 'u"\\'


def test_client_nonces_differ() -> None:
    challenge = DigestChallenge("r", "n", qops=("auth",))
    assert (
        respond(challenge, "u", "p", "GET", "/").cnonce
        != respond(challenge, "u", "p", "GET", "/").cnonce
    )


def test_the_server_must_prove_itself_rightly() -> None:
    answer = respond(DigestChallenge("r", "n", qops=("auth",)), "u", "p", "GET", "/", cnonce="c")
    a1 = hashlib.md5(b"u:r:p").hexdigest()
    a2 = hashlib.md5(b":/").hexdigest()
    good = hashlib.md5(f"{a1}:n:00000001:c:auth:{a2}".encode()).hexdigest()
    assert proves(
        answer, read_authentication_info(f'rspauth="{good}", cnonce="c", nc=00000001, qop=auth')
    )
    assert not proves(answer, read_authentication_info(f'rspauth="{good[::-1]}", qop=auth'))
    assert not proves(answer, read_authentication_info(f'rspauth="{good}", cnonce="d", qop=auth'))
    assert proves(answer, read_authentication_info('nextnonce="m"'))
    assert read_authentication_info('nextnonce="m"').nextnonce == "m"


@pytest.mark.parametrize(
    ("name", "hashed"),
    [("SHA512", "sha512"), ("SHA-512", "sha512"), ("SHA256", "sha256"), ("SHA-256", "sha256"),
     ("SHA", "sha1"), ("MD5", "md5"), ("SHA-512-256", "sha512_256")],
)  # fmt: skip
def test_each_name_of_an_algorithm_is_its_hash(name: str, hashed: str) -> None:
    challenge = chosen(f'Digest realm="r", nonce="n", algorithm={name}')
    assert challenge.hash(b"x") == hashlib.new(hashed, b"x").hexdigest()
    assert name in SUPPORTED_ALGORITHMS
    assert f"{name}-SESS" in SUPPORTED_ALGORITHMS


def test_a_body_is_hashed_unasked_up_to_a_mebibyte() -> None:
    offered = ("auth", "auth-int")
    assert choose_qop(offered, 2**20) == "auth-int"
    assert choose_qop(offered, 2**20 + 1) == "auth"
    assert choose_qop(offered, None) == "auth"
    assert choose_qop(("auth-int",), 2**21) == "auth-int"


def test_what_a_challenge_does_not_say_is_no() -> None:
    bare = DigestChallenge("r", "n")
    assert (bare.stale, bare.userhash, bare.charset, bare.opaque) == (False, False, "", None)
    with_body = respond(bare, "me", "mine", "GET", "/", qop="auth-int", cnonce="c")
    assert (
        with_body.value
        == respond(bare, "me", "mine", "GET", "/", qop="auth-int", body=b"", cnonce="c").value
    )
    assert "mine" not in repr(with_body)
    assert "'n'" in repr(with_body)


@pytest.mark.parametrize(
    "challenge",
    ['Digest realm="r", nonce="n", algorithm="MD5é"',
     # In capitals the long s is an S.
     'Digest realm="r", nonce="n", algorithm="\u017fHA-256"', 'Digest realm="r\x01", nonce="n"',
     'Digest realm="r", nonce="n\x7f"'],
)  # fmt: skip
def test_what_cannot_be_sent_back_cannot_be_answered(challenge: str) -> None:
    assert choose_challenge(parse_challenges([challenge])) is None


def test_a_plain_name_is_sent_plainly_whatever_the_charset() -> None:
    challenge = chosen('Digest realm="r", nonce="n", charset=UTF-8')
    assert 'username="Mufasa"' in respond(challenge, "Mufasa", "x", "GET", "/").value
    assert "username*=UTF-8''J%C3%A4s" in respond(challenge, "Jäs", "x", "GET", "/").value


# --- each word of a challenge and of a proof ------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("iso-8859-1", "latin-1"), ("ISO-8859-1", "latin-1"), ("latin1", "latin-1"),
     ("Latin-1", "latin-1"), ("utf-8", "utf-8"), ("", "utf-8"), ("cp1252", "utf-8")],
)  # fmt: skip
def test_in_which_encoding_name_and_password_go(charset: str, encoding: str) -> None:
    assert DigestChallenge("r", "n", charset=charset).encoding == encoding


def test_each_parameter_of_a_challenge_is_read() -> None:
    said = chosen(
        'Digest realm="r", nonce="n", qop="AUTH-INT", opaque="", domain="/a  https://b.test/", '
        "stale=TRUE, userhash=True, charset=UTF-8, algorithm=md5-sess"
    )
    assert said == DigestChallenge(
        "r", "n", "md5-sess", ("auth-int",), "", ("/a", "https://b.test/"), True, True, "UTF-8"
    )
    assert said.is_session
    assert chosen('Digest realm="r", nonce="n", qop=" auth-int , auth ,"').qops == (
        "auth",
        "auth-int",
    )
    assert chosen('Digest realm="r", nonce="n", qop=" , "').qops == ()
    said = chosen('Digest realm="r", nonce="n", stale=false, userhash="no"')
    assert said == DigestChallenge("r", "n")
    assert said.domain == ()
    assert not said.is_session


def test_an_answer_shows_nothing_but_what_it_answers() -> None:
    answer = respond(DigestChallenge("r", "n"), "u", "p", "GET", "/", count=10)
    assert repr(answer) == "<DigestAnswer to the nonce 'n', nc=0000000a>"


def test_a_password_that_the_server_cannot_take_is_not_shown() -> None:
    challenge = DigestChallenge("r", "n", charset="iso-8859-1")
    for login, password in (("u", "Ses\u20acme"), ("Ses\u20acme", "p")):
        with pytest.raises(ClientError, match="in LATIN-1, which") as caught:
            respond(challenge, login, password, "GET", "/")
        assert "Ses" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_bytes_that_are_no_text_are_hashed_as_they_came() -> None:
    challenge = DigestChallenge("\udcff", "\udcfe", qops=("auth",))
    value = respond(challenge, "u", "p", "GET", "/", cnonce="c").value
    a1 = hashlib.md5(b"u:\xff:p").hexdigest().encode()
    a2 = hashlib.md5(b"GET:/").hexdigest().encode()
    expected = hashlib.md5(a1 + b":\xfe:00000001:c:auth:" + a2).hexdigest()
    assert f'response="{expected}"' in value


def test_how_names_of_other_alphabets_are_written() -> None:
    old = respond(DigestChallenge("r", "n", charset="latin1"), "J\xe4s", "p", "GET", "/").value
    assert old.encode("utf-8", "surrogateescape").startswith(b'Digest username="J\xe4s", realm="r"')
    new = respond(
        DigestChallenge("r", "n", charset="UTF-8"), "\xe4!#$&+-.^_`|~ '()*%", "p", "GET", "/"
    ).value
    # RFC 8187 3.2.1: attr-char stays as it is, all else is encoded.
    assert new.startswith("Digest username*=UTF-8''%C3%A4!#$&+-.^_`|~%20%27%28%29%2A%25, realm=")


def test_each_parameter_of_authentication_info_is_read() -> None:
    said = read_authentication_info(
        'nextnonce="m", rspauth="ab", qop=AUTH, cnonce="c", nc=00000002'
    )
    assert said == ("m", "ab", "auth", "c", "00000002")
    assert read_authentication_info("") == (None, None, "", None, None)
    # An empty nonce is none that could be used.
    assert read_authentication_info('nextnonce=""').nextnonce is None


def rspauth(qop: str, body: bytes = b"") -> str:
    """What the server must say, by RFC 7616 3.5."""
    a1 = hashlib.md5(b"u:r:p").hexdigest()
    entity = f":{hashlib.md5(body).hexdigest()}" if qop == "auth-int" else ""
    a2 = hashlib.md5(f":/{entity}".encode()).hexdigest()
    return hashlib.md5(f"{a1}:n:00000001:c:{qop}:{a2}".encode()).hexdigest()


@pytest.mark.parametrize(
    ("qop", "info", "body", "proven"),
    [
        ("auth", f'rspauth="{rspauth("auth")}"', b"", True),
        ("auth", f'rspauth="{rspauth("auth").upper()}", qop=AUTH', b"", True),
        ("auth", f'rspauth="{rspauth("auth")}", cnonce="c"', b"", True),
        ("auth", f'rspauth="{rspauth("auth")}", cnonce=""', b"", False),
        ("auth", f'rspauth="{rspauth("auth")}", cnonce="d"', b"", False),
        ("auth", 'rspauth="00"', b"", False),
        ("auth", 'rspauth="00", qop=auth', b"", False),
        ("auth", 'rspauth=""', b"", False),
        ("auth", 'rspauth="\udcff"', b"", False),
        # It covers what this answer does not: nothing can be said of it.
        ("auth", 'rspauth="00", qop=auth-int', b"", True),
        ("auth", 'qop=auth, cnonce="d"', b"", True),
        ("auth-int", f'rspauth="{rspauth("auth-int")}"', b"", True),
        ("auth-int", f'rspauth="{rspauth("auth-int", b"x")}"', b"x", True),
        ("auth-int", f'rspauth="{rspauth("auth-int", b"x")}"', b"y", False),
        # RFC 2069 had no proof.
        ("", 'rspauth="00"', b"", True),
    ],
)
def test_what_proves_a_server(qop: str, info: str, body: bytes, proven: bool) -> None:
    answer = respond(DigestChallenge("r", "n"), "u", "p", "GET", "/", qop=qop, cnonce="c")
    assert proves(answer, read_authentication_info(info), body) is proven
    if not body:
        assert proves(answer, read_authentication_info(info)) is proven


def test_hashes_serve_where_openssl_lets_none_be_used_for_security(monkeypatch) -> None:
    """As in FIPS mode; and one that it does not have at all is not offered."""
    real = hashlib.new

    def new(name: str, *data: bytes, usedforsecurity: bool = True):
        if usedforsecurity:
            raise ValueError("disabled for FIPS")
        return real(name, *data, usedforsecurity=False)

    monkeypatch.setattr(digest.hashlib, "new", new)
    made = digest._hash("md5")
    assert made is not None
    assert made(b"") == "d41d8cd98f00b204e9800998ecf8427e"
    assert digest._hash("sha3-none") is None
