"""A curl command, as browsers copy it, read as the words of ``wherry get``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from wherry.cli.argument_values import UsageProblem

# A piece of a line: each kind begins with letters that no other one begins with.
_PIECE: Final = re.compile(
    r"(?P<joined>\\\r?\n)|(?P<blank>\s+)|\\(?P<escaped>.)|'(?P<single>[^']*)'"
    r"|\"(?P<double>(?:[^\"\\]|\\.)*)\"|\$'(?P<c>(?:[^'\\]|\\.)*)'"
    r"|(?P<plain>[^\s\\'\"$]+|\$(?!'))",
    re.DOTALL,
)
_IN_DOUBLE: Final = re.compile(r"\\([$`\"\\]|\n)")
_C_ESCAPE: Final = re.compile(
    r"\\(?:([abeEfnrtv\\'\"?])|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})"
    r"|([0-7]{1,3})|(.))",
    re.DOTALL,
)
_LETTERS: Final = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_KEPT: Final = re.compile(r"\\([\[\]{}])")
_FOLLOWS: Final = ("-L", "--location", "--location-trusted")


def words_of_curl(words: Sequence[str]) -> list[str]:
    """The words of ``wherry get`` for a curl command.

    Args:
        words: The command, as one text or as the words that a shell made of it.

    Raises:
        UsageProblem: It is no curl command.
    """
    told = _split(words[0]) if len(words) == 1 else list(words)
    if told[:1] != ["curl"]:
        raise UsageProblem("a command begins with curl: wherry curl 'curl https://…'")
    told = told[1:]
    if not told:
        raise UsageProblem("the curl command names no URL")
    if "-g" not in told and "--globoff" not in told and not told[0].startswith("-"):
        # Browsers put the URL first, and keep its brackets from curl's patterns.
        told[0] = _KEPT.sub(r"\1", told[0])
    return told


def follows_redirects(words: Sequence[str]) -> bool:
    """Whether curl would follow redirects: it does so only when it is told to."""
    return any(
        word in _FOLLOWS or (re.fullmatch(r"-[a-zA-Z46#]+", word) and "L" in word) for word in words
    )


def _split(text: str) -> list[str]:
    """The words of a POSIX shell's line, bash's ``$'…'`` among them.

    Raises:
        UsageProblem: A quotation does not end.
    """
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        if (found := _PIECE.match(text, at)) is None:
            raise UsageProblem(f"the command cannot be read: a quotation does not end at {at}")
        at = found.end()
        kind, piece = found.lastgroup, found[found.lastgroup or 0]
        if kind == "blank":
            if word is not None:
                words.append("".join(word))
            word = None
        elif kind != "joined":
            word = word or []
            word.append(_PLAIN[kind](piece) if kind in _PLAIN else piece)
    if word is not None:
        words.append("".join(word))
    return words


def _unescaped(text: str) -> str:
    """Text between ``$'`` and ``'``, as bash reads it."""

    def letter(found: re.Match[str]) -> str:
        simple, byte, short, long, octal, other = found.groups()
        if simple is not None:
            return _LETTERS[simple]
        if other is not None:
            return "\\" + str(other)
        number = int(octal, 8) & 0xFF if octal is not None else int(byte or short or long, 16)
        # Bytes make up letters of UTF-8 together, as the shell hands them on.
        return chr(number) if short or long else _byte(number)

    joined = _C_ESCAPE.sub(letter, text)
    return joined.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _in_double(text: str) -> str:
    """Text between double quotes: a backslash counts before few letters only (POSIX 2.2.3)."""
    return _IN_DOUBLE.sub(lambda found: found[1].removeprefix("\n"), text)


_PLAIN: Final = {"double": _in_double, "c": _unescaped}


def _byte(number: int) -> str:
    return bytes([number]).decode("utf-8", "surrogateescape")
