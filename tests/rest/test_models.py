"""What types JSON is decoded to: the same with msgspec and without it."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import sys
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from wherry.rest import decode, encode, models

T = TypeVar("T")
K = TypeVar("K")
Whole = TypeVar("Whole", bound=int)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


UserId = NewType("UserId", int)
Owner = NewType("Owner", UserId)


@dataclasses.dataclass
class User:
    id: UserId
    name: str = "-"


@dataclasses.dataclass
class Dog:
    kind: Literal["dog"]
    bones: int


@dataclasses.dataclass
class Cat:
    kind: Literal["cat"]
    bones: int


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    following: Optional[Page[T]] = None  # noqa: UP045
    by_id: dict[int, T] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Two(Generic[T, K]):
    one: T
    more: Mapping[str, K | None]


@dataclasses.dataclass
class Users(Page[User]):
    total: int = 0


@dataclasses.dataclass
class Swapped(Two[K, int], Generic[K]):
    pass


@dataclasses.dataclass
class Bounded(Generic[Whole]):
    number: Whole


@dataclasses.dataclass
class Checked:
    """Its own rule must be asked, whoever fills it."""

    low: int
    high: int
    both: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"expected low <= high, got {self.low} > {self.high}")
        self.both = self.low + self.high


@dataclasses.dataclass(init=False)
class OwnInit:
    name: str

    def __init__(self, name: str) -> None:
        self.name = name.upper()


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Row(typing.TypedDict, Generic[T]):
    value: T
    size: typing.NotRequired[int]


Ids = TypeAliasType("Ids", list[UserId])
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")


@pytest.fixture(params=["msgspec", "alone"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "alone":
        monkeypatch.setattr(models, "_msgspec", lambda: None)
    return request.param


ANN = User(UserId(1), "Ann")
UTC = dt.UTC


@pytest.mark.parametrize(
    ("value", "model", "made"),
    [
        (1, UserId, 1),
        (1, Owner, 1),
        ([1], list[Owner], [1]),
        ([1, 2], Ids, [1, 2]),
        ([1, 2], Pair[int], (1, 2)),
        ([[1, 2]], list[Pair[UserId]], [(1, 2)]),
        ({"id": 1, "name": "Ann", "more": []}, User, ANN),
        ({"items": [{"id": 1, "name": "Ann"}]}, Page[User], Page([ANN])),
        ({"items": [], "following": {"items": [{"id": 1, "name": "Ann"}]}}, Page[User], Page([], Page([ANN]))),
        ({"items": [], "by_id": {"7": {"id": 1, "name": "Ann"}}}, Page[User], Page([], None, {7: ANN})),
        ({"items": [1]}, Page, Page([1])),
        ({"items": [{"items": [1]}]}, Page[Page[int]], Page([Page([1])])),
        ({"items": [{"id": 1, "name": "Ann"}], "total": 3}, Users, Users([ANN], None, {}, 3)),
        ({"one": "x", "more": {"a": None, "b": 2}}, Two[str, int], Two("x", {"a": None, "b": 2})),
        ({"one": "2026-01-02", "more": {"a": 1}}, Swapped[dt.date], Swapped(dt.date(2026, 1, 2), {"a": 1})),
        ({"number": 3}, Bounded, Bounded(3)),
        ({"low": 1, "high": 2, "both": 9}, Checked, Checked(1, 2)),
        ({"name": "ann"}, OwnInit, OwnInit("ann")),
        ([{"name": "ann"}], list[OwnInit], [OwnInit("ann")]),
        ({"kind": "cat", "bones": 1}, Dog | Cat, Cat("cat", 1)),
        ({"kind": "dog", "bones": 1}, Union[Cat, Dog, None], Dog("dog", 1)),  # noqa: UP007
        (None, Optional[Page[User]], None),  # noqa: UP045
        ({"1": "a", "-2": "b"}, dict[int, str], {1: "a", -2: "b"}),
        ({"1": "a"}, dict[UserId, str], {1: "a"}),
        ({"1.5": "a"}, dict[float, str], {1.5: "a"}),
        ({"1": 2}, dict[Level, int], {Level.LOW: 2}),
        ({"red": 2}, dict[Colour, int], {Colour.RED: 2}),
        ({"red": 2}, Mapping[Colour, int], {Colour.RED: 2}),
        ({"2026-01-02": [1]}, dict[dt.date, list[int]], {dt.date(2026, 1, 2): [1]}),
        ({str(uuid.UUID(int=1)): 1}, dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
        ({"7": 1}, dict[Literal[7, 8], int], {7: 1}),
        ({"7": 1}, dict[str, int], {"7": 1}),
        ({"a": 1}, typing.OrderedDict[str, int], collections.OrderedDict(a=1)),
        ({"a": 1}, dict, {"a": 1}),
        ({"a": 1}, typing.Dict, {"a": 1}),  # noqa: UP006
        ([1, "a"], typing.List, [1, "a"]),  # noqa: UP006
        ([1, "a"], tuple, (1, "a")),
        ([], tuple[()], ()),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2], Sequence[int], [1, 2]),
        ([1, 1], frozenset[int], frozenset({1})),
        ([1, 1], typing.AbstractSet[int], {1}),
        ([1], collections.deque[int], collections.deque([1])),
        ([1, 2.5], Point, Point(1, 2.5)),
        ([1], Point, Point(1)),
        ({"value": 1}, Row[int], {"value": 1}),
        ({"value": [{"id": 1, "name": "Ann"}], "size": 1}, Row[list[User]], {"value": [ANN], "size": 1}),
        (1, float | int, 1),
        (1.5, int | float, 1.5),
        (True, int | bool, True),
        ("soon", dt.datetime | str, "soon"),
        ("2026-01-02", dt.date | str, dt.date(2026, 1, 2)),
        ("2026-01-02T03:04", dt.datetime, dt.datetime(2026, 1, 2, 3, 4)),  # noqa: DTZ001
        ("2026-01-02", dt.datetime | None, dt.datetime(2026, 1, 2)),  # noqa: DTZ001
        ("2026-01-02T03:04:05.678+02:00", dt.datetime, dt.datetime(2026, 1, 2, 1, 4, 5, 678000, UTC)),
        ("03:04:05", dt.time, dt.time(3, 4, 5)),
        (1.5, decimal.Decimal, decimal.Decimal("1.5")),
        ("aGk=", bytes, b"hi"),
        (1, Level, Level.LOW),
        (2, typing.Annotated[Level | int, "either"], 2),
        ({"a": [1, {"b": None}]}, Json, {"a": [1, {"b": None}]}),
    ],
)  # fmt: skip
def test_what_fits(value: Any, model: Any, made: Any) -> None:
    found = decode(value, model)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("value", "model", "message"),
    [
        ("1", UserId, "expected int"),
        ([1, "x"], Ids, "expected int, got 'x'"),
        ([1], Pair[int], "expected 2 items, got 1"),
        ([1, "x"], Pair[int], "expected int, got 'x'"),
        ({"items": [{"id": "x"}]}, Page[User], r"Page\.items: User\.id: expected int, got 'x'"),
        ({"items": ["x"]}, Page[int], r"Page\.items: expected int"),
        ({"one": 1, "more": {}}, Two[str, int], r"Two\.one: expected str"),
        ({"one": 1, "more": {"a": "x"}}, Swapped[int], r"Swapped\.more: \['a'\]: expected"),
        ({"items": [{"id": "x"}]}, Users, r"Users\.items: User\.id: expected int"),
        ({"number": "x"}, Bounded, r"Bounded\.number: expected int"),
        ({"low": 2, "high": 1}, Checked, "expected low <= high"),
        ({"kind": "cow", "bones": 1}, Dog | Cat, "expected"),
        ({"x": "a"}, dict[int, str], "expected int, got 'x'"),
        ({"01": "a"}, dict[int, str], "expected int, got '01'"),
        ({"1_0": "a"}, dict[int, str], "expected int, got '1_0'"),
        ({"\u0661": "a"}, dict[int, str], "expected int"),
        ({" 1": "a"}, dict[int, str], "expected int, got ' 1'"),
        ({"1": 2}, dict[int, str], r"\['1'\]: expected str, got 2"),
        (True, Level, "expected Level, got True"),
        (True, Literal[1], "expected one of"),
        (1, Literal[True], "expected one of"),
        ([1, 2, 3], Point, "expected 2 items"),
        ([1], tuple[()], "expected|items"),
        ({"value": "x"}, Row[int], r"Row\.value: expected int"),
        ("a", bytes, "expected bytes"),
        ([True], list[int], "expected int, got True"),
    ],
)  # fmt: skip
def test_what_does_not_fit(value: Any, model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(value, model)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` is Python 3.12's: see CONTRIBUTING")
def test_aliases_and_generics_of_python_3_12() -> None:
    names: dict[str, Any] = {"dataclasses": dataclasses, "__name__": __name__}
    source = (  # Python 3.11 could not read it
        "type Id = int\n"
        "type Tree = dict[str, Tree] | list[Tree] | str\n"
        "type Maybe[T] = Box[T] | None\n"
        "@dataclasses.dataclass\n"
        "class Box[T]:\n"
        "    item: T\n"
        "    others: dict[Id, list[T]]\n"
        "    next: Maybe[T] = None\n"
    )
    exec(compile(source, "aliases", "exec", dont_inherit=True), names)
    Box = names["Box"]  # noqa: N806
    assert decode(1, names["Id"]) == 1
    assert decode({"a": ["b"]}, names["Tree"]) == {"a": ["b"]}
    value = {"item": 1, "others": {"2": [3]}}
    assert decode(value, Box[int]) == Box(1, {2: [3]})
    assert decode({**value, "next": value}, names["Maybe"][int]) == Box(
        1, {2: [3]}, Box(1, {2: [3]})
    )
    assert decode(None, names["Maybe"][int]) is None
    with pytest.raises(ValueError, match=r"Box\.item: expected int, got 'x'"):
        decode({"item": "x", "others": {}}, Box[int])
    with pytest.raises(ValueError, match="expected"):
        decode({"a": 1}, names["Tree"])


def test_models_of_pydantic_inside_dataclasses() -> None:
    import pydantic
    import pydantic.dataclasses as checked

    class Model(pydantic.BaseModel):
        number: int = pydantic.Field(gt=0)

    @checked.dataclass
    class Held:
        number: int = pydantic.Field(gt=0)

    assert decode({"items": [{"number": 1}]}, Page[Model]) == Page([Model(number=1)])
    assert decode({"items": [{"number": 1}]}, Page[Held]) == Page([Held(number=1)])
    for model in (Model, Held):
        with pytest.raises(ValueError, match="greater than 0"):
            decode({"items": [{"number": 0}]}, Page[model])


def test_structs_and_constraints_of_msgspec() -> None:
    import msgspec

    class Struct(msgspec.Struct, Generic[T]):
        item: T

    Positive = typing.Annotated[int, msgspec.Meta(gt=0)]  # noqa: N806
    assert decode({"item": 1}, Struct[int]) == Struct(1)
    assert decode({"items": [{"item": 1}]}, Page[Struct[int]]) == Page([Struct(1)])
    assert decode({"items": [1]}, Page[Positive]) == Page([1])
    for value, model in (
        ({"items": [{"item": "x"}]}, Page[Struct[int]]),
        ({"items": [0]}, Page[Positive]),
        ([0], list[Positive]),
    ):
        with pytest.raises(ValueError, match="Expected `int`"):
            decode(value, model)


@attrs.define
class Part(Generic[T]):
    number: int
    item: T
    day: dt.date | None = None


@attrs.define
class Machine:
    name: str
    parts: list[Part[UserId]]
    spare: Part[str] | None = None
    owners: dict[int, User] = attrs.field(factory=dict)


def test_classes_of_attrs_by_msgspec_or_cattrs() -> None:
    value = {
        "name": "m",
        "parts": [{"number": 1, "item": 2, "day": "2026-01-02", "more": 1}],
        "spare": {"number": 3, "item": "x"},
        "owners": {"7": {"id": 1, "name": "Ann"}},
    }
    machine = Machine("m", [Part(1, UserId(2), dt.date(2026, 1, 2))], Part(3, "x"), {7: ANN})
    assert decode(value, Machine) == machine
    assert decode([value], list[Machine]) == [machine]
    assert decode({"items": [value]}, Page[Machine]) == Page([machine])
    assert decode({"number": 1, "item": {"id": 1, "name": "Ann"}}, Part[User]) == Part(1, ANN)
    assert json.loads(json.dumps(Part(1, dt.date(2026, 1, 2)), default=encode)) == {
        "number": 1,
        "item": "2026-01-02",
        "day": None,
    }


@pytest.mark.parametrize(
    ("value", "model"),
    [
        ([], Machine),
        ({}, Machine),
        ({"name": 1, "parts": []}, Machine),
        ({"name": "1", "parts": [{"number": "1", "item": 1}]}, Machine),
        ({"name": "1", "parts": {}}, Machine),
        ({"number": True, "item": 1}, Part[int]),
        ({"number": 1, "item": None}, Part[int]),
    ],
)
def test_what_is_no_class_of_attrs(value: Any, model: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected|expected|missing|Machine|Part"):
        decode(value, model)


def test_what_cattrs_finds_names_the_member(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if decoder == "msgspec":
        monkeypatch.setattr(models, "_msgspec", lambda: None)
    with pytest.raises(ValueError, match=r"Machine: .*expected int, got '1'.*number") as caught:
        decode({"name": "m", "parts": [{"number": "1", "item": 1}]}, Machine)
    assert "parts" in str(caught.value)
    with pytest.raises(ValueError, match=r"'parts' is missing"):
        decode({"name": "m"}, Machine)


def test_without_either_a_class_of_attrs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_msgspec", lambda: None)
    monkeypatch.setattr(models, "_cattrs", lambda: None)
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ModuleNotFoundError, match="msgspec \\(or cattrs"):
        decode({"number": 1, "item": 1}, Part[int])


SCALARS = st.sampled_from([int, float, str, bool, dt.date, uuid.UUID, UserId, Level])
TYPES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: dict[int, kind]),
        inner.map(lambda kind: Optional[kind]),  # noqa: UP045
        inner.map(lambda kind: Page[kind]),
        inner.map(lambda kind: Pair[kind]),
    ),
    max_leaves=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.5, "1", "x", "2026-01-02"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["1", "a", "items", "by_id"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(model=TYPES, value=VALUES)
def test_what_fits_does_not_depend_on_what_is_installed(model: Any, value: Any) -> None:
    def told(convert: Any) -> str:
        try:
            return repr(convert(value, model))
        except ValueError as exc:
            return f"no: {exc}"

    assert told(decode) == told(models._decode)


def _sent(value: Any) -> Any:
    return json.loads(json.dumps(value, default=encode))


def test_they_are_sent_too() -> None:
    assert decode(_sent(Page([ANN], None, {UserId(2): ANN})), Page[User]) == Page(
        [ANN], None, {2: ANN}
    )
    assert _sent({"a": b"hi", "b": collections.deque([1]), "c": Point(1)}) == {
        "a": "aGk=",
        "b": [1],
        "c": [1, 0.0],
    }
