"""``wherry demo``, as `make demo` runs it."""

from __future__ import annotations

import re


def test_the_demonstration_runs_on_its_own_server(run_process):
    done = run_process("demo", "-n", "60", "-c", "10")
    assert done.status == 0, done.err
    text = done.out.decode()
    for step in (
        "GET",
        "POST JSON",
        "two redirects",
        "cookie set, and sent back",
        "streamed download",
        "60 requests",
    ):
        assert step in text
    assert "302 302 200" in text
    assert "60 x 200" in text
    assert re.search(r"69 exchanges over \d+ connections", text)


def test_it_runs_on_another_site(run, wherry_server):
    done = run("demo", wherry_server.url("/json"), "-n", "20", "-c", "5")
    assert done.status == 0, done.err
    assert "20 x 200" in done.out.decode()


def test_a_site_that_cannot_be_reached_is_told(run):
    done = run("demo", "http://127.0.0.1:1/")
    assert done.status == 1
    assert "Cannot connect to host 127.0.0.1:1" in done.err
