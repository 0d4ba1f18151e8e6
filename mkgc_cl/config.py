"""Settings: a frozen dataclass is the schema; YAML, flags and ``key=value`` overrides fill it.

Later sources win: defaults of the schema, the YAML file, command-line flags, overrides. Every
mistake of every source is collected and reported in one :class:`~mkgc_cl.errors.ConfigError`.
Values are read by :mod:`mkgc_cl.plain_yaml`: a file holds plain data and can name no code.
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

from mkgc_cl import plain_yaml
from mkgc_cl.errors import ConfigError, DataError, MissingDataError
from mkgc_cl.regular_file import read_regular

S = TypeVar("S")
LARGEST_FILE = 2**18
"""Bytes of a file of settings."""
LARGEST_INTEGER = 2**63 - 1
"""What an integer of torch and of numpy can hold."""
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
    defaults: Mapping[str, object] | None = None,
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
        defaults: dotted key to what stands in for the default of the schema.

    Raises:
        ConfigError: naming every mistake, its source and what was expected.
    """
    problems: list[str] = []
    given = {key: _Given(value, "default") for key, value in (defaults or {}).items()}
    if yaml_path is not None:
        given.update(_read_yaml(Path(yaml_path), schema, problems))
    for key, value in (flags or {}).items():
        if value is not None:
            given[key] = _Given(value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    _add_overrides(given, overrides, problems)
    fields = keys(schema)
    for key, entry in given.items():
        if key not in fields:
            problems.append(f"{entry.source}: unknown key {_shown(key)}{_suggest(key, fields)}")
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
        raise ConfigError([f"must be {expected}, got {_shown(value)}"])
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
    return plain_yaml.dump(to_dict(config))


def _add_overrides(given: dict[str, _Given], overrides: Sequence[str], problems: list[str]) -> None:
    """Let ``key=value`` texts replace what other sources gave, and never one another."""
    earlier: dict[str, object] = {}
    for text in overrides:
        source = f"override {_shown(text)}"
        name, sign, raw = text.partition("=")
        key = name.strip()
        if not sign or not key:
            problems.append(f"{source}: expected key=value, as in 'epochs=3'")
            continue
        try:
            read = plain_yaml.parse(raw)
        except DataError as error:
            problems.append(
                f"{source}: the value is {error}; give plain data, text with special characters "
                "in quotes"
            )
            continue
        problems += [f"{source}: key {_shown(twice.key)} is there twice" for twice in read.repeated]
        if key in earlier and not isinstance(read.data, Mapping):
            problems.append(f"{source}: {key!r} was given before; give it once")
        earlier[key] = value = read.data
        if key in given:
            value = _merged(given[key].value, value)
        given[key] = _Given(value, source)


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
            got = _shown(entry.value)
            if value is _INVALID:
                problems.append(f"{entry.source}: {key!r} must be {expected}, got {got}")
            elif not _writable(entry.value):
                problems.append(
                    f"{entry.source}: {key!r} must be text that can stand in a file (no NUL, no "
                    f"bytes that are not UTF-8), got {got}"
                )
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
        value = [_read(part) for part in value.split(",") if part.strip()]
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


def _read(text: str) -> object:
    """What a text of the command line says, or ``_INVALID``."""
    try:
        return plain_yaml.parse(text).data
    except DataError:
        return _INVALID


def _number(value: object) -> object:
    if isinstance(value, str):
        value = _read(value)  # in quotes, or by a flag
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _INVALID
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return _INVALID
    return number if math.isfinite(number) else _INVALID


def _writable(value: object) -> bool:
    """Whether all text in ``value`` can be written to a file and name one."""
    if isinstance(value, Mapping):
        return all(map(_writable, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(_writable, value))
    # a lone surrogate is what Python makes of a byte of the command line that is not UTF-8
    return not isinstance(value, str) or not any(
        c == "\0" or "\ud800" <= c < "\ue000" for c in value
    )


def _range_problems(
    key: str, value: Any, field: dataclasses.Field[Any], entry: _Given
) -> list[str]:
    wrong = []
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, bool) or not isinstance(item, (int, float)):
            continue
        low, above, high = (field.metadata.get(n) for n in ("minimum", "above", "maximum"))
        if high is None and isinstance(item, int):
            high = LARGEST_INTEGER
        if low is not None and item < low:
            wrong.append(f"{entry.source}: {key!r} must be at least {low}, got {item}")
        if above is not None and item <= above:
            wrong.append(f"{entry.source}: {key!r} must be larger than {above}, got {item}")
        if high is not None and item > high:
            wrong.append(f"{entry.source}: {key!r} must be at most {high}, got {item}")
    return wrong


def _read_yaml(path: Path, schema: type[Any], problems: list[str]) -> dict[str, _Given]:
    try:
        data = read_regular(path, limit=LARGEST_FILE)
        read = plain_yaml.parse(data.decode("utf-8-sig"), path=path)
    except MissingDataError:
        problems.append(f"{path}: no such configuration file")
        return {}
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 ({error.reason} at byte {error.start})")
        return {}
    except DataError as error:
        problems.append(str(error))
        return {}
    if read.data is None:
        return {}
    if isinstance(read.data, dict) and isinstance(read.root, yaml.MappingNode):
        given: dict[str, _Given] = {}
        seen = _flatten(path, read.root, read.data, schema, "", given, problems)
        problems += [
            f"{path}:{twice.line}: key {_shown(twice.key)} was set in line {twice.first}"
            for twice in read.repeated
            if twice.line not in seen
        ]
        return given
    kind = type(read.data).__name__
    problems.append(f"{path}:1: expected 'key: value' lines, got {kind}")
    return {}


def _flatten(
    path: Path,
    node: yaml.MappingNode,
    data: Mapping[Any, object],
    schema: type[Any],
    prefix: str,
    given: dict[str, _Given],
    problems: list[str],
) -> set[int]:
    """Turn sections into dotted keys; the node tree knows the lines.

    Returns:
        Lines of keys that were given before and are named in ``problems``.
    """
    hints: dict[str, type[Any]] = get_type_hints(schema)
    sections = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    twice: set[int] = set()
    for key_node, value_node in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        key, source = prefix + name, f"{path}:{line}"
        value = data.get(name, _INVALID)
        if value is _INVALID and key_node.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG:
            continue  # of a section that is there twice, which is told by the name of the section
        if name in sections and isinstance(value, dict):
            twice |= _flatten(path, value_node, value, sections[name], f"{key}.", given, problems)
        elif name in sections and value is not None:
            problems.append(f"{source}: {key!r} is a section, got {_shown(value)}")
        elif name not in sections:
            if key in given:  # also as "training.epochs" beside "training: {epochs: ...}"
                first = given[key].source.rpartition(":")[2]
                problems.append(f"{source}: key {key!r} was set in line {first}")
                twice.add(line)
            # a key that is not text (a number, true) is that of no setting
            given[key] = _Given(None if value is _INVALID else value, source)
    return twice


def _suggest(key: str, known: Mapping[str, object]) -> str:
    """Name the nearest key, by its last part, for a section is often left out."""
    last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.6)
    return f", did you mean {last[near[0]]!r}?" if near else f"; known keys: {', '.join(known)}"


def _shown(value: object) -> str:
    """``repr(value)``, cut where nobody would read on."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text):,} characters)"
