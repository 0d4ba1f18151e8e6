"""What the packages with names that are loaded lazily give, and what they do not import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("mkgc_cl", "mkgc_cl.strategies", "mkgc_cl.scenarios")

ALONE = """
import sys, time
before = set(sys.modules)
seconds = time.process_time()
package = __import__(sys.argv[1], fromlist=["x"])
seconds = time.process_time() - seconds
dir(package)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names)), seconds < 0.3)
"""


def announced(package: str) -> dict[str, str]:
    """What type checkers are told: the module of each name."""
    source = Path(str(importlib.import_module(package).__file__)).read_text(encoding="utf-8")
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module)
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


NAMES = [(package, name, home) for package in PACKAGES for name, home in announced(package).items()]


@pytest.mark.parametrize("package", PACKAGES)
def test_alone_it_imports_nothing_says_nothing_and_is_quick(tmp_path: Path, package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, package],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # one file of Avalanche, which needs a home: scenarios/avalanche_home.py
    new = ["mkgc_cl"] if package == "mkgc_cl" else ["avalanche", "mkgc_cl"]
    assert (done.stdout, done.stderr) == (f"{new} True\n", "")


@pytest.mark.parametrize(("package", "name", "home"), NAMES)
def test_a_public_name_is_that_of_its_module(package: str, name: str, home: str) -> None:
    found = importlib.import_module(package)
    assert getattr(found, name) is getattr(importlib.import_module(home), name)
    assert name in dir(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_every_public_name(package: str) -> None:
    assert set(importlib.import_module(package).__all__) - {"__version__"} == set(
        announced(package)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_submodule(package: str) -> None:
    """Importing the submodule would put it in the name's place."""
    found = importlib.import_module(package)
    modules = {path.stem for path in Path(str(found.__file__)).parent.iterdir()}
    assert set(found.__all__) & modules == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_not_there_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Demo'"):
        importlib.import_module(package).Demo  # noqa: B018


def test_submodules_are_attributes() -> None:
    import mkgc_cl

    assert mkgc_cl.strategies.ewc is importlib.import_module("mkgc_cl.strategies.ewc")
