"""The options of a recipe, read off its source: names, types, defaults and help.

A recipe declares each of its options once, as a keyword-only argument with a line in its docstring;
an argument whose type is a dataclass stands for its fields.
To import it takes Avalanche with it, so here its source is read: a mistake on the command line is
told, and ``mkgc list options`` answers, before anything slow is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal

from mkgc_cl._checks import did_you_mean
from mkgc_cl.config import fitted
from mkgc_cl.errors import ConfigError
from mkgc_cl.systems import SYSTEMS

_PLAIN: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        kind: its type, as the recipe spells it.
        default: its default, as the recipe spells it.
        help: what it is, with where its default comes from.
        plain: the type itself, where the source tells; else only its recipe knows it.
    """

    kind: str
    default: str
    help: str
    plain: Any = None


def options_of_system(name: str) -> Mapping[str, Option] | None:
    """Return the options of a system by name; ``None`` where its source does not tell.

    Its own and those that every system has.

    Raises:
        ConfigError: the system has defaults of options that there are not.
    """
    info = SYSTEMS[name]
    own = _options(info.recipe)
    if own is None:
        return None
    known = {**_fields_of("mkgc_cl.strategies.additions", "Additions"), **own}
    if wrong := [option for option in info.options if option not in known]:
        raise ConfigError(
            [f"the defaults of {name}: {unknown_option(name, o, known)}" for o in wrong]
        )
    for option, value in info.options.items():
        known[option] = replace(known[option], default=repr(value))
    return known


def fitted_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a system, of the types that its recipe declares.

    Where the source of the recipe does not tell, the recipe is imported.

    Args:
        name: the system.
        options: as a file or the command line gives them.

    Raises:
        ConfigError: naming every option that it does not have or that is of another type.
    """
    known = options_of_system(name)
    if known is None or any(option.plain is None for option in known.values()):
        from mkgc_cl.strategies.catalogue import checked_options

        checked: dict[str, Any] = checked_options(name, options)
        return checked
    fit: dict[str, Any] = {}
    wrong = []
    for option, value in options.items():
        if option not in known:
            wrong.append(unknown_option(name, option, known))
            continue
        try:
            fit[option] = fitted(value, known[option].plain)
        except ConfigError as error:
            wrong += [f"{name}: {option!r} {problem}" for problem in error.problems]
    if wrong:
        raise ConfigError(wrong)
    return fit


def unknown_option(name: str, option: str, known: Iterable[str]) -> str:
    """Say that a system has no such option, and which it has."""
    hint = did_you_mean(option, known)
    return f"{name} has no option {option!r}; {hint}it has {', '.join(known) or 'none'}"


@lru_cache
def _options(recipe: str | Callable[..., Any]) -> Mapping[str, Option] | None:
    try:
        tree, name = _source(recipe)
    except (OSError, TypeError, ValueError, SyntaxError, ImportError):
        return None
    same = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    if not same or same[0].args.kwarg is not None:
        return None
    helps = _helps(ast.get_docstring(same[0]) or "")
    arguments = zip(same[0].args.kwonlyargs, same[0].args.kw_defaults, strict=True)
    found: dict[str, Option] = {}
    for argument, default in arguments:
        kind = argument.annotation
        fields = _fields(kind.id, tree) if isinstance(kind, ast.Name) else {}
        found |= fields or {argument.arg: _option(argument.arg, kind, default, helps, tree)}
    return found


def _fields(name: str, tree: ast.Module) -> Mapping[str, Option]:
    """The fields of a dataclass, read off its source too; none where there is no such class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _declared(node, tree) if _is_dataclass(node) else {}
    home = _imported(name, tree)
    return {} if home is None else _fields_of(*home)


@lru_cache
def _fields_of(module: str, name: str) -> Mapping[str, Option]:
    try:
        return _fields(name, _module(module))
    except (OSError, SyntaxError, ImportError):
        return {}


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _declared(node: ast.ClassDef, tree: ast.Module) -> Mapping[str, Option]:
    helps = _helps(ast.get_docstring(node) or "")
    found: dict[str, Option] = {}
    for base in node.bases:
        found |= _fields(base.id, tree) if isinstance(base, ast.Name) else {}
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            name = field.target.id
            found[name] = _option(name, field.annotation, field.value, helps, tree)
    return found


def _option(
    name: str, kind: ast.expr | None, default: ast.expr | None, helps: Mapping[str, str], tree: Any
) -> Option:
    return Option(
        kind="any" if kind is None else ast.unparse(kind),
        default="" if default is None else ast.unparse(default),
        help=helps.get(name, ""),
        plain=_plain(kind, tree),
    )


def _imported(name: str, tree: ast.Module) -> tuple[str, str] | None:
    """The module that a name is imported from, if only for type checkers, and its name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return str(node.module), alias.name
    return None


def _source(recipe: str | Callable[..., Any]) -> tuple[ast.Module, str]:
    """The module of a recipe, which is not imported for it, and the name of its function."""
    if not callable(recipe):
        module, _, name = recipe.partition(":")
        return _module(module), name
    package = getattr(sys.modules.get(recipe.__module__), "__package__", None)
    return _parsed(inspect.getsourcefile(recipe), package), recipe.__name__


@lru_cache
def _module(name: str) -> ast.Module:
    spec = _spec(name)
    if spec is None:
        raise ModuleNotFoundError(name)
    return _parsed(spec.origin, spec.parent)


def _parsed(file: str | None, package: str | None) -> ast.Module:
    """The source of a module of a package, with its relative imports made absolute."""
    tree = ast.parse(Path(str(file)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            relative = "." * node.level + (node.module or "")
            node.module = importlib.util.resolve_name(relative, package or "")
            node.level = 0
    return tree


@lru_cache
def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies, found by where its package lies, which is not imported for it."""
    parent = _spec(name.rpartition(".")[0]) if "." in name else None
    places = parent.submodule_search_locations if parent is not None else None
    found = PathFinder.find_spec(name, places) if places else None
    return found or importlib.util.find_spec(name)  # an editable install has a finder of its own


def _plain(node: ast.AST | None, tree: ast.Module) -> Any:
    """The type that an annotation names, if it is made of plain ones and of choices."""
    if isinstance(node, ast.Name):
        return _PLAIN.get(node.id) or _choices(node.id, tree)
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return Literal[tuple(part.value for part in parts if isinstance(part, ast.Constant))]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple":
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
        item = _plain(parts[0], tree) if len(parts) == 2 else None  # tuple[item, ...]
        return None if item is None else types.GenericAlias(tuple, (item, ...))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _plain(node.left, tree), _plain(node.right, tree)
        return None if left is None or right is None else left | right
    return None


def _choices(name: str, tree: ast.Module) -> Any:
    """The ``Literal`` that a name stands for, here or where it is imported from."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return _plain(node.value, tree)
    home = _imported(name, tree)
    try:
        return None if home is None else _choices(home[1], _module(home[0]))
    except (OSError, SyntaxError, ImportError):
        return None


def _helps(docstring: str) -> dict[str, str]:
    """The lines of a docstring's ``Args:``, by argument, without its markup."""
    arguments = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    arguments = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", arguments).replace("``", "")
    found = re.findall(r"^    (\w+): ((?:.|\n {8})*)", arguments, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
