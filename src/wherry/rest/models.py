"""Between JSON and typed objects: pure, and by the types' own annotations.

msgspec, where it is installed, makes what it can; pydantic's models make themselves.  The decoder
here does what is left, and all of it where msgspec is not installed: it knows what msgspec does not
(unions of dataclasses, recursive aliases, every form of ISO 8601), and its errors name the member.
So what fits a model does not depend on what is installed; only constraints, durations, attrs
classes and Structs need msgspec.
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import re
import sys
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# What JSON has as text, and the type's own reader of it.
_READ_TEXT: dict[Any, Callable[[str], Any]] = {
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    uuid.UUID: uuid.UUID,
    decimal.Decimal: decimal.Decimal,
    bytes: _base64,
}
# Marks round a member's type that change nothing of what it decodes to.
_WRAPPERS = {"ClassVar", "Final", "NotRequired", "ReadOnly", "Required"}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_WORDS = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Others' containers are abstract: the list or dict itself will do for them.
_MADE_OF_ITEMS = (tuple, set, frozenset, collections.deque)


@functools.cache
def _msgspec() -> Any:
    try:
        import msgspec
    except ImportError:
        return None
    return msgspec


@functools.cache
def _cattrs() -> Any:
    """A converter of cattrs' for classes of attrs, all of whose members are made here."""
    try:
        import cattrs
    except ImportError:
        return None
    converter = cattrs.Converter()
    converter.register_structure_hook_func(lambda kind: not _is_of_attrs(kind), _decode)
    for kind in (bool, int, float, str, bytes):  # hooks of a class go before those of a function
        converter.register_structure_hook(kind, _decode)
    return converter


def _needed_msgspec() -> Any:
    """msgspec, for what only it can read and write.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        import msgspec
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "such a model needs msgspec (or cattrs, for classes of attrs): pip install "
            "'wherry[rest]'",
            name="msgspec",
        ) from exc
    return msgspec


def encode(value: Any) -> Any:
    """What JSON is made of instead of `value`: for ``json.dumps(default=encode)``.

    Raises:
        TypeError: JSON has nothing for it.

    >>> encode(dt.date(2026, 1, 2))
    '2026-01-02'
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in value.__attrs_attrs__}
    if hasattr(value, "__struct_fields__"):
        return _needed_msgspec().to_builtins(value, enc_hook=encode)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset, collections.deque)):
        return list(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def decode(value: Any, model: Any) -> Any:
    """Make a `model` out of `value`, decoded JSON.

    Dataclasses (generic ones too), TypedDicts, named tuples, lists, dicts with keys of any simple
    type, tuples, optional and union types, literals, enums, times, UUIDs, decimals, bytes (base64),
    `NewType` and ``type X = ...`` are made here or by msgspec; models that know how (pydantic's
    ``model_validate``, msgspec's structs) do it themselves; classes of attrs are made by msgspec,
    or by cattrs where that is installed alone.  Members that a dataclass does not have
    are passed over.  Of a union the first that fits is taken; a number, a bool and null stay what
    they are if the union has their type.

    Raises:
        ValueError: The value does not fit; the message names the member.

    >>> decode([1, 2], list[int])
    [1, 2]
    >>> decode({"1": "one"}, dict[int, str])
    {1: 'one'}
    """
    msgspec = _msgspec()
    if msgspec is not None and _suits_msgspec_safely(model):
        try:
            return msgspec.convert(value, model, str_keys=True, dec_hook=_decode_custom)
        except (msgspec.ValidationError, TypeError, RecursionError):
            pass  # what it cannot do, and what is wrong, our own decoder can tell
    return _decode(value, model)


def _decode_custom(model: Any, value: Any) -> Any:
    return _decode(value, model)


# --- whether msgspec may make it ------------------------------------------------------------------


def _suits_msgspec_safely(model: Any) -> bool:
    try:
        return _suits_msgspec(model)
    except (TypeError, NameError, RecursionError):  # an unhashable mark, or a name unknown to it
        return False


@functools.lru_cache(maxsize=512)
def _suits_msgspec(model: Any) -> bool:
    """Whether msgspec makes of this what calls of its classes make.

    It fills dataclasses without their ``__init__``, so those that have one of their own (pydantic's
    too) are made here; and so are unions and aliases, of which it takes only some.
    """
    seen: set[Any] = set()
    waiting = [model]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        arguments = typing.get_args(each)
        plain = typing.get_origin(each) or each
        if _alias_of(each) is not None or (_is_union(plain) and len(arguments) > 2):
            return False
        if plain is typing.Literal or typing.is_typeddict(plain):
            return False
        waiting += arguments if plain is not typing.Annotated else arguments[:1]
        if _is_dataclass(plain):
            if not _has_plain_init(plain):
                return False
            waiting += typing.get_type_hints(plain).values()
    return True


def _has_plain_init(model: Any) -> bool:
    code = getattr(model.__init__, "__code__", None)
    return (
        getattr(code, "co_filename", "") == "<string>"  # made by dataclasses
        and not hasattr(model, "__pydantic_validator__")
        and all(field.init for field in dataclasses.fields(model))
    )


# --- our own --------------------------------------------------------------------------------------


def _decode(value: Any, model: Any) -> Any:
    if model is Any or model is object:
        return value
    if isinstance(model, typing.TypeVar):
        return _decode(value, _default_of(model))
    if (meant := _alias_of(model)) is not None:
        return _decode(value, meant)
    if hasattr(model, "model_validate"):
        return model.model_validate(value)
    origin = typing.get_origin(model)
    if origin is typing.Annotated:
        return _decode_annotated(value, model)
    plain = origin or model
    if hasattr(plain, "__attrs_attrs__") and _msgspec() is None and _cattrs() is not None:
        return _by_cattrs(value, model)
    if hasattr(plain, "__struct_fields__") or hasattr(plain, "__attrs_attrs__"):
        return _by_msgspec(value, model)
    if model is dt.timedelta and _msgspec() is not None:
        return _by_msgspec(value, model)
    if origin is None:
        return _decode_class(value, model)
    return _decode_generic(value, model, origin, typing.get_args(model))


def _by_msgspec(value: Any, model: Any) -> Any:
    msgspec = _needed_msgspec()
    try:
        return msgspec.convert(value, model, str_keys=True, dec_hook=_decode_custom)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc


def _by_cattrs(value: Any, model: Any) -> Any:
    plain = typing.get_origin(model) or model
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {plain.__name__}, got {value!r}")  # noqa: TRY004
    try:
        return _cattrs().structure(value, model)
    except Exception as exc:
        raise ValueError(f"{plain.__name__}: {told_of(exc)}") from exc


def told_of(error: BaseException) -> str:
    """What a converter found: cattrs tells of each member by an error of its own."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(told_of, error.exceptions))
    where = [str(note) for note in getattr(error, "__notes__", ())]
    what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{what} ({'; '.join(where)})" if where else what


def _is_of_attrs(kind: Any) -> bool:
    return hasattr(typing.get_origin(kind) or kind, "__attrs_attrs__")


def _is_dataclass(model: Any) -> bool:
    return dataclasses.is_dataclass(model) and isinstance(model, type)


def _is_union(origin: Any) -> bool:
    return origin in (typing.Union, types.UnionType)


def _is_named_tuple(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, tuple) and hasattr(model, "_fields")


def _default_of(variable: typing.TypeVar) -> Any:
    """What stands for a type variable that nobody filled in."""
    default = getattr(variable, "__default__", None)
    if default is not None and type(default).__name__ not in ("NoDefaultType", "NoneType"):
        return default
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007
    return variable.__bound__ if variable.__bound__ is not None else Any


def _alias_of(model: Any) -> Any:
    """What a `NewType` or a ``type X = ...`` (typing's or typing_extensions') stands for."""
    if isinstance(model, typing.NewType):
        return model.__supertype__
    origin = typing.get_origin(model)
    alias = model if origin is None else origin
    if type(alias).__name__ != "TypeAliasType":
        return None
    meant = _evaluated(alias)
    if origin is None:
        return meant
    return _filled(meant, dict(zip(alias.__type_params__, typing.get_args(model), strict=False)))


def _evaluated(alias: Any) -> Any:
    """What an alias is, names that were text resolved: how those that name themselves are written
    before Python 3.12.
    """
    holder = types.SimpleNamespace(__annotations__={"meant": alias.__value__})
    names = vars(sys.modules.get(alias.__module__, types))
    return typing.get_type_hints(holder, names, include_extras=True)["meant"]


def _filled(hint: Any, known: Mapping[Any, Any]) -> Any:
    """A type with its type variables replaced."""
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, _default_of(hint))
    variables = getattr(hint, "__parameters__", ())
    if not variables or isinstance(hint, type):
        return hint
    return hint[tuple(known.get(each, _default_of(each)) for each in variables)]


def _hints_of(model: Any, arguments: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The members' types; in a generic class those that it and its bases were filled with.

    Each class has its own variables: one that bears the same name in a base is another.
    """
    filled: dict[Any, dict[Any, Any]] = {model: _variables(model, arguments)}
    waiting = [model]
    while waiting:
        each = waiting.pop()
        for base in vars(each).get("__orig_bases__", each.__bases__):
            origin = typing.get_origin(base) or base
            if isinstance(origin, type) and origin not in filled:
                given = [_filled(part, filled[each]) for part in typing.get_args(base)]
                filled[origin] = _variables(origin, given)
                waiting.append(origin)
    known = {name: kind for variables in filled.values() for name, kind in variables.items()}
    hints = typing.get_type_hints(model, include_extras=True)
    owners = {
        name: owner for owner in reversed(model.__mro__) for name in inspect.get_annotations(owner)
    }
    return {
        name: _filled(hint, {**known, **filled.get(owners.get(name), {})})
        for name, hint in hints.items()
    }


def _variables(model: Any, arguments: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(getattr(model, "__parameters__", ()), arguments, strict=False))


def _decode_annotated(value: Any, model: Any) -> Any:
    marks = {type(mark).__module__.partition(".")[0] for mark in model.__metadata__}
    if "msgspec" in marks:
        return _by_msgspec(value, model)  # its constraints
    return _decode(value, model.__origin__)


def _decode_class(value: Any, model: Any) -> Any:
    if _is_dataclass(model):
        return _decode_dataclass(value, model)
    if model is None or model is type(None):
        if value is not None:
            raise ValueError(f"expected null, got {value!r}")
        return None
    if model in _READ_TEXT:
        return _read_text(value, model)
    if isinstance(model, enum.EnumMeta):
        return _decode_enum(value, model)
    if typing.is_typeddict(model):
        return _decode_typed_dict(value, model)
    if _is_named_tuple(model):
        return _decode_named_tuple(value, model)
    if model in _MADE_OF_ITEMS:
        return _decode_items(value, model, ())
    if model is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _decode_plain(value, model)


def _decode_plain(value: Any, model: Any) -> Any:
    if not isinstance(model, type):
        raise TypeError(f"{model!r} is not a type that JSON can be decoded to")
    if not isinstance(value, model) or (isinstance(value, bool) and model is int):
        raise ValueError(f"expected {model.__name__}, got {value!r}")
    return value


def _decode_enum(value: Any, model: Any) -> Any:
    made = model(value)
    if isinstance(value, bool) and not isinstance(made.value, bool):
        raise ValueError(f"expected {model.__name__}, got {value!r}")  # noqa: TRY004
    return made


def _decode_dataclass(value: Any, model: Any, arguments: tuple[Any, ...] = ()) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {model.__name__}, got {value!r}")  # noqa: TRY004
    hints = _hints_of(model, arguments)
    known: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        if not field.init:
            continue
        if field.name in value:
            known[field.name] = _member(value[field.name], hints[field.name], model, field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{model.__name__}.{field.name} is missing")
    return model(**known)


def _member(value: Any, hint: Any, model: Any, name: str) -> Any:
    try:
        return _decode(value, hint)
    except ValueError as exc:
        raise ValueError(f"{model.__name__}.{name}: {exc}") from exc


def _decode_typed_dict(value: Any, model: Any, arguments: tuple[Any, ...] = ()) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {model.__name__}, got {value!r}")  # noqa: TRY004
    made = {}
    for name, hint in _hints_of(model, arguments).items():
        # Where annotations are text, `__required_keys__` knows nothing of NotRequired.
        is_required = name in model.__required_keys__ and _mark_of(hint) != "NotRequired"
        if name in value:
            made[name] = _member(value[name], hint, model, name)
        elif is_required:
            raise ValueError(f"{model.__name__}.{name} is missing")
    return made


def _decode_named_tuple(value: Any, model: Any, arguments: tuple[Any, ...] = ()) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"expected a list for {model.__name__}, got {value!r}")  # noqa: TRY004
    fewest = len(model._fields) - len(model._field_defaults)
    if not fewest <= len(value) <= len(model._fields):
        raise ValueError(f"expected {len(model._fields)} items for {model.__name__}")
    hints = _hints_of(model, arguments)
    named = zip(model._fields, value, strict=False)
    return model(*(_member(each, hints.get(name, Any), model, name) for name, each in named))


def _read_text(value: Any, model: Any) -> Any:
    if model is decimal.Decimal and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        try:
            return _READ_TEXT[model](value)
        except (ValueError, ArithmeticError, binascii.Error):
            pass
    raise ValueError(f"expected {model.__name__}, got {value!r}")


def _mark_of(origin: Any) -> str:
    return getattr(typing.get_origin(origin) or origin, "_name", None) or ""


def _decode_generic(value: Any, model: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    if _is_union(origin):
        return _decode_union(value, model, arguments)
    if origin is typing.Literal:
        if not any(value == each and type(value) is type(each) for each in arguments):
            raise ValueError(f"expected one of {arguments}, got {value!r}")
        return value
    if _mark_of(origin) in _WRAPPERS:
        return _decode(value, arguments[0])
    if _is_dataclass(origin):
        return _decode_dataclass(value, origin, arguments)
    if typing.is_typeddict(origin):
        return _decode_typed_dict(value, origin, arguments)
    if _is_named_tuple(origin):
        return _decode_named_tuple(value, origin, arguments)
    if not isinstance(origin, type):
        raise TypeError(f"{model!r} is not a type that JSON can be decoded to")
    if issubclass(origin, Mapping):
        return _decode_mapping(value, origin, arguments)
    return _decode_items(value, origin, arguments, is_empty=model == tuple[()])


def _decode_union(value: Any, model: Any, arguments: tuple[Any, ...]) -> Any:
    # 1 for `float | int` is an int, as it came.
    if value is None or isinstance(value, (bool, int, float)):
        for choice in arguments:
            if choice is type(value):
                return value
    for choice in arguments:
        try:
            return _decode(value, choice)
        except ValueError:
            continue
    raise ValueError(f"expected {model}, got {value!r}")


def _decode_mapping(value: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004
    if len(arguments) != 2:
        arguments = (str, arguments[0] if arguments else Any)
    made: dict[Any, Any] = {}
    for key, each in value.items():
        known = _decode_key(key, arguments[0])
        try:
            made[known] = _decode(each, arguments[1])
        except ValueError as exc:
            raise ValueError(f"[{key!r}]: {exc}") from exc
    return collections.OrderedDict(made) if origin is collections.OrderedDict else made


def _decode_key(key: str, model: Any) -> Any:
    """A key of an object, which JSON has as text whatever it is (RFC 8259 4)."""
    try:
        return _decode(key, model)
    except ValueError:
        if _INTEGER.fullmatch(key) is not None:
            return _decode(int(key), model)
        if _NUMBER.fullmatch(key) is not None:
            return _decode(float(key), model)
        if key in _WORDS:
            return _decode(_WORDS[key], model)
        raise


def _decode_items(
    value: Any, origin: Any, arguments: tuple[Any, ...], *, is_empty: bool = False
) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r}")  # noqa: TRY004
    if origin is tuple and arguments[-1:] != (...,) and (arguments or is_empty):
        if len(value) != len(arguments):
            raise ValueError(f"expected {len(arguments)} items, got {len(value)}")
        return tuple(_decode(each, kind) for each, kind in zip(value, arguments, strict=True))
    kind = arguments[0] if arguments else Any
    made = [_decode(each, kind) for each in value]
    if origin in _MADE_OF_ITEMS:
        return origin(made)
    return set(made) if issubclass(origin, collections.abc.Set) else made
