"""Saving and loading: JSON of two kinds, cookies.txt, and never pickle."""

import asyncio
import json
import pickle
import stat
import subprocess
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from wherry.cookies import CookieJar

SITE = URL("https://www.example.com/shop/cart")
FIELDS = [
    "session=abc; HttpOnly; Secure; SameSite=Lax; Path=/",
    'quoted="a b"; Path=/; Max-Age=1000',
    "wide=1; Domain=example.com; Path=/shop; Max-Age=1000",
    "deep=ünï; Path=/shop/cart",
    "wide=host; Path=/shop; Max-Age=1000",
]


def filled() -> CookieJar:
    jar = CookieJar()
    jar.store(FIELDS, SITE)
    jar.update_cookies({"everywhere": "x;y"})
    return jar


def test_a_saved_jar_comes_back_whole(tmp_path: Path) -> None:
    jar = filled()
    file = tmp_path / "cookies.json"
    jar.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = CookieJar()
    again.update_cookies({"old": "gone"})
    again.load(str(file))
    assert len(again) == len(jar) == 6
    for url in (
        SITE,
        URL("https://example.com/shop"),
        URL("http://www.example.com/"),
        URL("http://other.org/"),
    ):
        assert again.cookie_header(url) == jar.cookie_header(url)
    assert again.host_only_cookies == jar.host_only_cookies
    assert {m.key: m["samesite"] for m in again}["session"] == "Lax"


def test_an_expiry_survives_as_a_moment_not_as_a_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    jar = CookieJar()
    jar.store(["a=1; Max-Age=10"], SITE)
    jar.save(tmp_path / "c")
    now += 11
    again = CookieJar()
    again.load(tmp_path / "c")
    assert len(again) == 0


def test_aiohttps_json_is_read(tmp_path: Path) -> None:
    async def save() -> None:
        jar = aiohttp.CookieJar()
        jar.update_cookies_from_headers(FIELDS[:4], SITE)
        jar.save(tmp_path / "theirs")

    asyncio.run(save())
    jar = CookieJar()
    jar.load(tmp_path / "theirs")
    assert jar.cookie_header(SITE) == 'deep=ünï; wide=1; session=abc; quoted="a b"'
    assert jar.cookie_header(URL("https://example.com/shop/")) == "wide=1"
    assert ("www.example.com", "", "session") in jar.host_only_cookies


def test_older_files_of_aiohttps_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have paths with their slash, and no moment at which a cookie ends."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    told = {
        "short": {"max-age": "60"},
        "over": {"max-age": "0"},
        "dated": {"expires": "Fri, 15 Jan 2027 08:00:30 GMT"},
        "session": {},
    }
    records = {
        name: {"key": name, "value": "1", "coded_value": "1", **more} for name, more in told.items()
    }
    (tmp_path / "old").write_text(
        json.dumps({"www.example.com|/": records, "www.example.com|/shop/": records})
    )
    jar = CookieJar()
    jar.load(tmp_path / "old")
    assert jar.cookie_header(URL("https://www.example.com/")) == "short=1; dated=1; session=1"
    assert jar.cookie_header(URL("https://www.example.com/shop/")).count("short=1") == 2
    monkeypatch.setattr("time.time", lambda: 1_800_000_050.0)
    assert jar.cookie_header(URL("https://www.example.com/")) == "short=1; session=1"


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({("example.com", "/"): {}}),
        b"",
        b"[]",
        b"[1]",
        b'"text"',
        b'{"a|/": {"b": {}}}',
        b'{"a|/": {"b": {"key": "x", "value": 1, "coded_value": "y"}}}',
        b'{"version": 1, "cookies": [{"name": "a"}]}',
        json.dumps({"a|/": {"b": {"key": "x\r\n", "value": "1", "coded_value": "1"}}}).encode(),
        b'{"a|/": {"b": {"key": "x", "value": "1", "coded_value": "1", "expires_timestamp": NaN}}}',
        b'{"a|/": {"b": {"key": "x", "value": "1", "coded_value": "1", "expires_timestamp": 1'
        + b"0" * 400
        + b"}}}",
        b"\xff\xfe",
    ],
)
def test_any_other_file_is_a_value_error_and_leaves_the_jar_alone(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad").write_bytes(content)
    jar = filled()
    with pytest.raises(ValueError):
        jar.load(tmp_path / "bad")
    assert len(jar) == 6


def test_cookies_of_addresses_are_not_loaded_into_a_safe_jar(tmp_path: Path) -> None:
    jar = CookieJar(unsafe=True)
    jar.store(["a=1"], URL("http://127.0.0.1/"))
    jar.save(tmp_path / "c")
    safe = CookieJar()
    safe.load(tmp_path / "c")
    assert len(safe) == 0


def test_a_failed_save_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = filled()
    jar.save(tmp_path / "c")
    before = (tmp_path / "c").read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        jar.save(tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_cookies_txt_goes_out_and_comes_back(tmp_path: Path) -> None:
    jar = CookieJar()
    jar.store(FIELDS, SITE)
    file = tmp_path / "cookies.txt"
    jar.save_cookies_txt(file)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Netscape HTTP Cookie File\n")
    assert "#HttpOnly_www.example.com\tFALSE\t/\tTRUE\t0\tsession\tabc\n" in text
    assert "\n.example.com\tTRUE\t/shop\tFALSE\t" in text
    again = CookieJar()
    again.load_cookies_txt(file)
    assert again.cookie_header(SITE) == jar.cookie_header(SITE)
    assert again.cookie_header(URL("https://example.com/shop")) == "wide=1"
    assert {m.key: bool(m["httponly"]) for m in again}["session"] is True


def test_cookies_txt_of_other_programs_is_read(tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(
        b"# HTTP Cookie File\r\n\r\n.example.com\tTRUE\t/\tFALSE\t0\ta\t1\r\n"
        b"example.com\tFALSE\t/x\tTRUE\t99999999999\tb\r\nexample.com\tFALSE\t/\tFALSE\t1\tended\t1\r\n"
    )
    jar = CookieJar()
    jar.load_cookies_txt(file)
    assert jar.cookie_header(URL("https://example.com/x")) == "b=; a=1"
    assert jar.cookie_header(URL("http://www.example.com/")) == "a=1"


@pytest.mark.parametrize("line", ["a\tb", ".x.org\tTRUE\t/\tFALSE\tsoon\ta\t1"])
def test_a_bad_cookies_txt_names_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad").write_text(f"# comment\n{line}\n")
    jar = filled()
    with pytest.raises(ValueError, match="line 2"):
        jar.load_cookies_txt(tmp_path / "bad")
    assert len(jar) == 6


def test_one_bad_line_does_not_lose_the_file(tmp_path: Path) -> None:
    good = [f"x.org\tFALSE\t/\tFALSE\t{ends}\t{name}\tv" for name, ends in (("a", 0), ("b", ""))]
    bad = [
        "x.org\tFALSE\t/\tFALSE\tsoon\tc\tSesame",
        "Sesame",
        "x.org\tF\t/\tF\t0\td\tSesame\r\x01",
    ]
    lines = ["# c", good[0], *bad, good[1]]
    (tmp_path / "c").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    jar = filled()
    with pytest.warns(UserWarning, match=r"line \d of cookies\.txt.*left out") as told:
        jar.load_cookies_txt(tmp_path / "c")
    assert jar.cookie_header(URL("http://x.org/")) == "a=v; b=v"
    said = [str(warning.message) for warning in told]
    assert [text.partition(" of")[0] for text in said] == ["line 3", "line 4", "line 5"]
    assert "Sesame" not in "".join(said)


@pytest.mark.parametrize(
    ("ends", "alive"),
    [
        ("4102444800.5", True),
        ("4102444800.", True),
        ("1.999", False),
        ("9" * 300, True),
        ("0.0", True),
    ],
)
def test_times_may_have_fractions(tmp_path: Path, ends: str, alive: bool) -> None:
    """And a file may begin with a byte order mark, before a cookie as well as before a comment."""
    (tmp_path / "c").write_text(f"\ufeffx.org\tFALSE\t/\tFALSE\t{ends}\ta\t1\n", "utf-8")
    jar = CookieJar()
    jar.load_cookies_txt(tmp_path / "c")
    assert jar.cookie_header(URL("http://x.org/")) == ("a=1" if alive else "")


@pytest.mark.parametrize("ends", ["nan", "inf", "1e5", "١", "1_0", " 1", "0x1", "9" * 5000])
def test_a_time_is_digits(tmp_path: Path, ends: str) -> None:
    (tmp_path / "c").write_text(f"x.org\tFALSE\t/\tFALSE\t{ends}\ta\t1\n", "utf-8")
    with pytest.raises(ValueError, match="line 1 of"):
        CookieJar().load_cookies_txt(tmp_path / "c")


def test_a_cookies_txt_cannot_smuggle_a_field(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x.org\tFALSE\t/\tFALSE\t0\ta\t1\rX-Evil: 1\n")
    with pytest.raises(ValueError, match="control characters"):
        CookieJar().load_cookies_txt(tmp_path / "bad")


def test_curl_reads_our_cookies_txt(tmp_path: Path) -> None:
    jar = CookieJar()
    jar.store(["a=1; Path=/; Max-Age=1000"], URL("http://www.example.com/"))
    jar.save_cookies_txt(tmp_path / "in")
    # No request is made: curl fails at the port and writes what it read.
    subprocess.run(
        ["curl", "-s", "-b", tmp_path / "in", "-c", tmp_path / "out", "http://127.0.0.1:1/"],
        check=False,
        timeout=200,
    )
    again = CookieJar()
    again.load_cookies_txt(tmp_path / "out")
    assert again.cookie_header(URL("http://www.example.com/")) == "a=1"


def test_a_pickle_is_refused_as_unpickling_refuses_a_class(tmp_path: Path) -> None:
    """aiohttp's programs catch `UnpicklingError`; nothing of the file is run."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "jar").write_bytes(pickle.dumps(print, protocol))
        with pytest.raises(
            pickle.UnpicklingError, match=r"jar is a pickle \(Forbidden class"
        ) as caught:
            CookieJar().load(tmp_path / "jar")
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("begin", [b"", b"# c\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf# c\r\n"])
def test_bytes_that_are_no_utf8_concern_their_line_alone(tmp_path: Path, begin: bytes) -> None:
    lines = [
        b"x.org\tFALSE\t/\tFALSE\t0\t%b\t%b" % pair for pair in ((b"a", b"\xff"), (b"b", b"v"))
    ]
    (tmp_path / "c").write_bytes(begin + b"\n".join(lines))
    jar = CookieJar()
    jar.load_cookies_txt(tmp_path / "c")
    assert (
        jar.cookie_header(URL("http://x.org/")).encode("utf-8", "surrogateescape") == b"a=\xff; b=v"
    )


@pytest.mark.parametrize(
    "moment", ["NaN", "Infinity", "-Infinity", '"soon"', "[]", "1" + "0" * 400]
)
def test_a_time_that_is_none_is_named(tmp_path: Path, moment: str) -> None:
    record = f'{{"key": "x", "value": "1", "coded_value": "1", "expires_timestamp": {moment}}}'
    (tmp_path / "jar").write_text(f'{{"a.test|": {{"sid": {record}}}}}', encoding="utf-8")
    jar = CookieJar()
    jar.store(["kept=1"], URL("https://b.test/"))
    with pytest.raises(
        ValueError, match=r"Cookie 'sid' in 'a.test\|': expiration timestamp must be"
    ):
        jar.load(tmp_path / "jar")
    assert [morsel.key for morsel in jar] == ["kept"]
