"""`wherry fetch --into`: pages into a sink, and on again where it was."""

from __future__ import annotations

import json

import pytest


def pages(folder):
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_pages_go_into_a_sink_and_the_same_command_goes_on(run, wherry_server, tmp_path):
    urls = [wherry_server.url(f"/bytes/{size}") for size in (5, 6, 7)]
    first = [*urls[:2], wherry_server.url("/status/404"), "ht!tp://none", ""]
    command = (
        "fetch", "-i", "-", "--into", f"jsonl:{tmp_path / 'out'}", "--retries", "0",
        "--checkpoint", tmp_path / "run.sqlite", "--report", tmp_path / "report.jsonl",
    )  # fmt: skip
    done = run(*command, stdin="\n".join(["# a list", *first]).encode())
    assert done.status == 2, done.err
    assert "2 of 4 pages" in done.out.decode()
    assert "404" in done.err
    assert sorted(page["url"] for page in pages(tmp_path / "out")) == sorted(urls[:2])
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert sorted(str(row["status"]) for row in rows) == ["200", "200", "404", "None"]
    lines = [json.dumps({"url": url}) for url in urls]
    done = run(*command, stdin="\n".join(lines).encode())
    assert done.status == 0, done.err
    assert "1 of 1 pages" in done.out.decode()
    assert "2 were there before" in done.out.decode()
    assert sorted(page["url"] for page in pages(tmp_path / "out")) == sorted(urls)


def test_header_agent_and_patterns_hold_for_pages_too(run, wherry_server, tmp_path):
    done = run(
        "fetch", "--into", f"jsonl:{tmp_path}", "-H", "X-One: 1", "-A", "me/1", "--reject", "5",
        "--timeout", "60", wherry_server.url("/headers"), wherry_server.url("/bytes/5"),
    )  # fmt: skip
    assert done.status == 0, done.err
    (page,) = pages(tmp_path)
    assert "me/1" in page["body"]
    assert "x-one" in page["body"].lower()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--into", "warcs:x"), "did you mean warc:"),
        (("--into", "jsonl:x", "-o", "pages"), "-o is for files"),
        (("--into", "jsonl:x", "--timestamping"), "--timestamping is for files"),
        (("--into", "jsonl:x", "--ray", "auto", "--dask", "local"), "say one of them"),
        (("--checkpoint", "x"), "--checkpoint goes with --into"),
        (("--dask", "local"), "--dask goes with --into"),
    ],
)
def test_what_cannot_be_meant_is_told(run, words, told):
    done = run("fetch", *words, "http://127.0.0.1:9/")
    assert done.status == 1
    assert told in done.err


def test_no_url_is_no_job(run, tmp_path):
    done = run("fetch", "--into", f"jsonl:{tmp_path}")
    assert done.status == 1
    assert "no URL" in done.err


def test_a_byte_order_mark_costs_no_url_of_a_list(run, wherry_server, tmp_path):
    urls = [wherry_server.url(f"/bytes/{size}") for size in (5, 6)]
    stdin = f"\ufeff{urls[0]}\n\ufeff{urls[1]}\n".encode()
    done = run("fetch", "-i", "-", "--into", f"jsonl:{tmp_path}", stdin=stdin)
    assert done.status == 0, done.err
    assert sorted(page["url"] for page in pages(tmp_path)) == sorted(urls)


def test_a_checkpoint_that_is_none_is_told(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no checkpoint")
    done = run(
        "fetch", "http://127.0.0.1:9/", "--into", f"jsonl:{tmp_path / 'out'}",
        "--checkpoint", str(tmp_path / "notes.txt"),
    )  # fmt: skip
    assert done.status == 1
    assert "cannot be used: file is not a database" in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "notes.txt").read_text() == "no checkpoint"
