"""The examples of the README that keep and use a model run, and print what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_keep_and_use_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.partition("## Keep and use")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.S)
    (said,) = re.findall(r"```text\n(.*?)```", section, re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102

    def words(text: str) -> list[str]:
        return re.sub(r"\d+\.\d", "#", text).splitlines()[:-1]  # scores, and the edge they choose

    assert words(capsys.readouterr().out) == words(said)
    assert (tmp_path / "graph.ttl").stat().st_size > 1000
