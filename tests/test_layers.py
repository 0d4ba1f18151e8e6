"""Who imports whom when it is imported itself: CONTRIBUTING.md has the table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"errors", "config", "seeds", "devices", "systems", "plain_yaml", "regular_file"}
BASE |= {"cluster", "encoders", "recipe_options"}
BASE |= {"_checks", "_cores", "_environ", "_files", "_lazy", "_patience"}
PURE = {"objectives", "memory", "metrics"}
MAY = {
    "data": BASE,
    **dict.fromkeys(sorted(PURE), BASE),
    "models": BASE | {"data"},
    "inference": BASE | {"data", "metrics", "models", "__version__"},
    "checkpoints": BASE | {"data", "inference", "__version__"},
    "graph": BASE | {"inference"},
    "results": BASE | {"metrics"},
    "runs": BASE | {"results"},
    "scenarios": BASE | {"data", "avalanche"},
    "strategies": BASE | PURE | {"checkpoints", "data", "models", "scenarios", "avalanche"}
    | {"__version__"},
    "experiments": BASE | PURE | {"data", "graph", "inference", "models", "results", "runs"}
    | {"scenarios", "strategies", "avalanche"},
}  # fmt: skip
FOLDERS = {"scenarios", "strategies", "experiments"}


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that are imported with the file: not within functions, nor for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.module == "mkgc_cl":
                yield from (f"mkgc_cl.{alias.name}" for alias in child.names)
            else:
                yield str(child.module)
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        ):
            yield from imported(child)


def rooms(file: Path) -> set[str]:
    """Layers that a file imports, and Avalanche."""
    found = set()
    for module in imported(ast.parse(file.read_text(encoding="utf-8"))):
        top, _, rest = module.partition(".")
        if top == "mkgc_cl" and rest:
            found.add(rest.partition(".")[0])
        elif top == "avalanche":
            found.add(top)
    return found


@pytest.mark.parametrize("layer", MAY)
def test_a_layer_imports_from_below_alone(layer: str) -> None:
    folder = ROOT / layer if layer in FOLDERS else ROOT / "mkgc_cl" / layer
    files = sorted(folder.rglob("*.py"))
    assert files
    found = {file.name: sorted(rooms(file) - MAY[layer] - {layer}) for file in files}
    assert {name: above for name, above in found.items() if above} == {}


def test_what_all_share_and_the_command_line_import_no_layer() -> None:
    for file in sorted((ROOT / "mkgc_cl").glob("*.py")):
        allowed = BASE | {"cli", "graph_cli", "listing", "use_cli", "__version__"}
        if file.stem == "systems":
            allowed = allowed | {"data"}  # the kinds of tasks, which are names
        assert rooms(file) <= allowed, file
