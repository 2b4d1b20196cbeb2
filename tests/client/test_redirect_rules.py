"""The rules of redirects, one by one and without a network: every branch of them has its row."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from wherry import (
    BasicAuth,
    ClientPayloadError,
    InvalidUrlRedirectClientError,
    NonHttpUrlRedirectClientError,
)
from wherry.body.payload.form import payload_of
from wherry.client.sending.redirect_rules import (
    REDIRECT_STATUSES,
    Leg,
    next_leg,
    redirect_method,
    redirect_url,
    split_credentials,
)

MINE = BasicAuth("me", "mine")
FIELDS = {
    "Authorization": "a", "Cookie": "c", "Proxy-Authorization": "p", "Host": "h", "DPoP": "d",
    "Signature": "s", "Signature-Input": "i", "X": "1", "Digest": "1", "Expect": "1",
    "Idempotency-Key": "1", "Last-Modified": "1", "Repr-Digest": "1", "Trailer": "1",
    "Transfer-Encoding": "1", "Content-Any": "1", "X-Content-Y": "1",
}  # fmt: skip
OF_ORIGIN = {
    "Authorization", "Cookie", "Proxy-Authorization", "Host", "DPoP", "Signature", "Signature-Input",
}  # fmt: skip
OF_CONTENT = {
    "Digest", "Expect", "Idempotency-Key", "Last-Modified", "Repr-Digest", "Signature",
    "Signature-Input", "Trailer", "Transfer-Encoding", "Content-Any",
}  # fmt: skip


def leg(url: str = "https://a.test/x", **options: Any) -> Leg:
    return Leg(
        options.pop("method", "GET"),
        URL(url),
        options.pop("headers", FIELDS),
        options.pop("data", None),
        options.pop("auth", MINE),
        **options,
    )


def after(start: Leg, location: str, status: int = 307, **options: Any) -> Leg:
    following = next_leg(start, start.url, status, location, **options)
    assert following is not None
    return following


def names(of: Leg) -> set[str]:
    headers: Any = of.headers
    return set(dict(headers))


def test_the_statuses_that_lead_on() -> None:
    assert frozenset({301, 302, 303, 307, 308}) == REDIRECT_STATUSES
    for status in range(100, 600):
        led = next_leg(leg(), URL("https://a.test/x"), status, "/y") is not None
        assert led is (status in {301, 302, 303, 307, 308})
        assert next_leg(leg(), URL("https://a.test/x"), status, None) is None
        assert next_leg(leg(), URL("https://a.test/x"), status, "") is None


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("POST", {301: "GET", 302: "GET", 303: "GET"}),
        ("PUT", {303: "GET"}),
        ("PATCH", {303: "GET"}),
        ("DELETE", {303: "GET"}),
        ("GET", {}),
        ("HEAD", {}),
    ],
)
def test_the_method_of_the_next_request(method: str, changes: dict[int, str]) -> None:
    for status in REDIRECT_STATUSES:
        assert redirect_method(method, status) == changes.get(status, method)


@pytest.mark.parametrize(
    ("there", "same"),
    [("/y", True), ("https://A.test:443/y", True), ("http://a.test/y", False), ("https://b.test/", False),
     ("https://a.test:444/", False)],
)  # fmt: skip
def test_what_belongs_to_an_origin_stays_with_it(there: str, same: bool) -> None:
    following = after(leg(), there)
    assert names(following) == (set(FIELDS) if same else set(FIELDS) - OF_ORIGIN)
    assert following.auth == (MINE if same else None)
    assert following.trusted is same
    assert ("a.test" in following.left) is not same
    if same:
        assert following.headers is FIELDS
        assert following.left == frozenset()


@pytest.mark.parametrize("status", sorted(REDIRECT_STATUSES))
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_what_tells_of_content_goes_with_it(method: str, status: int) -> None:
    body = payload_of(b"x")
    following = after(leg(method=method, data=body), "/y", status)
    goes = status == 303 or (method == "POST" and status in (301, 302))
    assert following.data is (None if goes else body)
    assert names(following) == (set(FIELDS) - OF_CONTENT if goes else set(FIELDS))
    assert following.auth == MINE  # it is the same origin's


def test_without_fields_there_are_none_to_drop() -> None:
    for none in (None, {}, ()):
        following = after(leg(headers=none), "https://b.test/", 303)
        assert not following.headers
        assert following.trusted is False


def test_hosts_that_were_left_are_remembered() -> None:
    first = after(leg(), "https://b.test/")
    assert first.left == {"a.test"}
    second = after(first, "https://c.test/")
    assert second.left == {"a.test", "b.test"}
    assert second.trusted is False
    assert after(second, "https://c.test/z").left == {"a.test", "b.test"}
    assert after(second, "https://a.test/").trusted is False


@pytest.mark.parametrize(
    ("start", "there", "kept_back"),
    [
        ("https://a.test/", "http://b.test/", True),
        ("wss://a.test/", "http://b.test/", True),
        ("https://a.test/", "https://b.test/", False),
        ("http://a.test/", "http://b.test/", False),
        ("http://a.test/", "https://b.test/", False),
    ],
)
def test_out_of_tls_the_new_hosts_own_password_is_kept_back(
    start: str, there: str, kept_back: bool
) -> None:
    assert ("b.test" in after(leg(start), there).left) is kept_back


def test_credentials_of_the_location_supersede() -> None:
    for location in ("https://u:p@a.test/y", "https://u:p@b.test/y"):
        following = after(leg(), location)
        assert following.auth == BasicAuth("u", "p")
        assert (following.url.raw_user, following.url.raw_password) == (None, None)
        assert "Authorization" not in names(following)
    assert after(leg(), "https://u@a.test/").auth == BasicAuth("u", "")
    assert after(leg(), "https://:p@a.test/").auth == BasicAuth("", "p")
    assert "Cookie" in names(after(leg(), "https://u:p@a.test/y"))
    with pytest.raises(InvalidUrlRedirectClientError) as caught:
        after(leg(), "https://u%3Av:secret@a.test/y")
    assert "secret" not in str(caught.value)
    assert split_credentials(URL("http://u:p@h/x")) == (BasicAuth("u", "p"), URL("http://h/x"))
    assert split_credentials(URL("http://h/x")) == (None, URL("http://h/x"))


def test_a_body_that_is_used_up_cannot_go_on() -> None:
    async def stream() -> Any:
        yield b"x"

    used = payload_of(stream())
    assert used is not None
    used._consumed = True
    with pytest.raises(
        ClientPayloadError, match=r"consumed request body \(307 to https://a\.test/y\)"
    ):
        after(leg(method="POST", data=used), "/y")
    assert after(leg(method="POST", data=used), "/y", 303).data is None


@pytest.mark.parametrize(
    ("base", "location", "meant"),
    [
        ("http://h/a/b#f", "c", "http://h/a/c#f"),
        ("http://h/a/b#f", "c#g", "http://h/a/c#g"),
        ("http://h/a", "c", "http://h/c"),
        ("http://h/a", "//k/c", "http://k/c"),
        ("https://h/a", "//k/c", "https://k/c"),
        ("http://h/a", "http:c", "http://h/c"),
        ("http://h/a#f", "https://k/", "https://k/#f"),
        # A URL in a query is no place for the host.
        ("http://h/a", "/in?to=http://", "http://h/in?to=http://"),
    ],
)
def test_where_a_location_leads(base: str, location: str, meant: str) -> None:
    assert redirect_url(URL(base), location) == URL(meant)
    assert str(redirect_url(URL(base), location)) == meant


@pytest.mark.parametrize(
    "location", ["http://", "https://?x", "http://:80/", "http://h:port/", "http://[::1/"]
)
def test_a_location_without_a_host_is_none(location: str) -> None:
    with pytest.raises(InvalidUrlRedirectClientError) as caught:
        redirect_url(URL("http://h/"), location)
    # What the server wrote is told, and not what became of it.
    assert str(caught.value.url).startswith(location.partition("?")[0])


@pytest.mark.parametrize(
    "location",
    [
        "ftp://h/",
        "mailto:x",
        "ws://h/",
        "javascript:alert(1)",
        "file:///x",
        "slack://instance/room",
        "slack://instance/?room=1",
        "bluesky://profile/d:i:d",
        "a.b+c-1://h/p?q=r",
        "x://h",
    ],
)
def test_a_location_is_http(location: str) -> None:
    """Other schemes' URLs keep their scheme and host: they are no paths of the server that was
    asked.
    """
    with pytest.raises(NonHttpUrlRedirectClientError, match=f"^{re.escape(location)}( |$)"):
        redirect_url(URL("http://h/"), location)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/a b", "/a%20b"),
        ("/a%2fb", "/a%2fb"),
        ("/A_%26_B?x=%26&y=%2B+%20#%26", "/A_%26_B?x=%26&y=%2B+%20#%26"),
        ("/%7euser/%41?%3d", "/%7euser/%41?%3d"),
        ("/caf\udce9", "/caf%E9"),
        ("/caf\xe9", "/caf%C3%A9"),
        ("?q=\udcff\udc80", "/d/e?q=%FF%80"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ('/<x>"|{}^`\\', "/%3Cx%3E%22%7C%7B%7D%5E%60%5C"),
        ("/x/../a%2e%2e/b", "/a%2e%2e/b"),
        ("http://h/x/./../y%2F", "/y%2F"),
        (" /a ", "/a"),
        ("/sub:path", "/sub:path"),
    ],
)
def test_a_location_stays_as_it_was_sent_and_what_no_url_may_hold_is_quoted(
    location: str, target: str
) -> None:
    url = redirect_url(URL("http://h/d/e"), location)
    assert url == URL(f"http://h{target}", encoded=True)
    assert str(url) == f"http://h{target}"


def test_a_host_outside_ascii_is_looked_up_by_its_a_label_and_the_path_stays() -> None:
    url = redirect_url(URL("http://h/"), "https://B\xfccher.test:443/%26\udce9")
    assert (url.raw_host, url.raw_path) == ("xn--bcher-kva.test", "/%26%E9")


@pytest.mark.parametrize("location", ["/caf\ud800", "http://\udce9/"])
def test_letters_that_are_none_are_no_location(location: str) -> None:
    with pytest.raises(InvalidUrlRedirectClientError):
        redirect_url(URL("http://h/"), location)


def test_a_backslash_ends_the_host() -> None:
    # As in browsers: who reads on would be led to evil.test.
    url = redirect_url(URL("http://h/"), "http://good.test\\@evil.test/")
    assert str(url) == "http://good.test/%5C@evil.test/"


def test_without_requoting_only_what_no_request_carries_is_quoted() -> None:
    base = URL("http://h/")
    assert str(redirect_url(base, "/<%zz> \udce9", requote=False)) == "http://h/<%zz>%20%E9"
    assert redirect_url(base, "/a%2fb", requote=False).raw_path == "/a%2fb"
    assert after(leg(), "/a%2fb", requote=False).url.raw_path == "/a%2fb"
    assert after(leg(), "/<a>", requote=False).url.raw_path == "/<a>"
    assert after(leg(), "/<a>").url.raw_path == "/%3Ca%3E"


@pytest.mark.parametrize(
    ("start", "there", "keeps"),
    [
        ("http://a.test/", "https://a.test/", True),
        ("ws://a.test/", "https://a.test/", False),
        ("http://a.test/", "https://b.test/", False),
        ("http://a.test:81/", "https://a.test/", False),
        ("http://a.test/", "https://a.test:444/", False),
        ("https://a.test/", "http://a.test/", False),
        ("https://a.test/", "https://a.test/x", True),
        ("https://a.test/", "https://b.test/", False),
    ],
)
def test_what_was_said_of_tls_is_for_the_first_host(start: str, there: str, keeps: bool) -> None:
    following = after(leg(start), there)
    assert following.keeps_tls is keeps
    assert after(following, there).keeps_tls is keeps
    assert after(leg(start, keeps_tls=False), there).keeps_tls is False


@pytest.mark.parametrize(
    ("start", "there", "keeps"),
    [
        ("ws://a.test/", "wss://a.test/", True),
        ("ws://a.test/", "https://a.test/", True),
        ("http://a.test/", "wss://a.test/", True),
        ("wss://a.test/", "ws://a.test/", False),
        ("ws://a.test/", "wss://b.test/", False),
        ("ws://a.test/", "wss://a.test:444/", False),
    ],
)
def test_what_was_said_of_tls_is_for_the_first_host_of_a_handshake(
    start: str, there: str, keeps: bool
) -> None:
    assert after(leg(start), there, handshake=True).keeps_tls is keeps


def test_empty_credentials_are_credentials_too() -> None:
    auth, url = split_credentials(URL("http://:@h/"))
    assert auth is None or (auth.login, auth.password) == ("", "")
    assert str(url) == "http://h/"


@pytest.mark.parametrize("name", ["und\xe9", "\u0438\u0432\u0430\u043d", "me\xff"])
def test_credentials_in_a_url_go_out_in_an_encoding_that_has_them(name: str) -> None:
    url = URL("http://h/").with_user(name).with_password("p\xff")
    auth, _ = split_credentials(url)
    assert auth is not None
    assert (auth.login, auth.password) == (name, "p\xff")
    assert auth.encoding == ("latin1" if max(name) <= "\xff" else "utf-8")


@pytest.mark.parametrize(
    ("base", "location", "meant", "trusted"),
    [
        ("ws://a.test/x", "/y", "ws://a.test/y", True),
        ("ws://a.test/x", "//a.test/y", "ws://a.test/y", True),
        ("ws://a.test/x", "ws://a.test/y", "ws://a.test/y", True),
        ("ws://a.test/x", "WS://A.test/y", "ws://a.test/y", True),
        ("ws://a.test/x", "http://a.test/y", "ws://a.test/y", True),
        ("ws://a.test/x", "wss://a.test/y", "wss://a.test/y", False),
        ("ws://a.test/x", "https://a.test/y", "wss://a.test/y", False),
        ("ws://a.test/x", "ws://b.test/y", "ws://b.test/y", False),
        ("wss://a.test/x", "ws://a.test/y", "ws://a.test/y", False),
        ("wss://a.test/x", "http://a.test/y", "ws://a.test/y", False),
        ("wss://a.test/x", "wss://a.test:8443/y", "wss://a.test:8443/y", False),
        ("http://a.test/x", "ws://a.test/y", "http://a.test/y", True),
        ("http://a.test/x", "wss://a.test/y", "https://a.test/y", False),
        ("https://a.test/x", "wss://a.test/y", "https://a.test/y", True),
        ("https://a.test/x", "ws://a.test/y", "http://a.test/y", False),
        ("https://a.test/x", "y", "https://a.test/y", True),
    ],
)
def test_a_handshake_goes_where_its_redirect_leads(
    base: str, location: str, meant: str, trusted: bool
) -> None:
    """In the words that the program used; a secret goes to the same server only."""
    following = after(leg(base), location, 302, handshake=True)
    assert str(following.url) == meant
    assert following.trusted is trusted
    assert ("Authorization" in names(following)) is trusted
    assert (following.auth is not None) is trusted


@pytest.mark.parametrize("location", ["ws://a.test/y", "wss://a.test/y"])
def test_what_opens_no_websocket_is_not_led_to_one(location: str) -> None:
    with pytest.raises(NonHttpUrlRedirectClientError):
        after(leg(), location, 302)


@pytest.mark.parametrize("location", ["ftp://a.test/", "ws:/y", "wss:///y", "data:,x"])
def test_a_handshake_is_led_nowhere_else(location: str) -> None:
    with pytest.raises((InvalidUrlRedirectClientError, NonHttpUrlRedirectClientError)):
        after(leg("https://a.test/x"), location, 302, handshake=True)


LOCATIONS = st.one_of(
    st.text("/.?&=+;:@ab%#\\ ~", max_size=12),
    st.builds(
        lambda origin, rest: origin + rest,
        st.sampled_from(
            [
                *(
                    "http://a.test",
                    "https://a.test",
                    "http://A.test",
                    "http://a.test:80",
                    "//a.test",
                ),
                *("http://a.test:8", "http://a.test@b.test", "http://u:p@a.test", "ftp://a.test"),
                *("http:", "", " http://a.test", "http://a.test:", "ws://a.test"),
            ]
        ),
        st.text("/.?&=+;:@ab%#\\ ~\xe9", max_size=12),
    ),
)


@settings(max_examples=400, deadline=None)
@given(
    start=st.sampled_from(["http://a.test/x?y=z", "https://a.test/x/y", "http://a.test:8/"]),
    location=LOCATIONS,
    status=st.sampled_from(sorted(REDIRECT_STATUSES)),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    trusted=st.booleans(),
    requote=st.booleans(),
)
@example("http://a.test/x", "//b.test/y", 302, "GET", True, True)
@example("http://a.test/x", "http://a.test//b.test/y", 302, "GET", True, True)
@example("http://a.test:8/x", "http://a.test:80/", 302, "GET", True, True)
def test_a_text_leads_where_its_url_does(
    start: str, location: str, status: int, method: str, trusted: bool, requote: bool
) -> None:
    """Whether the hops are texts or URLs changes nothing of what is sent, and to whom."""
    first = leg(start, method=method, trusted=trusted, data=payload_of(b"x"))

    def led(sent_to: URL | str) -> Any:
        try:
            following = next_leg(first, sent_to, status, location, requote=requote)
        except (InvalidUrlRedirectClientError, NonHttpUrlRedirectClientError) as exc:
            return type(exc), str(exc)
        return following and [
            (str(following.url), following.method, following.headers, following.data),
            (following.auth, following.trusted, following.left, following.keeps_tls),
        ]

    assert led(start) == led(URL(start))


def test_a_plain_location_of_the_same_origin_stays_a_text() -> None:
    """Or the test above compares the long way with itself."""
    for location in ("/y", "/y/z?a=b", "http://a.test/y"):
        following = next_leg(leg(), "http://a.test/x", 302, location)
        assert following is not None
        assert following.text == str(URL("http://a.test/x").join(URL(location)))
    for location in ("y", "/%41", "/y#z", "//a.test/y", "http://b.test/y", "/../y"):
        following = next_leg(leg(), "http://a.test/x", 302, location)
        assert following is not None
        assert following.text is None


def test_a_text_becomes_a_url_once_and_when_somebody_asks() -> None:
    made = Leg("GET", "https://a.test/x?y=1", None, None, None)
    assert made.text == "https://a.test/x?y=1"
    assert made.url == URL("https://a.test/x?y=1")
    assert made.url is made.url
    given = URL("https://a.test/")
    assert Leg("GET", given, None, None, None).url is given
    assert Leg("GET", given, None, None, None).text is None


def test_a_policy_may_send_a_hop_to_another_place() -> None:
    """A leg that was a text is a URL then, and all else of it stays."""
    leg = Leg("GET", "http://h.test/a?b=c", {"X": "y"}, None, None)
    assert leg.text == "http://h.test/a?b=c"
    leg.url = leg.url.with_scheme("https")
    assert (leg.url, leg.text) == (URL("https://h.test/a?b=c"), None)
    assert (leg.method, leg.headers, leg.trusted) == ("GET", {"X": "y"}, True)
