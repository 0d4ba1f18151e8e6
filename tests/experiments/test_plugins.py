"""Systems from outside: by --plugin, as CONTRIBUTING.md has it, and by entry points."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl import systems
from mkgc_cl.errors import ConfigError
from mkgc_cl.experiments import imre
from mkgc_cl.experiments.pipeline import cli
from mkgc_cl.recipe_options import fitted_options, options_of_system
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


OPTIONS = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Shared:
    \"\"\"Options.

    Args:
        weight: lambda (ours).
    \"\"\"

    weight: float = 1.0

@dataclass(frozen=True)
class Own(Shared):
    \"\"\"Options.

    Args:
        mode: how (ours).
    \"\"\"

    mode: str = "online"
"""
RECIPE = """
def recipe(
    labels: LabelSpace, encoders, training, *, own: Own = Own(), samples: int | None = 8
) -> MultimodalStrategy:
    \"\"\"Build it.

    Args:
        own: of the method.
        samples: of a task.
    \"\"\"
    from mkgc_cl.strategies.recipes_text import ewc

    return ewc(labels, encoders, training, weight=own.weight, mode=own.mode, samples=samples)

MINE = register(SystemInfo("Mine", source="here", recipe=recipe))
"""
HEAD = """from __future__ import annotations

from typing import TYPE_CHECKING

from mkgc_cl.systems import SystemInfo, register

if TYPE_CHECKING:
    from mkgc_cl.data import LabelSpace
    from mkgc_cl.strategies import MultimodalStrategy
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
    series = tmp_path.glob("runs/imre-quick/*/records/*.traces.json")
    assert any("pull_back_distance" in each.read_text() for each in series)


@pytest.mark.slow
def test_the_documented_file_keeps_the_promises(tmp_path: Path) -> None:
    from mkgc_cl.strategies.catalogue import recipe_of
    from mkgc_cl.strategies.contract import yield_checks

    (tmp_path / "my_system.py").write_text(documented()[0])
    load_plugin(tmp_path / "my_system.py")
    recipe = recipe_of("Pull Back")
    checks = {check.law.__name__: check for check in yield_checks(recipe, "re")}
    checks["goes_on_from_checkpoints"]()


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
        (LIGHT.replace('("re",)', "()"), "give tuples of 're' and 'ner'"),
        (LIGHT.replace('("re",)', "'re'"), "has tasks='re'"),
        (LIGHT.replace("My EWC", ""), "cannot be called ''"),
        (LIGHT.replace("My EWC", "Mine, too"), "separates names by commas"),
        (LIGHT.replace("My EWC", "Mine=EWC"), "values by ="),
        (LIGHT.replace("My EWC", " EWC too"), "spaces at either end"),
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


@pytest.mark.parametrize("whole", [True, False], ids=["one file", "a package"])
def test_a_dataclass_of_options_stands_for_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """In the recipe's own file, inherited, or imported from beside it under another name."""
    from mkgc_cl.strategies.additions import kinds_of
    from mkgc_cl.strategies.catalogue import recipe_of
    from mkgc_cl.strategies.contract import yield_checks

    if whole:
        (tmp_path / "mine.py").write_text(HEAD + OPTIONS + RECIPE)
        load_plugin(tmp_path / "mine.py")
    else:
        package = tmp_path / "package_of_options"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "given.py").write_text(OPTIONS.replace("Own", "Given"))
        (package / "mine.py").write_text(HEAD + "from .given import Given as Own\n" + RECIPE)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.import_module("package_of_options.mine")
    known = options_of_system("Mine")
    assert known is not None
    own = {"weight": float, "mode": str, "samples": int | None}
    assert {name: known[name].plain for name in [*known][-3:]} == own
    assert (known["weight"].help, known["mode"].default) == ("lambda (ours).", "'online'")
    assert fitted_options("Mine", {"weight": 2, "samples": None})["weight"] == 2.0
    # names of its annotations that only a type checker knows take nothing from the others
    recipe = recipe_of("Mine")
    assert kinds_of(recipe) == own
    # a check takes them as the command line does, and calls the recipe by its name
    options = {"weight": 2.0, "samples": None, "interpolation": 0.5}
    check = next(yield_checks(recipe, "re", options=options))
    assert str(check) == "recipe-re-can_be_built"
    check()


def test_a_package_may_register_what_its_entry_point_names(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the file of a plugin does: it becomes a package as it is."""
    package = SimpleNamespace(name="their-package", version="1.2")
    recipe = "mkgc_cl.strategies.recipes_text:ewc"

    def both() -> SystemInfo:
        systems.register(SystemInfo("Theirs too", "a package", recipe))
        return systems.register(SystemInfo("Theirs", "a package", recipe))

    def failing() -> SystemInfo:
        systems.register(SystemInfo("Half", "a package", recipe))
        raise OSError("late")

    loads = [
        both,
        lambda: SYSTEMS["Theirs too"],
        failing,
        lambda: SystemInfo("theirs", "x", recipe),
    ]
    found = [
        SimpleNamespace(name=f"e{n}", value="m:X", dist=package, load=load)
        for n, load in enumerate(loads)
    ]
    monkeypatch.setattr(systems.metadata, "entry_points", lambda *, group: found)
    systems.load_installed.cache_clear()
    systems.load_installed()
    assert {SYSTEMS[name].origin for name in ("Theirs", "Theirs too")} == {"their-package 1.2"}
    assert "Half" not in SYSTEMS
    assert [record.args[0] for record in caplog.records] == ["e2", "e3"]  # type: ignore[index]
    assert "there is a system 'Theirs' already (their-package 1.2)" in caplog.text


def test_defaults_of_options_that_there_are_not_are_told() -> None:
    recipe = "mkgc_cl.strategies.recipes_text:ewc"
    systems.register(SystemInfo("Mine", "here", recipe, options={"wieght": 2.0}))
    with pytest.raises(ConfigError, match=r"defaults of Mine: .*did you mean 'weight'"):
        fitted_options("Mine", {"weight": 1.0})


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
