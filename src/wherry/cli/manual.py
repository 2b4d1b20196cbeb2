"""Manual pages, made of the same text as the help (man-pages(7))."""

from __future__ import annotations

import re

import click

import wherry
from wherry.cli.help_topics import TOPICS


def manual_page(group: click.Group, name: str | None) -> str:
    """The page of the program, or of one of its commands, as roff.

    Args:
        group: The program's commands.
        name: A command's name; None for the program's own page.
    """
    command = group if name is None else group.commands[name]
    title = "wherry" if name is None else f"wherry-{name}"
    context = click.Context(command, info_name=title.replace("-", " ", 1))
    lines = [
        f'.TH {title.upper()} 1 "" "wherry {wherry.__version__}" "User Commands"',
        ".SH NAME",
        f"{_escaped(title)} \\- {_escaped(_summary(command))}",
        ".SH SYNOPSIS",
        f".B {_escaped(title.replace('-', ' ', 1))}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
        ".SH OPTIONS",
    ]
    source = group.commands["get"] if name is None else command
    for parameter in source.get_params(context):
        if isinstance(parameter, click.Option) and not parameter.hidden:
            record = parameter.get_help_record(context)
            if record is not None:
                lines += [".TP", f".B {_escaped(record[0])}", _escaped(record[1])]
    if command.epilog:
        lines += [".SH ENVIRONMENT", *_paragraphs(command.epilog)]
    if name is None:
        lines.append(".SH COMMANDS")
        for word, each in sorted(group.commands.items()):
            lines += [".TP", f".B {_escaped(word)}", _escaped(_summary(each))]
        for word, text in TOPICS.items():
            if word == "environment" and command.epilog:
                continue  # it is there above, in fewer words
            lines += [f".SH {word.upper()}", ".nf", *map(_line, text.splitlines()), ".fi"]
    return "\n".join(lines)


def _summary(command: click.Command) -> str:
    return (command.short_help or (command.help or "").partition("\n")[0]).rstrip(".")


def _paragraphs(text: str) -> list[str]:
    """Paragraphs as roff: what stands behind a \\b keeps its lines."""
    lines = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        kept = part.lstrip().startswith("\b")
        body = part.replace("\b", "").strip("\n")
        lines += [".PP", ".nf"] if kept else [".PP"]
        lines += [_line(line) for line in body.splitlines()]
        if kept:
            lines.append(".fi")
    return lines


def _line(text: str) -> str:
    escaped = _escaped(text)
    # A dot or an apostrophe at the beginning would be a request of roff's.
    return "\\&" + escaped if escaped[:1] in {".", "'"} else escaped


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")
