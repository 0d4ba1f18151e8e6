"""``mkgc``: what it answers, how fast, and with which exit code."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import mkgc_cl
from mkgc_cl import cli, doctor, listing
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.experiments import SCRIPTS
from mkgc_cl.experiments.pipeline import console as command_line
from mkgc_cl.experiments.pipeline.settings import StreamSettings

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "avalanche", "transformers", "timm", "matplotlib", "numpy", "sklearn"}

ALL_HELP = f"""
import sys, time
from mkgc_cl.cli import main, VERBS
seconds = time.process_time()
codes = []
for argv in [[], ["--version"], *([verb] for verb in VERBS), ["run", "imre"]]:
    try:
        codes.append(main([*argv, "--help"] if argv != ["--version"] else argv))
    except SystemExit as end:
        codes.append(end.code)
    if len(codes) == 1:
        sys.stderr.write(f"{{time.process_time() - seconds < 0.5}} ")
sys.stderr.write(f"{{set(codes)}} {{sorted({HEAVY!r} & set(sys.modules))}}")
"""


@pytest.mark.slow
def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALL_HELP], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == "True {0} []"
    for word in (*cli.VERBS, "130  interrupted", mkgc_cl.__version__, *SCRIPTS):
        assert word in done.stdout


def test_pipes_hold_utf_8_whatever_encoding_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "Zoë visits 東京 🙂\n"
    given, printed = io.BytesIO(words.encode()), io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given, encoding="cp1252"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="cp1252", newline=""))
    echo = cli.Verb("echo", lambda _: sys.stdout.write(sys.stdin.read()))
    monkeypatch.setitem(cli.VERBS, "predict", echo)
    assert cli.main(["predict"]) == len(words)
    sys.stdout.flush()
    assert printed.getvalue() == words.encode()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["rnu"], "did you mean 'run'?"),
        (
            ["xyz"],
            "there are doctor, data, list, run, report, speed, learn, predict, export, graph",
        ),
        (["--quite", "run"], "unrecognized arguments: --quite"),
        (["run", "ablatoin"], "did you mean 'ablation'?"),
        (["run", "--quite"], "unrecognized arguments: --quite"),
        (["list", "system"], "there are systems, options, scenarios, encoders"),
        (["data", "chek"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(argv: list[str], said: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["run"]])
def test_without_a_word_the_help_is_shown(argv: list[str], capsys) -> None:
    assert cli.main(argv) == 2
    assert "exit codes:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutputError("the disk is full"), 1),
        (ConfigError(["wrong"]), 2),
        (DataError("damaged"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys, error: BaseException, code: int
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setitem(cli.VERBS, "list", cli.Verb("fails", fail))
    assert cli.main(["list"]) == code
    assert str(error) in capsys.readouterr().err


@pytest.mark.parametrize("ended", [0, 2, 130, None])
def test_an_experiment_gets_the_rest_of_the_line(
    monkeypatch: pytest.MonkeyPatch, ended: int | None
) -> None:
    def run_module(name: str, **_: object) -> None:
        assert (name, sys.argv[1:]) == ("mkgc_cl.experiments.task_number", ["--quick", "a=1"])
        sys.exit(ended)

    before = list(sys.argv)
    monkeypatch.setattr(cli.runpy, "run_module", run_module)
    for name in ("task_number", "task-number", "Task_Number.py"):
        assert cli.main(["run", name, "--quick", "a=1"]) == (ended or 0)
    assert sys.argv == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        ["-m", "mkgc_cl", "run", "imre"],
        [str(ROOT / "experiments" / "imre.py")],
        [str(ROOT / "experiments" / "controls.py")],
        ["-m", "mkgc_cl.experiments.ablation", "--scenario", "imner"],
        ["-m", "mkgc_cl", "speed", "--scenario", "imre"],
    ],
)
def test_a_wrong_data_path_is_told_before_anything_slow_is_imported(
    tmp_path: Path, way: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *way, "--data", "WRONG"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import ")}
    first, problem = (line for line in lines if not line.startswith("import "))
    assert done.returncode == 2
    assert first == "reading the data"
    assert problem.startswith("WRONG: expected the folder that holds MRE/ and MNER/")
    assert not HEAVY & imported
    assert list(tmp_path.iterdir()) == []


def test_the_old_commands_are_the_new_ones(tmp_path: Path, capsys) -> None:
    for module, argv in (("data", ["check"]), ("results", ["report"])):
        old = importlib.import_module(f"mkgc_cl.{module}.__main__").main
        verb = ["data", "check"] if module == "data" else ["report"]
        assert old([*argv, str(tmp_path)]) == cli.main([*verb, str(tmp_path)]) == 2
        told = capsys.readouterr()
        text = (told.out + told.err).splitlines()
        assert text[: len(text) // 2] == text[len(text) // 2 :]
        with pytest.raises(SystemExit):
            cli.main([*verb, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: mkgc {' '.join(verb)} ")


def test_a_script_is_named_as_it_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    example = "    python experiments/imre.py --quick    every row"
    assert command_line.program("imre.py") == "python experiments/imre.py"
    assert command_line.commands(example) == example
    installed = Path(str(mkgc_cl.__file__)).parent / "experiments" / "console.py"
    monkeypatch.setattr(command_line, "__file__", str(installed))
    assert command_line.program("imre.py") == "mkgc run imre"
    assert command_line.commands(example) == "    mkgc run imre --quick    every row"


def test_the_lists_are_complete(capsys) -> None:
    folder = ROOT / "experiments"
    scripts = {path.stem for path in folder.glob("*.py") if "\nif __name__ ==" in path.read_text()}
    scripts |= {path.parent.name for path in folder.glob("*/__main__.py")}
    assert SCRIPTS.keys() == scripts
    scenario = get_type_hints(StreamSettings)["scenario"]
    assert listing.SCENARIOS.keys() == set(get_args(scenario))
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    for word in ("ExtendNER", "imner", "minilm", "vit-384", "rehearsal_size", "table-imre-quick"):
        assert word in told
    assert cli.main(["list", "scenarios"]) == 0
    assert capsys.readouterr().out.startswith("scenarios\n  demo ")


def nothing() -> Iterator[doctor.Found]:
    yield doctor.Found("here")


def lacking() -> Iterator[doctor.Found]:
    yield doctor.Found("not here", "fetch it")
    raise OSError("no more\nof this")


@pytest.mark.parametrize(("trial", "code"), [(nothing, 0), (lacking, 1)])
def test_the_doctor_says_what_to_do_and_whether_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys, trial: object, code: int
) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path / "cache"))
    for name in ("devices", "encoders"):  # which import PyTorch
        monkeypatch.setattr(doctor, name, lacking)
    monkeypatch.setattr(doctor, "trial", trial)
    assert cli.main(["doctor", "--data", str(tmp_path / "data")]) == code
    told = capsys.readouterr().out
    assert "  ! not here\n    -> fetch it\n  ! OSError: no more\n    -> mend" in told
    assert f"! {tmp_path}/data: expected the folder that holds MRE/ and MNER/" in told
    assert f"\n    {tmp_path}/cache, " in told
    for name in ("torch", "avalanche-lib", "timm"):
        assert f"\n    {name} " in told


def test_the_doctor_needs_no_package() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "mkgc_cl", "doctor"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert "! ModuleNotFoundError: No module named 'torch'\n    -> install" in done.stdout


@pytest.mark.parametrize(
    ("lines", "said", "advice"),
    [
        (
            ["nosuch-package >=1"],
            "nosuch-package is not installed",
            "pip install 'nosuch-package>=1'",
        ),
        (["packaging >=9999"], "packaging ", "pip install 'packaging>=9999'"),
        (["packaging >=1"], "packaging ", ""),
    ],
)
def test_the_doctor_knows_what_is_required(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], said: str, advice: str
) -> None:
    optional = 'nosuch-other >=1; extra == "dev"'
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: [*lines, optional])
    _, found = doctor.packages()
    assert found.words.startswith(said)
    assert found.advice == advice


@pytest.mark.slow
def test_the_doctor_tries_what_it_says(capsys) -> None:
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "one small task learnt and measured in" in told
    for name in listing.TEXT_ENCODERS:
        assert f"\n    {name} (text)\n" in told
    for name in listing.VISION_ENCODERS:
        # one of them comes with an extra that need not be there
        assert f" {name} (vision)" in told
    assert "\n    cpu, " in told
