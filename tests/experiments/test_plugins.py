"""Systems from outside: by --plugin, as CONTRIBUTING.md has it, and by entry points."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl import systems
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments import cli, imre
from mkgc_cl.runs import grid
from mkgc_cl.runs.parallel import as_finished
from mkgc_cl.systems import SYSTEMS, SystemInfo, load_plugin

ROOT = Path(__file__).resolve().parents[2]
LIGHT = """
from mkgc_cl.systems import SystemInfo, register

def recipe(labels, encoders, training, *, weight: float = 1.0):
    from mkgc_cl.strategies.recipes_text import ewc

    return ewc(labels, encoders, training, weight=weight)

register(SystemInfo("My EWC", source="here", recipe=recipe, tasks=("re",)))
"""


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Leave the systems as they were."""
    before = dict(SYSTEMS)
    yield
    SYSTEMS.clear()
    SYSTEMS.update(before)
    systems._load_plugin.cache_clear()
    systems.load_installed.cache_clear()


def documented() -> tuple[str, list[str]]:
    """The file and the command of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = text[text.index("A system and a plugin from outside") :]
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    command = re.search(r"```bash\npython experiments/imre.py (.*?)\n```", text)
    assert code
    assert command
    return code[1], shlex.split(command[1])


@pytest.mark.slow
def test_the_documented_file_is_a_row_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, argv = documented()
    monkeypatch.chdir(tmp_path)
    Path("my_system.py").write_text(code)
    small = ["--epochs", "1", "--quiet"]
    small += ["stream.first=2", "stream.train_per_task=12", "stream.test_size=20"]
    # one new process for both, of which the imports are what takes time
    monkeypatch.setattr(grid, "as_finished", lambda *given, jobs: as_finished(*given, jobs=1))
    assert cli.main(imre.SCRIPT, [*argv, *small, "--jobs", "2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Options set for single systems. Pull Back: weight 0.1." in printed
    assert "Pull Back comes from my_system.py sha256 " in printed
    (path,) = tmp_path.glob("runs/imre-quick/*/results.json")
    found = {each["system"]: each for each in json.loads(path.read_text())["records"]}
    assert found.keys() == {"Pull Back", "Vanilla"}
    origin = SYSTEMS["Pull Back"].origin
    assert found["Pull Back"]["provenance"]["plugins"] == {"Pull Back": origin}
    assert "plugins" not in found["Vanilla"]["provenance"]
    assert found["Pull Back"]["config"]["origin"] == origin


@pytest.mark.slow
def test_a_plugins_system_is_a_row_like_any_other(
    ran: list, script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LIGHT)
    argv = ("imre", "--plugin", str(file), "--systems", "my ewc", "Vanilla")
    assert script(*argv, "my ewc.Weight=3") == 0
    assert ran == [("My EWC", "sep10", 0), ("Vanilla", "sep10", 0)]
    assert "My EWC comes from mine.py sha256" in " ".join(capsys.readouterr().out.split())
    assert script(*argv, "My EWC.wieght=3") == 2
    assert "My EWC has no option 'wieght'; did you mean 'weight'?" in capsys.readouterr().err
    assert script("imner", *argv[1:]) == 2
    assert "My EWC has no version for this task (ner)" in capsys.readouterr().err
    # another file of that name: its own run is made again, Vanilla's is not
    del SYSTEMS["My EWC"]
    systems._load_plugin.cache_clear()
    file.write_text(LIGHT + "\n")
    assert script(*argv, "my ewc.Weight=3") == 0
    assert ran[2:] == [("My EWC", "sep10", 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a file, found none"),
        ("1 +", "SyntaxError"),
        ("raise ValueError('on purpose')", "ValueError: on purpose"),
        ("x = 1", "it registers no system"),
        (LIGHT.replace("My EWC", "mspt"), "there is a system 'MSPT' already"),
        (LIGHT.replace('("re",)', "()"), "name 're', 'ner' or both"),
        (LIGHT + "\nraise OSError('late')", "OSError: late"),
    ],
)
def test_a_file_that_is_no_plugin(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    before = dict(SYSTEMS)
    with pytest.raises(ConfigError) as caught:
        load_plugin(file)
    assert said in str(caught.value)
    assert "--plugin" in str(caught.value)
    assert before == SYSTEMS


def test_a_recipe_that_cannot_be_had_is_told() -> None:
    from mkgc_cl.strategies.catalogue import recipe_of

    systems.register(SystemInfo("Gone", "nowhere", "mkgc_cl.strategies.recipes_text:gone"))
    with pytest.raises(ConfigError, match="of Gone cannot be had"):
        recipe_of("Gone")


def test_installed_packages_join(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    info = SystemInfo("Theirs", "a package", "mkgc_cl.strategies.recipes_text:ewc")
    package = SimpleNamespace(name="their-package", version="1.2")

    def point(name: str, loaded: object) -> SimpleNamespace:
        return SimpleNamespace(name=name, value="m:X", dist=package, load=lambda: loaded)

    found = [point("theirs", info), point("wrong", 5), point("taken", SYSTEMS["EWC"])]
    monkeypatch.setattr(systems.metadata, "entry_points", lambda *, group: found)
    systems.load_installed.cache_clear()
    systems.load_installed()
    assert SYSTEMS["Theirs"].origin == "their-package 1.2"
    assert caplog.text.count("is left out") == 2
    argv = ["--quick", "--systems", "theirs", "theirs.weight=2"]
    made = cli.settings_of(imre.SCRIPT, cli.parse(imre.SCRIPT, argv))
    assert made.systems == ("Theirs",)
    assert made.options is not None
    assert made.options["Theirs"] == {"weight": 2.0}
