"""Settings: a frozen dataclass is the schema; YAML, flags and ``key=value`` overrides fill it.

Later sources win: defaults of the schema, the YAML file, command-line flags, overrides. Every
mistake of every source is collected and reported in one :class:`~mkgc_cl.errors.ConfigError`.
Values come through ``yaml.safe_load`` only: a file holds plain data and can name no code.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from mkgc_cl.errors import ConfigError

S = TypeVar("S")
_INVALID = object()
"""Stands for a value that was refused, so that the search for further mistakes can go on."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Given:
    """A value somebody wrote, and where (``file.yaml:3``, ``--epochs``, ``override lr=x``)."""

    value: object
    source: str


def setting(
    default: Any,
    *,
    help: str,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a field of a schema with its help text and its legal range.

    Args:
        default: value where no source gives one; a tuple for a sequence.
        help: one sentence, with the unit.
        minimum: smallest legal number.
        above: the number must be larger than this.
        maximum: largest legal number.
    """
    limits = {"help": help, "minimum": minimum, "above": above, "maximum": maximum}
    return dataclasses.field(default=default, metadata=limits)


def resolve(
    schema: type[S],
    *,
    yaml_path: str | Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, object] | None = None,
) -> S:
    """Build a checked ``schema`` from its defaults and every source.

    A schema may have a method ``problems(self) -> Sequence[str]`` for checks across fields.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Training:
    ...     epochs: int = setting(3, help="passes over a task", minimum=1)
    ...     lr: float = setting(1e-3, help="learning rate", above=0)
    >>> resolve(Training, overrides=["lr=3e-5"], flags={"epochs": 5})
    Training(epochs=5, lr=3e-05)
    >>> resolve(Training, overrides=["epoch=5", "lr=fast"])
    Traceback (most recent call last):
    mkgc_cl.errors.ConfigError: 2 mistake(s) in the configuration:
      - override 'epoch=5': unknown key 'epoch', did you mean 'epochs'?
      - override 'lr=fast': 'lr' must be a number, got 'fast'

    Args:
        schema: a frozen dataclass whose fields all have defaults; sections are nested dataclasses.
        yaml_path: a YAML file with any part of the settings.
        overrides: ``key=value`` texts, dotted keys for sections, values as YAML. Of a field of
            names and values only the named entries are replaced.
        flags: dotted key to value; ``None`` means the flag was not given.

    Raises:
        ConfigError: naming every mistake, its source and what was expected.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    if yaml_path is not None:
        given.update(_read_yaml(Path(yaml_path), schema, problems))
    for key, value in (flags or {}).items():
        if value is not None:
            given[key] = _Given(value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    for text in overrides:
        key, sign, raw = text.partition("=")
        if not sign or not key.strip():
            problems.append(f"override {text!r}: expected key=value, as in 'epochs=3'")
            continue
        try:
            value = yaml.safe_load(raw)
            before = given.get(key.strip())
            if before is not None:
                value = _merged(before.value, value)
            given[key.strip()] = _Given(value, f"override {text!r}")
        except yaml.YAMLError as error:
            problems.append(
                f"override {text!r}: the value is not YAML ({_one_line(error)}); give plain data, "
                "text with special characters in quotes"
            )
    fields = keys(schema)
    for key, entry in given.items():
        if key not in fields:
            problems.append(f"{entry.source}: unknown key {key!r}{_suggest(key, fields)}")
    config = _build(schema, "", given, problems)
    if problems:
        raise ConfigError(problems)
    check = getattr(config, "problems", None)
    found = list(check()) if callable(check) else []
    if found:
        raise ConfigError(found)
    return config


def fitted(value: object, kind: Any) -> object:
    """Return ``value`` as type ``kind``, by the rules that settings obey.

    >>> fitted("3e-5", float)
    3e-05

    Args:
        value: plain data, as YAML gives it.
        kind: a type as the fields of a schema have it.

    Raises:
        ConfigError: it does not fit, and what was expected.
    """
    result, expected = _coerce(value, kind)
    if result is _INVALID:
        raise ConfigError([f"must be {expected}, got {value!r}"])
    return result


def keys(schema: type[Any], prefix: str = "") -> dict[str, dataclasses.Field[Any]]:
    """Return every dotted key of ``schema`` with its field, in order of declaration."""
    hints = get_type_hints(schema)
    found: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            found |= keys(hints[field.name], f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return a resolved configuration as plain JSON and YAML types."""
    plain = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain


def dump(config: Any) -> str:
    """Return a resolved configuration as YAML text, which :func:`resolve` reads back equal."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def _build(schema: type[S], prefix: str, given: Mapping[str, _Given], problems: list[str]) -> S:
    hints = get_type_hints(schema)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(schema):  # type: ignore[arg-type]
        key = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            values[field.name] = _build(hints[field.name], f"{key}.", given, problems)
        elif key in given:
            entry = given[key]
            value, expected = _coerce(entry.value, hints[field.name])
            if value is _INVALID:
                problems.append(f"{entry.source}: {key!r} must be {expected}, got {entry.value!r}")
            else:
                problems += _range_problems(key, value, field, entry)
                values[field.name] = value
    return schema(**values)


def _coerce(value: object, kind: Any) -> tuple[Any, str]:
    """Return ``value`` as type ``kind`` or ``_INVALID``, and the words for what was expected."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        tried = [_coerce(value, option) for option in arguments]
        fit = [result for result, _ in tried if result is not _INVALID]
        return (fit[0] if fit else _INVALID), " or ".join(words for _, words in tried)
    if origin is Literal:
        words = "one of " + ", ".join(repr(option) for option in arguments)
        same = [option for option in arguments if option == value and type(option) is type(value)]
        return (same[0] if same else _INVALID), words
    if origin is tuple:
        return _coerce_items(value, arguments[0])
    if origin is Mapping:
        return _coerce_entries(value, arguments[1])
    if kind is Any:
        return value, "any value"
    if kind is types.NoneType:
        return (None if value is None else _INVALID), "null"
    if kind is float:
        return _number(value), "a number"
    # bool is an int to Python; to a reader of a configuration it is not.
    if kind is int:
        right = isinstance(value, int) and not isinstance(value, bool)
        return (value if right else _INVALID), "a whole number"
    names = {bool: "true or false", str: "text (in quotes, should YAML take it for something else)"}
    return (value if isinstance(value, kind) else _INVALID), names[kind]


def _coerce_items(value: object, kind: Any) -> tuple[Any, str]:
    if isinstance(value, str):  # "0,1,2" on a command line; a single value is a list of one
        value = [yaml.safe_load(part) for part in value.split(",") if part.strip()]
    elif not isinstance(value, Sequence):
        value = [value]
    items = [_coerce(item, kind) for item in value]
    words = f"a list, each item {_coerce(_INVALID, kind)[1]}"
    return (_INVALID if any(i is _INVALID for i, _ in items) else tuple(i for i, _ in items)), words


def _merged(before: object, value: object) -> object:
    """Entries of a mapping replace those of the same name; anything else replaces the whole."""
    if not isinstance(before, Mapping) or not isinstance(value, Mapping):
        return value
    return {**before, **{name: _merged(before.get(name), entry) for name, entry in value.items()}}


def _coerce_entries(value: object, kind: Any) -> tuple[Any, str]:
    words = f"names and values, each value {_coerce(_INVALID, kind)[1]}"
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return _INVALID, words
    entries = {name: _coerce(entry, kind)[0] for name, entry in value.items()}
    return (_INVALID if any(v is _INVALID for v in entries.values()) else entries), words


def _number(value: object) -> object:
    if isinstance(value, str):
        # YAML 1.1 takes 3e-5 (no dot) for text; nobody who writes it means text.
        try:
            value = float(value)
        except ValueError:
            return _INVALID
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _INVALID
    return float(value) if math.isfinite(value) else _INVALID


def _range_problems(
    key: str, value: Any, field: dataclasses.Field[Any], entry: _Given
) -> list[str]:
    wrong = []
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            continue
        low, above, high = (field.metadata.get(n) for n in ("minimum", "above", "maximum"))
        if low is not None and item < low:
            wrong.append(f"{entry.source}: {key!r} must be at least {low}, got {item}")
        if above is not None and item <= above:
            wrong.append(f"{entry.source}: {key!r} must be larger than {above}, got {item}")
        if high is not None and item > high:
            wrong.append(f"{entry.source}: {key!r} must be at most {high}, got {item}")
    return wrong


def _read_yaml(path: Path, schema: type[Any], problems: list[str]) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except FileNotFoundError:
        problems.append(f"{path}: no such configuration file")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 ({error.reason} at byte {error.start})")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{path}:{line}: not YAML ({_one_line(error)})")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problems.append(f"{path}: not YAML ({_one_line(error)})")
    else:
        if data is None:
            return {}
        if isinstance(data, dict) and isinstance(root, yaml.MappingNode):
            return _flatten(path, root, data, schema, "", problems)
        problems.append(f"{path}:1: expected 'key: value' lines, got {type(data).__name__}")
    return {}


def _flatten(
    path: Path,
    node: yaml.MappingNode,
    data: Mapping[Any, object],
    schema: type[Any],
    prefix: str,
    problems: list[str],
) -> dict[str, _Given]:
    """Turn sections into dotted keys; positions come from the node tree, values from safe_load."""
    hints: dict[str, type[Any]] = get_type_hints(schema)
    sections = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    given: dict[str, _Given] = {}
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen:
            problems.append(f"{path}:{line}: key {prefix + name!r} was set in line {seen[name]}")
        seen[name] = line
        value = data.get(name, _INVALID)
        if value is _INVALID:  # not text (a number, a date, a merge): no setting is called so
            given[prefix + name] = _Given(None, f"{path}:{line}")
        elif name not in sections:
            given[prefix + name] = _Given(value, f"{path}:{line}")
        elif isinstance(value, dict):
            given |= _flatten(path, value_node, value, sections[name], f"{prefix}{name}.", problems)
        elif value is not None:
            problems.append(f"{path}:{line}: {prefix + name!r} is a section, got {value!r}")
    return given


def _suggest(key: str, known: Mapping[str, object]) -> str:
    """Name the nearest key, by its last part, for a section is often left out."""
    last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.6)
    return f", did you mean {last[near[0]]!r}?" if near else f"; known keys: {', '.join(known)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())
