"""The examples of the README that keep and use a model run, and print what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_keep_and_use_prints_what_it_says(tmp_path: Path) -> None:
    section = README.partition("## Keep and use")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.S)
    (said,) = re.findall(r"```text\n(.*?)```", section, re.S)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    def words(text: str) -> list[str]:
        return re.sub(r"\d+\.\d", "#", text).splitlines()[:-1]  # scores, and the edge they choose

    assert words(done.stdout) == words(said)
    assert (tmp_path / "graph.ttl").stat().st_size > 1000
