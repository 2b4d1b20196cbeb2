"""Between JSON and typed objects: pure, and by the types' own annotations.

Dataclasses and the standard library's types are done here; pydantic's and msgspec's models do it
themselves.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

# What JSON has as text, and the type's own reader of it.
_READ_TEXT: dict[Any, Callable[[str], Any]] = {
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    uuid.UUID: uuid.UUID,
    decimal.Decimal: decimal.Decimal,
}


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
    if hasattr(value, "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def decode(value: Any, model: Any) -> Any:
    """Make a `model` out of decoded JSON.

    Dataclasses, lists, dicts, tuples, optional and union types, enums, times, UUIDs and decimals
    are made here; models that know how (pydantic's ``model_validate``, msgspec's structs) do it
    themselves.  Members that a dataclass does not have are passed over.

    Raises:
        ValueError: The value does not fit.

    >>> decode([1, 2], list[int])
    [1, 2]
    """
    if model is Any or model is object:
        return value
    if hasattr(model, "model_validate"):
        return model.model_validate(value)
    if hasattr(model, "__struct_fields__"):
        import msgspec

        return msgspec.convert(value, model)
    origin = typing.get_origin(model)
    if origin is typing.Annotated:
        return decode(value, model.__origin__)
    if origin is not None:
        return _decode_generic(value, model, origin, typing.get_args(model))
    if dataclasses.is_dataclass(model) and isinstance(model, type):
        return _decode_dataclass(value, model)
    if model is None or model is type(None):
        if value is not None:
            raise ValueError(f"expected null, got {value!r}")
        return None
    if model in _READ_TEXT:
        return _read_text(value, model)
    if isinstance(model, enum.EnumMeta):
        return model(value)
    if typing.is_typeddict(model):
        return _decode_typed_dict(value, model)
    if model is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, model) or (isinstance(value, bool) and model is int):
        raise ValueError(f"expected {model.__name__}, got {value!r}")
    return value


def _decode_dataclass(value: Any, model: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {model.__name__}, got {value!r}")  # noqa: TRY004
    hints = typing.get_type_hints(model)
    known: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        if field.name in value:
            try:
                known[field.name] = decode(value[field.name], hints[field.name])
            except ValueError as exc:
                raise ValueError(f"{model.__name__}.{field.name}: {exc}") from exc
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{model.__name__}.{field.name} is missing")
    return model(**known)


def _decode_typed_dict(value: Any, model: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object for {model.__name__}, got {value!r}")  # noqa: TRY004
    # Where annotations are text, `__required_keys__` knows nothing of NotRequired.
    marks = {
        name: typing.get_origin(hint)
        for name, hint in typing.get_type_hints(model, include_extras=True).items()
    }
    made = {}
    for name, hint in typing.get_type_hints(model).items():
        if name in value:
            made[name] = decode(value[name], hint)
        elif marks[name] is not typing.NotRequired and name in model.__required_keys__:
            raise ValueError(f"{model.__name__}.{name} is missing")
    return made


def _read_text(value: Any, model: Any) -> Any:
    if model is decimal.Decimal and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        try:
            return _READ_TEXT[model](value)
        except (ValueError, ArithmeticError):
            pass
    raise ValueError(f"expected {model.__name__}, got {value!r}")


def _decode_generic(value: Any, model: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    if origin in (typing.Union, types.UnionType):
        for choice in arguments:
            try:
                return decode(value, choice)
            except ValueError:
                continue
        raise ValueError(f"expected {model}, got {value!r}")
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"expected one of {arguments}, got {value!r}")
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004
        return {key: decode(each, arguments[1]) for key, each in value.items()}
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {value!r}")  # noqa: TRY004
    if origin is tuple and arguments[-1] is not ...:
        return tuple(decode(each, kind) for each, kind in zip(value, arguments, strict=True))
    made = [decode(each, arguments[0]) for each in value]
    return origin(made) if origin in (tuple, set, frozenset) else made
