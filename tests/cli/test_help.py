"""``wherry help`` and the manual pages."""

from __future__ import annotations

import re

import pytest

from wherry.cli.app import cli
from wherry.cli.topics import TOPICS


def test_help_explains_commands_and_topics(run):
    assert run("help").out == run("--help").out
    assert b"Downloads at once" in run("help", "fetch").out
    for topic, text in TOPICS.items():
        assert run("help", topic).out.decode() == text + "\n"
    done = run("help", "nothing")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "items" in done.err


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal_and_names_real_options(topic):
    text = TOPICS[topic]
    assert max(map(len, text.splitlines())) <= 100
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
