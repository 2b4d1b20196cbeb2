"""What a download does next: every cell of the table, and no way through it that mixes two files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.client.download.plan import (
    MOVES,
    Answer,
    Asked,
    Came,
    ContentRange,
    Held,
    Request,
    Step,
    There,
    ask,
    asked,
    coding_of,
    decide,
    judge,
    strong_validator,
    there,
)

TAG = '"x"'
NOTHING = Held()
PART = Held(100, 1000, TAG, "", "here")
FINISHED = Held(1000, 1000, TAG, "", "here", finished=True)
SITUATIONS = {
    "nothing/whole": (NOTHING, Request()),
    "nothing/range": (NOTHING, Request(0, 99)),
    "part/range": (PART, Request(100, None, TAG)),
    "finished/changes": (FINISHED, Request(validator=TAG, changes=True)),
}


def answer(status, content_range=None, etag=TAG, place="here", **more):
    return Answer(status, ContentRange.parse(content_range), etag, place=place, **more)


ANSWERS = {
    "200": answer(200, length=1000),
    "203": answer(203, length=1000),
    "200 of another": answer(200, etag='"y"', length=1000),
    "200 elsewhere": answer(200, place="there", length=1000),
    "200 all of it, by range": answer(200, "bytes 0-999/1000", length=1000),
    "200 a slice": answer(200, "bytes 100-999/1000", length=900),
    "200 nonsense": answer(200, "bytes", length=1000),
    "206 here": answer(206, "bytes 100-999/1000"),
    "206 here, shorter": answer(206, "bytes 100-200/1000"),
    "206 here, no length": answer(206, "bytes 100-999/*"),
    "206 from 0": answer(206, "bytes 0-999/1000"),
    "206 earlier": answer(206, "bytes 50-999/1000"),
    "206 nothing new": answer(206, "bytes 50-99/1000"),
    "206 later": answer(206, "bytes 101-999/1000"),
    "206 of another": answer(206, "bytes 100-999/1000", '"y"'),
    "206 weak": answer(206, "bytes 100-999/1000", 'W/"x"'),
    "206 of nobody": answer(206, "bytes 100-999/1000", None),
    "206 elsewhere": answer(206, "bytes 100-999/1000", place="there"),
    "206 other length": answer(206, "bytes 100-999/1001"),
    "206 coded": answer(206, "bytes 100-999/1000", coding="gzip"),
    "206 too long": answer(206, "bytes 100-199/1000", length=101),
    "206 without a range": answer(206),
    "206 nonsense": answer(206, "bytes 999-100/1000"),
    "206 beyond its end": answer(206, "bytes 100-1000/1000"),
    "304": answer(304),
    "304 elsewhere": answer(304, place="there"),
    "416 is all": answer(416, "bytes */100", None),
    "416 of the file": answer(416, "bytes */1000", None),
    "416 less": answer(416, "bytes */5", None),
    "416": answer(416, None, None),
    "416 unknown": answer(416, "bytes */*", None),
    "204": answer(204),
    "202": answer(202),
    "302": answer(302),
    "404": answer(404),
    "503": answer(503),
}
# Four columns, as SITUATIONS: Begin again, Append, Cut back, ask a?new (Q), Done, Error.
EXPECTED = {
    "200": "B B B D", "203": "B B B D", "200 of another": "B B B B", "200 elsewhere": "B B B B",
    "200 all of it, by range": "B B B D",
    "200 a slice": "E Q Q Q", "200 nonsense": "E Q Q Q",
    "206 here": "E Q A Q", "206 here, shorter": "E Q A Q", "206 here, no length": "E Q A Q",
    "206 from 0": "E A C Q", "206 earlier": "E Q C Q",
    "206 nothing new": "E Q Q Q", "206 later": "E Q Q Q", "206 of another": "E Q Q Q",
    "206 weak": "E Q Q Q", "206 of nobody": "E Q Q Q", "206 elsewhere": "E Q Q Q",
    "206 other length": "E Q Q Q", "206 coded": "E Q Q Q", "206 too long": "E Q Q Q",
    "206 without a range": "E Q Q Q", "206 nonsense": "E Q Q Q", "206 beyond its end": "E Q Q Q",
    "304": "E Q Q D", "304 elsewhere": "E Q Q Q",
    "416 is all": "E Q Q Q", "416 of the file": "E Q Q Q", "416 less": "E Q Q Q",
    "416": "E Q Q Q", "416 unknown": "E Q Q Q",
    "204": "E E E E", "202": "E E E E", "302": "E E E E", "404": "E E E E", "503": "E E E E",
}  # fmt: skip
STEPS = {
    "B": Step.BEGIN_AGAIN, "A": Step.APPEND, "C": Step.CUT_BACK, "Q": Step.ASK_AGAIN,
    "D": Step.DONE, "E": Step.ERROR,
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_done_with_each_answer(name):
    found = [decide(held, request, ANSWERS[name]).step for held, request in SITUATIONS.values()]
    # 304 to who asked for a part or for all is about another request.
    assert found == [STEPS[letter] for letter in EXPECTED[name].split()]


def test_the_table_has_every_cell_and_no_other():
    situations = {(there(held), asked(request)) for held, request in SITUATIONS.values()}
    assert set(MOVES) == {(*situation, came) for situation in situations for came in Came}


def test_who_asks_for_the_whole_is_never_sent_round_again():
    for (_, what, _), step in MOVES.items():
        if what is Asked.WHOLE:
            assert step in {Step.BEGIN_AGAIN, Step.ERROR}


def test_a_part_that_is_all_there_is():
    complete = PART._replace(size=1000)
    request = ask(complete)
    assert decide(complete, request, answer(416, "bytes */1000", None)).step is Step.DONE
    assert decide(complete, request, answer(416, None, None)).step is Step.DONE
    assert (
        decide(complete, request, answer(416, "bytes */1000", None, "there")).step is Step.ASK_AGAIN
    )
    unknown = complete._replace(total=None)
    assert decide(unknown, request, answer(416, "bytes */1000", None)).step is Step.DONE
    assert decide(unknown, request, answer(416, None, None)).step is Step.ASK_AGAIN


@pytest.mark.parametrize(
    ("held", "slice_size", "fields"),
    [
        (NOTHING, None, []),
        (NOTHING, 10, [("Range", "bytes=0-9")]),
        (PART, None, [("Range", "bytes=100-"), ("If-Range", TAG)]),
        (PART, 10, [("Range", "bytes=100-109"), ("If-Range", TAG)]),
        (PART._replace(validator=None), None, []),
        (FINISHED, None, [("If-None-Match", TAG)]),
        (FINISHED, 10, [("If-None-Match", TAG)]),
        (FINISHED._replace(validator=None), None, []),
        (
            FINISHED._replace(validator="Tue, 15 Nov 1994 12:45:26 GMT"),
            None,
            [("If-Modified-Since", "Tue, 15 Nov 1994 12:45:26 GMT")],
        ),
    ],
)
def test_what_is_asked(held, slice_size, fields):
    assert ask(held, slice_size).fields == fields


EARLY = "Tue, 15 Nov 1994 12:45:26 GMT"
LATER = "Tue, 15 Nov 1994 12:45:27 GMT"


@pytest.mark.parametrize(
    ("etag", "modified", "date", "validator"),
    [
        ('"x"', None, None, '"x"'),
        (' "x" ', EARLY, LATER, '"x"'),
        ('""', None, None, '""'),
        # RFC 9110 13.1.5: a weak tag is none, and with a tag the date is none.
        ('W/"x"', EARLY, LATER, None),
        ("x", EARLY, LATER, None),
        ('"x" "y"', None, None, None),
        ('"x\ty"', None, None, None),
        # RFC 9110 8.8.2.2: within the second of the response a date is weak.
        (None, EARLY, LATER, EARLY),
        (None, EARLY, EARLY, None),
        (None, LATER, EARLY, None),
        (None, EARLY, None, None),
        (None, None, LATER, None),
        (None, "yesterday", LATER, None),
        (None, EARLY, "today", None),
        (None, None, None, None),
    ],
)
def test_strong_validators(etag, modified, date, validator):
    assert strong_validator(etag, modified, date) == validator


def test_a_part_of_a_dated_file():
    held = PART._replace(validator=EARLY)
    request = ask(held)
    told = {"content_range": "bytes 100-999/1000", "etag": None}
    for modified, step in ((None, "A"), (EARLY, "A"), (LATER, "Q")):
        assert decide(held, request, answer(206, modified=modified, **told)).step is STEPS[step]
    assert decide(held, request, answer(206, "bytes 100-999/1000")).step is Step.ASK_AGAIN


def test_a_coded_part_goes_on_with_the_same_coding_or_none_said():
    held = PART._replace(coding="gzip")
    for coding, step in ((None, "A"), ("gzip", "A"), ("", "Q"), ("br", "Q")):
        came = answer(206, "bytes 100-999/1000", coding=coding)
        assert decide(held, ask(held), came).step is STEPS[step]
    assert [coding_of(value) for value in (None, "", "identity", "GZIP , br", "identity, gzip")] == [
        None, "", "", "gzip,br", "gzip",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bytes 0-0/1", (0, 0, 1)),
        ("BYTES  5-9/*", (5, 9, None)),
        ("bytes */7", (None, None, 7)),
        ("bytes */*", (None, None, None)),
        ("bytes 5-4/9", (None, None, None)),
        ("bytes 0-9/9", (None, None, None)),
        ("bytes 0-0/0", (None, None, None)),
        ("bytes 0-9", (None, None, None)),
        ("items 0-9/10", (None, None, None)),
        ("bytes=0-9/10", (None, None, None)),
        ("bytes \u00b2-9/10", (None, None, None)),
        ("bytes -1-9/10", (None, None, None)),
        ("bytes 0-9/10 x", (None, None, None)),
        ("bytes 0-9/" + "9" * 5000, (None, None, None)),
    ],
)
def test_content_ranges(text, parsed):
    assert ContentRange.parse(text) == parsed


@given(st.text(max_size=60))
def test_any_text_is_a_content_range_or_nonsense(text):
    first, last, total = ContentRange.parse(text)
    if first is not None:
        assert 0 <= first <= last < (total if total is not None else last + 1)


@pytest.mark.parametrize(
    ("held", "before", "step"),
    [
        (PART._replace(size=1000), 100, Step.DONE),
        (PART._replace(size=1001), 100, Step.ERROR),
        (PART._replace(size=101), 100, Step.APPEND),
        (PART, 100, Step.ERROR),
        (PART._replace(size=50), 100, Step.ERROR),
        (PART._replace(total=None), 99, Step.APPEND),
        (Held(0, 0), 0, Step.DONE),
    ],
)
def test_what_follows_a_body(held, before, step):
    assert judge(held, before) is step


def test_a_move_stays_within_what_was_asked():
    """A server may send more than a slice; what is behind it is another's."""
    held, request = PART, Request(100, 199, TAG)
    move = decide(held, request, answer(206, "bytes 100-999/1000"))
    assert (move.step, move.at, move.end, move.total) == (Step.APPEND, 100, 200, 1000)


# --- a server that tells the truth about some file, but says what it likes ------------------------

FILES = {
    '"a"': b"abcdefghij",
    '"b"': b"ABCDEFGHIJ",
    '"c"': b"0123456",
    '"d"': b"",
    '"e"': b"ABCDEFGHIJKL",
}


@st.composite
def answers(draw):
    """(answer, body): of one of the files, whichever was asked for."""
    tag = draw(st.sampled_from(sorted(FILES)))
    file = FILES[tag]
    kind = draw(st.sampled_from(["whole", "slice", "slice", "slice", "mislabelled", "failure"]))
    told = draw(st.sampled_from([tag, tag, tag, None, f"W/{tag}"]))
    place = draw(st.sampled_from(["here", "here", "here", "there"]))
    if kind == "failure" or (kind != "whole" and not file):
        return Answer(draw(st.sampled_from([404, 503, 302, 204])), None, told, place=place), b""
    if kind == "whole":
        length = draw(st.sampled_from([len(file), None]))
        return Answer(200, None, told, place=place, length=length), file
    first = draw(st.integers(0, len(file) - 1))
    last = draw(st.integers(first, len(file) - 1))
    total = draw(st.sampled_from([str(len(file)), "*"])) if kind == "slice" else str(len(file))
    status = 206 if kind == "slice" else 200
    found = ContentRange.parse(f"bytes {first}-{last}/{total}")
    body = file[first : last + 1]
    if kind == "slice":
        body = body[: draw(st.integers(0, len(body)))]  # it may be shorter than it says
    return Answer(
        status, found, told, place=place, length=draw(st.sampled_from([len(body), None]))
    ), body


@settings(max_examples=500)
@given(
    st.lists(st.tuples(answers(), st.integers(0, 12), st.booleans()), max_size=12), st.booleans()
)
def test_two_files_are_never_mixed(script, sliced):  # noqa: C901  (a model of the loop)
    """Whatever is answered, in whatever order, and wherever it breaks off."""
    held, content, slice_size = Held(), b"", 4 if sliced else None
    for (came, body), cut, breaks in script:
        if not came.etag and came.status == 206 and not held.validator:
            came = came._replace(status=503)  # a first slice of nobody is covered by the table
        request = ask(held, slice_size)
        move = decide(held, request, came)
        if move.step is Step.ASK_AGAIN:
            held, slice_size = Held(), None
            continue
        if move.step is Step.DONE:
            assert content == FILES[held.validator]
            continue
        if move.step is Step.ERROR:
            continue
        if move.step is Step.BEGIN_AGAIN or not held.size:
            held = Held(0, move.total, came.validator, came.coding or "", came.place)
        else:
            held = held._replace(size=move.at, total=move.total)
        got = body[:cut] if breaks else body
        if move.end is not None:
            got = got[: move.end - move.at]
        content = content[: move.at] + got
        held = held._replace(size=len(content))
        if not breaks and move.step is Step.BEGIN_AGAIN and held.total is None:
            held = held._replace(total=len(content))
        assert len(content) == move.at + len(got)
        if held.validator is not None:
            file = FILES[held.validator]
            assert file.startswith(content)
            if not breaks and held.total == len(content):
                assert content == file
        elif held.total == len(content) and not breaks:
            assert content in FILES.values()
        if held.validator is None and there(held) is not There.FINISHED:
            assert ask(held).first is None
