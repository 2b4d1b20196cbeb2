"""``wherry help`` and the manual pages."""

from __future__ import annotations

import re

import pytest

from wherry.cli.app import cli
from wherry.cli.help_topics import TOPICS


def test_help_explains_commands_and_topics(run):
    assert run("help").out == run("--help").out
    assert b"Downloads at once" in run("help", "fetch").out
    for topic, text in TOPICS.items():
        assert run("help", topic).out.decode() == text + "\n"
    assert run("help", "bulk").out == run("help", "into").out
    done = run("help", "nothing")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "items" in done.err


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal_and_names_real_options(topic):
    text = TOPICS[topic]
    assert max(map(len, text.splitlines())) <= 80
    known = {
        word for command in cli.commands.values() for each in command.params for word in each.opts
    }
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text):
        assert option in known, option


@pytest.mark.parametrize("name", [None, *cli.commands])
def test_a_manual_page_is_what_man_reads(run, name):
    page = run("man", *([name] if name else [])).out.decode()
    assert page.startswith(f".TH WHERRY{'-' + name.upper() if name else ''} 1")
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION"):
        assert f"\n.SH {section}\n" in page
    # No line is taken for a request that is none.
    requests = {line.split()[0] for line in page.splitlines() if line[:1] in {".", "'"}}
    assert requests <= {".TH", ".SH", ".TP", ".B", ".PP", ".nf", ".fi"}
    for line in page.splitlines():
        assert not re.search(r"\\(?![e\-&])", line), line


def test_no_page_for_what_is_no_command(run):
    done = run("man", "nothing")
    assert (done.status, done.err) == (1, "wherry: no command is named 'nothing'\n")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", [["--help"], ["fetch", "--help"], ["ws", "--help"]])
def test_help_fits_the_terminal(run_on_terminal, columns, words):
    status, seen = run_on_terminal(*words, columns=columns)
    assert status == 0
    lines = [line.rstrip("\r") for line in seen.split("\n")]
    # Examples keep their lines, and are no longer than this.
    assert max(len(line) for line in lines if "wherry" not in line) <= columns
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_of_downloads_fits_the_terminal(
    run_on_terminal, wherry_server, tmp_path, columns
):
    urls = [wherry_server.url("/bytes/300"), wherry_server.url("/status/404?" + "x" * 150)]
    status, seen = run_on_terminal("fetch", "-o", tmp_path, *urls, columns=columns)
    assert status == 2
    table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.rpartition("\x1b[?25h")[2])
    assert max(len(line.strip("\r")) for line in table.split("\n")) <= columns
