"""No hub's code is run: it is written at every call that could, where a second lock hides it too.

A folder with code of its own is tried in models/test_encoders.py and inference/test_saving.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOADERS = {"from_pretrained", "from_config", "pipeline"}


def loads(file: Path) -> Iterator[ast.Call]:
    """Calls by which a file has transformers build something that a folder or a hub describes."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] == "transformers"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            if name in LOADERS and (owner.partition(".")[0] or name) in names:
                yield node


def test_every_call_that_could_run_code_of_a_hub_refuses_it() -> None:
    found, without = 0, []
    for top in ("mkgc_cl", "strategies", "scenarios", "experiments"):
        for file in sorted((ROOT / top).rglob("*.py")):
            for call in loads(file):
                found += 1
                said = {word.arg: ast.unparse(word.value) for word in call.keywords}
                if said.get("trust_remote_code") != "False":
                    without.append(f"{file.relative_to(ROOT)}:{call.lineno}")
    assert found >= 6
    assert without == []
