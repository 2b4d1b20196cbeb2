"""Names for URLs: whatever a peer puts into one, the file is in the folder, alone, on any system."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.bulk.sinks.file_names import file_name, is_file_name

MARK = "-[0-9a-f]{16}"


@pytest.mark.parametrize(
    ("url", "content_type", "name"),
    [
        ("http://a.test/", "text/html", "a.test/index-M.html"),
        ("http://a.test", "", "a.test/index-M"),
        ("http://a.test/docs/page.html?q=1#top", "text/html", "a.test/docs/page-M.html"),
        ("http://a.test/docs/", "text/html", "a.test/docs/index-M.html"),
        ("https://a.test:8443/x", "application/json", "a.test_8443/x-M.json"),
        ("http://[::1]:8080/x", "text/plain", "host__1_8080/x-M.txt"),
        ("http://a.test/login.php", "text/html", "a.test/login-M.php.html"),
        ("http://a.test/a.tar.gz", "application/gzip", "a.test/a.tar-M.gz"),
        ("http://a.test/photo.JPEG", "image/jpeg", "a.test/photo-M.JPEG"),
        ("http://a.test/x", "application/x-ndjson", "a.test/x-M.jsonl"),
        ("http://a.test/x.bin", "application/x-unknown", "a.test/x-M.bin"),
        ("http://a.test/%C3%A4/%E2%82%AC.png", "image/png", "a.test/ä/€-M.png"),
        # What leads elsewhere.
        ("http://a.test/%2e%2e/%2e%2e/etc/passwd", "", "a.test/_/_/etc/passwd-M"),
        ("http://a.test/..%2f..%2fetc%2fpasswd", "", "a.test/_.._etc_passwd-M"),
        ("http://a.test/a%5C..%5Cb/c", "", "a.test/a_.._b/c-M"),
        ("http://a.test//etc//passwd", "", "a.test/etc/passwd-M"),
        ("http://a.test/C:%5Cx", "", "a.test/C__x-M"),
        # What would be the sink's own.
        ("http://_index/run.jsonl", "", "host_index/run-M.jsonl"),
        ("http://_INDEX/_index/x", "", "host_INDEX/_index/x-M"),
        ("http://%5Findex/x", "", "host_index/x-M"),
        # What Windows and shells trip over.
        ("http://a.test/con/aux.h/NUL", "", "a.test/_con/_aux.h/_NUL-M"),
        ("http://a.test/a.%20./b.%20", "", "a.test/a/b-M"),
        ("http://a.test/.htaccess", "", "a.test/htaccess-M"),
        ("http://a.test/%3Cb%3E%00%0A%7C", "", "a.test/_b____-M"),
        ("http://a.test/a%E2%80%AEgpj.exe", "", "a.test/a_gpj-M.exe"),
        # No folder has a name that a file could have.
        ("http://a.test/p-0123456789abcdef.html/x", "", "a.test/p_0123456789abcdef.html/x-M"),
    ],
)
def test_names_tell_where_it_came_from(url: str, content_type: str, name: str) -> None:
    made = file_name(url, content_type, "run")
    assert re.sub(MARK, "-M", made) == name
    assert is_file_name(made)


def test_long_names_end() -> None:
    url = f"http://{'a.' * 120}test/{'b/' * 500}{'c' * 5000}.html"
    name = file_name(url, "text/html", "run")
    assert len(name.encode()) < 200
    assert name.endswith(".html")
    assert max(len(part.encode()) for part in name.split("/")) <= 100


def test_the_same_url_has_another_name_each_time() -> None:
    names = {file_name("http://a.test/A", "", f"run\0{number}").lower() for number in range(1000)}
    assert len(names) == 1000


segments = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["..", ".", "", "con", "COM1.txt", "a" * 300, "x-0123456789abcdef", "%2e%2e%2f"]
    ),
)


@given(
    st.lists(segments, max_size=12),
    st.sampled_from(["", "text/html", "image/png", "x/unknown", "../.."]),
    st.text(max_size=5),
)
def test_no_url_leads_elsewhere(parts: list[str], content_type: str, unique: str) -> None:
    from urllib.parse import quote

    url = "http://a.test/" + "/".join(quote(part, safe="%") for part in parts)
    name = file_name(url, content_type, unique)
    assert is_file_name(name)
    assert len(name.encode()) <= 220
    path = PurePosixPath(name)
    assert not path.is_absolute()
    assert path.parts[0] == "a.test"
    windows = PureWindowsPath(name)
    assert windows.parts == path.parts
    for part in path.parts:
        assert part not in {"", ".", ".."}
        assert not part.startswith(".")
        assert part == part.rstrip(" .")
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', part)
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", part)
    # On a file system that folds case or composes letters, a folder is no file still.
    for folder in path.parts[:-1]:
        folded = unicodedata.normalize("NFC", folder).casefold()
        assert not re.fullmatch(rf".*{MARK}(\..*)?", folded)
    assert re.fullmatch(rf".*{MARK}(\.[A-Za-z0-9]+){{0,2}}", path.parts[-1])
