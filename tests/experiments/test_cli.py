"""From the command line to the settings: sources, names, options of systems, every mistake."""

from __future__ import annotations

import importlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from mkgc_cl.config import keys, resolve, to_dict
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.experiments import ablation, imner, imre, rehearsal_size
from mkgc_cl.experiments.pipeline import cli
from mkgc_cl.experiments.pipeline.console import Terminated
from mkgc_cl.experiments.pipeline.settings import CONFIGS, DEFAULT_ORDERS, Settings
from mkgc_cl.systems import SYSTEMS, systems_of

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(CONFIGS.glob("*.yaml"))


def settings(script: cli.Script, *argv: str) -> Settings:
    return cli.settings_of(script, cli.parse(script, argv))


def problems(script: cli.Script, *argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(script, *argv)
    return "\n".join(caught.value.problems)


def header_commands(path: Path) -> dict[str, list[str]]:
    """The commands after "Command:" and "Override:" of a header."""
    header = "".join(re.findall(r"^#(.*\n)", path.read_text(), flags=re.MULTILINE))
    found = dict(re.findall(r"(Command|Override):((?:.|\n)*?)(?=\n Override:|\Z)", header))
    return {name: shlex.split(text)[1:] for name, text in found.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_is_valid_and_its_commands_work(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.yaml").write_text("train: t\ntest: t\nkind: ner\n")
    assert path.read_text().startswith("# What for: ")
    commands = header_commands(path)
    made = {}
    for which in ("Command", "Override"):
        file, *argv = commands[which]
        script = importlib.import_module(f"mkgc_cl.experiments.{Path(file).stem}").SCRIPT
        made[which] = settings(script, *argv)
    direct = resolve(Settings, yaml_path=path)
    usual, other = made["Command"], made["Override"]
    assert usual.name == direct.name == other.name == direct.name
    assert usual != other
    assert usual.seeds == direct.seeds
    plain, theirs = to_dict(usual), to_dict(direct)
    plain["stream"]["data"] = None
    for section in ("stream", "encoders", "training"):
        assert plain[section] == theirs[section]
    assert (plain["options"] or {}).keys() == (theirs["options"] or {}).keys()


def test_every_scenario_has_its_settings() -> None:
    for script in (ablation.SCRIPT, imre.SCRIPT):
        assert script.configs.keys() == DEFAULT_ORDERS.keys() | {"files"}
        assert {*script.configs.values()} <= {path.stem for path in FILES}


def test_the_sections_are_what_recipes_take() -> None:
    from mkgc_cl.experiments.pipeline.settings import TrainingSettings
    from mkgc_cl.strategies.recipe import Training

    names = {field.name for field in fields(TrainingSettings)}
    assert names | {"device", "evaluator", "seed"} == {field.name for field in fields(Training)}


@pytest.mark.parametrize("values", [["0", "1"], ["0,1"], ["0,", "1"]])
def test_lists_have_commas_or_none(values: list[str]) -> None:
    for script in (ablation.SCRIPT, imre.SCRIPT, imner.SCRIPT):
        assert settings(script, "--seeds", *values, "training.lr=1e-4").seeds == (0, 1)
        assert settings(script, "--seeds", *values, "training.lr=1e-4").training.lr == 1e-4
    assert settings(imre.SCRIPT, "--systems", "ewc,Mspt", "m-[EWC]").systems == (
        "EWC", "MSPT", "M-[EWC]"
    )  # fmt: skip
    assert settings(imre.SCRIPT, "--order", "sep5", "sep7").orders == ("sep5", "sep7")
    sizes = cli.parse(rehearsal_size.SCRIPT, ["--sizes", "10,2", "4"])
    assert rehearsal_size.sizes(sizes) == [2, 4, 10]
    *sized, level = rehearsal_size.variants(settings(rehearsal_size.SCRIPT), sizes)
    assert [each.exemplars for each in (*sized, level)] == [2, 4, 10, None]
    assert level.systems == ("Frozen + Gaussian",)
    named = settings(rehearsal_size.SCRIPT, "--systems", "EMR", "EWC")
    assert rehearsal_size.variants(named, sizes)[-1].systems == ("EWC",)


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        ([], {"name": "ablation-demo", "reference": "full"}),
        (["--quick"], {"name": "ablation-demo"}),
        (["--task", "ner"], {"name": "ablation-demo-ner"}),
        (["stream.task=ner"], {"name": "ablation-demo-ner"}),
        (["stream.scenario=imner"], {"name": "ablation-imner", "order": "PER-LOC-ORG-MISC"}),
        (["--scenario", "imre", "--order", "sep7"], {"name": "ablation-imre", "orders": ("sep7",)}),
        (["--systems", "W/O MI", "full"], {"systems": ("w/o MI", "full")}),
        (["name=x", "--device", "cpu", "seeds=5"], {"name": "x", "device": "cpu", "seeds": (5,)}),
    ],
)
def test_what_the_ablation_runs(argv: list[str], values: dict) -> None:
    made = settings(ablation.SCRIPT, *argv)
    assert {key: getattr(made, key) for key in values} == values


def test_rows_where_none_are_named() -> None:
    """Of a table every system of its task, of the ablation those of Table 3, whoever's file."""
    assert settings(imre.SCRIPT).systems == systems_of("re")
    assert settings(imner.SCRIPT, "--quick").systems == systems_of("ner")
    made = settings(ablation.SCRIPT, "systems=[]")
    assert made.systems == ("w/o MI", "w/o AD", "w/o GM", "w/o MM", "full")
    assert settings(imre.SCRIPT).reference == "MSPT"


def test_options_of_systems() -> None:
    made = settings(
        imre.SCRIPT, "--quick", "MSPT.alpha=0.1", "ewc.Weight=10", "'M-[EWC]'.mode=online"
    )
    assert made.options is not None
    assert made.options["EWC"] == {"weight": 10.0}
    assert isinstance(made.options["EWC"]["weight"], float)  # as its recipe has it
    assert made.options["M-[EWC]"] == {"mode": "online"}
    # joins what the file says of the system
    file = {"replay_schedule": "mixed", "memory_batch_size": 16}
    assert made.options["MSPT"] == {**file, "alpha": 0.1}
    made = settings(ablation.SCRIPT, "full.alpha=0.2", "MSPT.memory_batch_size=4")
    assert made.options == {"MSPT": {**file, "memory_batch_size": 4}, "full": {"alpha": 0.2}}


@pytest.mark.parametrize(
    ("script", "argv", "said"),
    [
        ("imre", ["MSPT.aplha=1"], "MSPT has no option 'aplha'; did you mean 'alpha'?"),
        ("imre", ["EWC.weight=heavy"], "EWC: 'weight' must be a number, got 'heavy'"),
        ("imre", ["MSPT.replay_schedule=mixd"], "'replay_schedule' must be one of"),
        ("imre", ["MSPTT.alpha=1"], "no system 'MSPTT'; did you mean 'MSPT'?"),
        ("imre", ["MSPT.alpha=1", "mspt.alpha=2"], "'mspt.alpha' was given before; give it once"),
        ("imre", ["MSPT.alpha=[1"], "override 'MSPT.alpha=[1': the value is not YAML"),
        ("imre", ["trainig.lr=1"], "unknown key 'trainig.lr', did you mean 'training.lr'?"),
        ("ablation", ["MSPT.alpha=x", "--seeds", "x"], "--seeds: 'seeds' must be a list"),
        ("ablation", ["full.alfa=1"], "MSPT has no option 'alfa'; did you mean 'alpha'?"),
        ("imre", ["--systems", "Vanila"], "'systems' names no system 'Vanila'; did you mean"),
        ("imre", ["--systems", "ewc,EWC"], "'systems' must name each once"),
        ("imre", ["--systems", "ExtendNER"], "ExtendNER has no version for this task (re)"),
        ("imner", ["--systems", "RP-CRE"], "RP-CRE has no version for this task (ner)"),
        ("imre", ["--reference", "MSTP"], "'reference' names no system 'MSTP'; did you mean"),
        ("imre", ["--orders", "sep9"], "no order 'sep9' of imre; give sep10, sep7, sep5"),
        ("imre", ["--orders", "sep5,sep5"], "'orders' must name each once"),
        ("imre", ["--seeds", "0,0"], "'seeds' must name each once"),
        ("ablation", ["--scenario", "imner", "--orders", "PER-LOC"], "no order 'PER-LOC' of imner"),
        ("ablation", ["--epochs", "0"], "--epochs: 'training.epochs' must be at least 1"),
        ("ablation", ["--config", "ablation-dmo"], "did you mean 'ablation-demo'?"),
        ("ablation", ["name=../x"], "'name' must be the name of one folder"),
        ("ablation", ["--data", "here"], "'stream.data' is not read by the synthetic stream"),
        ("imre", ["--quick", "--data", "D"], "'stream.data' is not read by the synthetic stream"),
        ("imner", ["stream.merge=2"], "'stream.merge' is for relations of the synthetic stream"),
        ("imner", ["encoders.images=captions"], "give the file of them as 'stream.captions'"),
        ("imner", ["stream.captions=c.jsonl"], "are for encoders.images=captions"),
        ("imre", ["--quick", "stream.captioner=me"], "are for encoders.images=captions"),
        ("imre", ["--scenario", "files"], "'stream.data' must be the YAML file of a corpus"),
        ("imre", ["--scenario", "files", "--data", "none.yaml"], "none.yaml: no such"),
        ("imre", ["--quick", "--scenario", "files", "--data", "x"], "--quick is the synthetic"),
        ("imner", ["stream.negative=NA"], "'stream.negative' is for imre"),
        ("imre", ["stream.repair=conlleval"], "'stream.repair' is for imner"),
        ("imre", ["--quick", "encoders.images=crops"], "has whole images only (image)"),
        ("imre", ["stream.order=sep7"], "'stream.order' gives way to 'orders', sep10"),
        ("imre", ["--quick", "--scenario", "imre"], "--quick is the synthetic stream, and"),
        ("imre", ["--quick", "stream.scenario=imner"], "leave out --quick to run on imner"),
        ("imner", ["--quick", "--config", "table-imner"], "leave out --quick to run on imner"),
        ("ablation", ["--quick", "--config", "ablation-imner"], "leave out --quick to run on"),
        ("imbalance", ["--systems", "full"], "'systems' is set by imbalance.py itself"),
        ("imbalance", ["systems=full"], "'systems' is set by imbalance.py itself"),
        ("controls", ["stream.control=blank-text"], "'stream.control' is set by controls.py"),
        ("task_number", ["--scenario", "imner"], "for streams of relations only"),
        ("task_number", ["--quick", "--task", "ner"], "for streams of relations only"),
        ("task_number", ["--orders", "sep5"], "it runs them all: sep5, sep7 and sep10"),
        ("task_number", ["--quick", "stream.merge=2"], "'stream.merge' is set by task_number.py"),
        ("task_number", ["--quick", "stream.first=2"], "every column the same number of tasks"),
        ("rehearsal_size", ["--exemplars", "6"], "give the sizes as in --sizes 2 6 10"),
        ("rehearsal_size", ["--sizes", "2,x", "-1"], "--sizes must be whole numbers of 0 or more"),
        ("rehearsal_size", ["--systems", "Vanilla"], "none of ['Vanilla'] keeps exemplars"),
        ("rehearsal_size", ["--orders", "sep5,sep7"], "one order at a time"),
        ("rehearsal_size", ["EMR.exemplars=2"], "EMR.exemplars is a budget of its own"),
        ("imre", ["--exemplars", "3", "EMR.exemplars=2"], "and 'exemplars' is the budget of all"),
        ("ablation", ["--exemplars", "3", "MSPT.exemplars=2"], "is the budget of all"),
    ],
)  # fmt: skip
def test_mistakes(script: str, argv: list[str], said: str) -> None:
    assert said in problems(importlib.import_module(f"mkgc_cl.experiments.{script}").SCRIPT, *argv)


@pytest.mark.parametrize(
    ("argv", "count"),
    [
        (["--out", "", "--epochs", "0"], 2),
        (["MSPT.aplha=1", "EWC.weight=x", "--systems", "Vanila", "--reference", "MSTP"], 4),
        (["--quick", "--scenario", "imre", "--epochs", "0"], 2),
        (["--seeds", ",", "--orders", " "], 2),
    ],
)
def test_all_mistakes_are_told_at_once(argv: list[str], count: int) -> None:
    assert problems(imre.SCRIPT, *argv).count("\n") == count - 1


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--out", ""], "--out is empty; give a value, or leave the flag out"),
        (["--config", " "], "--config is empty"),
        (["--data", "", "--scenario", "imner"], "--data is empty"),
        (["--seeds", ""], "--seeds is empty"),
        (["--systems", ""], "--systems is empty"),
        (["--out", "FILE"], "FILE: results cannot be kept there (Not a directory)"),
        (["--out", "FILE/below"], "FILE/below: results cannot be kept there (Not a directory)"),
        (["--out", "x" * 300], "results cannot be kept there (File name too long)"),
        (["--config", "x" * 5000], "xxx...: no such file or setting"),
        (["--config", "FIFO"], "FIFO: expected a regular file, found a named pipe"),
        (["--config", "."], ".: expected a regular file, found a folder"),
        (["name=" + "x" * 300], "'name' must be at most 200 bytes long, got 300"),
        (['name="a\\nb"'], "'name' must be the name of one folder"),
        (["name=a:b"], "on any system"),
        (['name="a\\\\b"'], "on any system"),
        (['name="a."'], "no dot or space at its end"),
        (['name="a\\0b"'], "no NUL"),
        (['name="\\ud800"'], "no bytes that are not UTF-8"),
    ],
)
@pytest.mark.timeout(60)
def test_flags_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    os.mkfifo(tmp_path / "FIFO")
    said = problems(ablation.SCRIPT, "--out", str(tmp_path / "runs"), *argv)
    assert problem in said
    assert len(said) < 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FIFO", "FILE"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutputError("the disk is full"), 1),
        (ConfigError(["wrong"]), 2),
        (DataError("damaged"), 2),
        (KeyboardInterrupt(), 130),
        (Terminated(signal.SIGTERM), 143),
        (Terminated(signal.SIGHUP), 129),
    ],
)
def test_exit_codes(capsys, error: BaseException, code: int) -> None:
    def fail() -> int:
        raise error

    streams = sys.stdout, sys.stderr
    assert cli.exit_code(fail) == code
    assert cli.exit_code(lambda: 0) == 0
    told = "goes on from here" if isinstance(error, KeyboardInterrupt) else str(error)
    assert told in capsys.readouterr().err
    assert (sys.stdout, sys.stderr) == streams


def test_a_script_goes_on_where_nobody_reads_what_it_prints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    def work() -> int:
        sys.stdout.write("a table")
        sys.stderr.write("a line of progress")
        raise OutputError("told to nobody")

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    assert cli.exit_code(work) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_unless_it_is_somebody_elses(number: signal.Signals) -> None:
    def ended() -> int:
        signal.raise_signal(number)
        return 0

    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert cli.exit_code(ended) == 128 + number
        for handler in (signal.SIG_DFL, signal.SIG_IGN):  # ignored: as nohup has it
            signal.signal(number, handler)
            assert cli.exit_code(lambda: 0) == 0
            assert signal.getsignal(number) == handler
        assert cli.exit_code(ended) == 0
        with ThreadPoolExecutor(1) as pool:  # no other thread can handle signals
            assert pool.submit(cli.exit_code, lambda: 0).result() == 0
    finally:
        signal.signal(number, before)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["--help"], ["epochs=3"], ["MSPT.alpha=x"]])
def test_help_and_mistakes_import_nothing_heavy(tmp_path: Path, argv: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ablation.__file__, *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mkgc_cl.config" in imported
    heavy = {"torch", "avalanche", "matplotlib", "transformers", "timm", "numpy", "sklearn"}
    assert not heavy & imported
    assert ("usage: python experiments/ablation.py" in done.stdout) == (argv == ["--help"])


def test_help_shows_defaults_as_the_command_line_takes_them(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        cli.parse(imre.SCRIPT, ["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out.rpartition("settings, their meaning and default:\n")[2]
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["seeds"].endswith("training seeds, one run each (0,1,2)")
    assert lines["stream.data"].endswith("MKGC_DATA by default")
    assert lines["training.weight_decay"].endswith("of AdamW (0.01)")
    # the negative relation is called so; elsewhere it would be Python's word for nothing
    assert lines.pop("stream.negative").endswith("(None)")
    assert not [line for line in lines.values() if "None" in line or "()" in line]
    for key, field in keys(Settings).items():
        if key != "options" and field.default in (None, ()):
            assert "by default" in field.metadata["help"], key


@pytest.mark.slow
def test_the_commands_in_the_readme_give_the_row_they_stand_in() -> None:
    readme = (ROOT / "README.md").read_text()
    lines = re.findall(r"^\| ([^|]+) \|.*`python experiments/(\w+)\.py (.+)` \|$", readme, re.M)
    assert [name for name, *_ in lines] == list(SYSTEMS)
    for name, script, argv in lines:
        made = importlib.import_module(f"mkgc_cl.experiments.{script}").SCRIPT
        assert settings(made, *shlex.split(argv)).systems == (name,)


def test_a_library_that_hides_a_signal_changes_no_exit_code() -> None:
    def hides() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
        return 0

    assert cli.exit_code(hides) == 143
