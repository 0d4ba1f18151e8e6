"""YAML for settings: plain data by the core schema of YAML 1.2, small, and every key once.

PyYAML alone reads YAML 1.1, to which ``010`` is 8, ``1:30`` is 90, ``no`` is false and ``3e-5`` is
text; it takes the last of two equal keys and follows aliases, of which a few lines can stand for
more data than there is memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from mkgc_cl.errors import DataError

DEEPEST = 32
"""Levels of lists and mappings within one another."""
LONGEST_NUMBER = 400
"""Characters of a number; one of more digits is beyond what a float can hold."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that one mapping has twice.

    Args:
        key: the key.
        line: 1-based line of the later one.
        first: line of the earlier one.
    """

    key: object
    line: int
    first: int


@dataclass(frozen=True, slots=True)
class PlainYaml:
    """A document.

    Args:
        data: mappings, lists, text, numbers, booleans and ``None``.
        root: the node behind them, which knows the lines; ``None`` of an empty document.
        repeated: keys that stand there twice; ``data`` has the last value.
    """

    data: Any
    root: yaml.Node | None
    repeated: tuple[Repeated, ...]


def parse(text: str, *, path: str | Path | None = None) -> PlainYaml:
    """Read one document.

    >>> parse("[010, 1:30, no, 3e-5, 0x1f, ~]").data
    [10, '1:30', 'no', 3e-05, 31, None]

    Args:
        text: the document.
        path: where it is from, for the message.

    Raises:
        DataError: it is not YAML, has tags, aliases or too deep a nesting (with the line).
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"not YAML ({_one_line(error)})", path=path, line=line) from error
    # PyYAML lets escapes and version numbers beyond any meaning through to Python
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise DataError(f"not YAML ({_one_line(error)})", path=path) from error
    return PlainYaml(data, root, tuple(loader.repeated))


def dump(data: object) -> str:
    """Write plain data as YAML that :func:`parse` and readers of YAML 1.1 read back equal."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares no ClassVar
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
        "tag:yaml.org,2002:seq": yaml.SafeLoader.construct_yaml_seq,
        "tag:yaml.org,2002:map": yaml.SafeLoader.construct_yaml_map,
        None: yaml.SafeLoader.construct_undefined,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[Repeated] = []
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            words = f"found the alias *{event.anchor}; write the value out"
            raise ComposerError(None, None, words, mark)
        if self._depth == DEEPEST:
            words = f"found more than {DEEPEST} levels of lists and mappings; give fewer"
            raise ComposerError(None, None, words, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep)  # first: it refuses keys without a hash
        lines: dict[object, int] = {}
        for key_node, _ in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if key in lines:
                self.repeated.append(Repeated(key, line, lines[key]))
            lines.setdefault(key, line)
        return mapping


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True  # parse() would not follow them


def _whole(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2])
    return int(text) if base is None else int(text[2:], base)


def _fraction(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# Section 10.3.2 of YAML 1.2: name, form, first characters, what to make of it.
_CORE: tuple[tuple[str, str, str, Callable[[str], object]], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _whole),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
        _fraction,
    ),
)


def _teach(name: str, form: str, first: str, make: Callable[[str], object]) -> None:
    """Let the loader read a kind of scalar, and the dumper quote text that looks like one."""
    tag, pattern = f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{form})\Z")

    def construct(loader: _Loader, node: Any) -> object:
        text = str(loader.construct_scalar(node))
        if not pattern.match(text):  # it was tagged so by hand
            words = f"{text[:40]!r} is not of the kind {name}"
            raise ConstructorError(None, None, words, node.start_mark)
        if len(text) > LONGEST_NUMBER:
            words = f"found a number of {len(text)} digits; give at most {LONGEST_NUMBER}"
            raise ConstructorError(None, None, words, node.start_mark)
        return make(text)

    _Loader.add_constructor(tag, construct)
    characters = [*first, ""] if pattern.match("") else list(first)
    for kind in (_Loader, _Dumper):
        kind.add_implicit_resolver(tag, pattern, characters)


for _kind in _CORE:
    _teach(*_kind)


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())
