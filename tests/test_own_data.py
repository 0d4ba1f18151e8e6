"""The blocks of docs/own-data.md: files are written, commands and scripts are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from mkgc_cl.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^`([\w./]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(name, kind, body) for name, kind, body in BLOCK.findall(PAGE)]
LINES = [line for _, kind, body in BLOCKS if kind == "bash" for line in body.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("mkgc data check ")]
RUNS = [line for line in LINES if line not in COMMANDS]
SCRIPTS = [body for _, kind, body in BLOCKS if kind == "python"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, _, body in BLOCKS:
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(body)
    (tmp_path / "photos").mkdir()
    for name in ("1.JPG", "2.jpg", "3.png"):
        colour = (80 * int(name[0]), 40, 120)
        Image.new("RGB", (40, 30), colour).save(tmp_path / "photos" / name, "PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_has_a_name() -> None:
    assert {bool(name) for name, kind, _ in BLOCKS if kind in ("text", "yaml", "json")} == {True}
    assert len(COMMANDS) >= 2
    assert len(SCRIPTS) >= 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = command.split()
    assert program == "mkgc"
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "can be run" in printed
    assert "malformed" not in printed
    assert ("repaired, conlleval: 1" in printed) is ("--repair" in command)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # of other tests
@pytest.mark.parametrize("command", RUNS)
def test_a_table(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command)
    assert program == "mkgc"
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    order = (
        "imner, order PER-LOC-ORG-MISC" if "third" in command else "files, order person-city+firm"
    )
    assert order in " ".join(printed.split())
    assert "(paper)" not in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_scripts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for script in SCRIPTS:
        exec(compile(script, "own-data.md", "exec"), {"__name__": "__main__"})  # noqa: S102
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == [
        "Vanilla",
        "ExtendNER",
        "Frozen + Gaussian",
    ]
    assert lines[-2] == "('PER', 'ORG', 'LOC', 'MISC') ('sings_in', 'hires')"
    assert lines[-1] == "('person', 'city')"
