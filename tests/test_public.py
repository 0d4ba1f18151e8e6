"""What ``import mkgc_cl`` gives, and what it does not import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mkgc_cl

SOURCE = Path(str(mkgc_cl.__file__)).read_text(encoding="utf-8")

ALONE = """
import sys, time
before = set(sys.modules)
seconds = time.process_time()
import mkgc_cl
seconds = time.process_time() - seconds
dir(mkgc_cl)
new = sorted(set(sys.modules) - before)
new = [name for name in new if name.partition(".")[0] not in sys.stdlib_module_names]
print(new, seconds < 0.1)
"""


def test_alone_it_imports_nothing_and_is_quick(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['mkgc_cl'] True\n"


@pytest.mark.parametrize("name", sorted(set(mkgc_cl.__all__) - {"__version__"}))
def test_a_public_name_is_that_of_its_module(name: str) -> None:
    assert getattr(mkgc_cl, name) is getattr(importlib.import_module(mkgc_cl._HOMES[name]), name)
    assert name in dir(mkgc_cl)


def test_type_checkers_see_what_is_imported() -> None:
    seen = {
        (alias.name, node.module)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mkgc_cl.")
        for alias in node.names
    }
    assert seen == set(mkgc_cl._HOMES.items())
    assert sorted(mkgc_cl.__all__) == sorted([*mkgc_cl._HOMES, "__version__"])


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Demo'"):
        mkgc_cl.Demo  # noqa: B018
