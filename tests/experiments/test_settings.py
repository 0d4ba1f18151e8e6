"""Every shipped YAML, every command in its header, and the schema against what it feeds."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from mkgc_cl.config import keys, resolve, to_dict
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.experiments import ablation, experiment_run, imre, table_cli, table_settings
from mkgc_cl.experiments import experiment_settings as schema

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "experiments" / "configs").glob("*.yaml"))


def header_commands(path: Path) -> dict[str, list[str]]:
    """Arguments of the commands after "Command:" and "Override:" of a header."""
    header = "".join(re.findall(r"^#(.*\n)", path.read_text(), flags=re.MULTILINE))
    found = dict(re.findall(r"(Command|Override):((?:.|\n)*?)(?=\n Override:|\Z)", header))
    return {name: shlex.split(text)[2:] for name, text in found.items()}


def test_there_are_settings_for_every_scenario() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"ablation-demo", "ablation-demo-ner", "ablation-imner", "ablation-imner-paper"} < names
    assert "imre-sep10" in names


TABLES = [path for path in CONFIGS if path.stem.startswith("table-")]
ABLATIONS = [path for path in CONFIGS if path not in TABLES]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_shipped_table_is_valid_and_its_commands_work(path: Path) -> None:
    cli = table_cli
    schema = table_settings.TableSettings
    script = importlib.import_module(f"mkgc_cl.experiments.{path.stem.split('-')[1]}").SCRIPT
    assert path.read_text().startswith("# What for: ")
    commands = header_commands(path)
    direct = resolve(schema, yaml_path=path)
    by_command, by_override = (
        cli.settings_of(script, cli.parse(script, commands[name]))
        for name in ("Command", "Override")
    )
    without_data = to_dict(by_command)
    without_data["stream"]["data"] = None
    assert without_data == to_dict(direct)
    assert by_override.name == direct.name
    assert by_override != by_command
    # every option of every system is one of its recipe
    catalogue = importlib.import_module("mkgc_cl.strategies.catalogue")
    for system, options in (direct.options or {}).items():
        assert catalogue.checked_options(system, options).keys() == options.keys()


def test_the_tables_take_what_recipes_take() -> None:
    from mkgc_cl.strategies.recipe import Encoders, Training

    schema = table_settings
    names = {field.name for field in fields(schema.EncoderSettings)}
    assert names == {field.name for field in fields(Encoders)}
    names = {field.name for field in fields(schema.SystemTraining)}
    assert names | {"device", "evaluator", "seed"} == {field.name for field in fields(Training)}


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_a_shipped_yaml_is_valid_and_its_commands_work(path: Path) -> None:
    assert path.read_text().startswith("# What for: ")
    commands = header_commands(path)
    assert commands.keys() == {"Command", "Override"}
    direct = resolve(ablation.Settings, yaml_path=path)
    by_command = ablation.settings_of(ablation.parse(commands["Command"]))
    by_override = ablation.settings_of(ablation.parse(commands["Override"]))
    without_data = to_dict(by_command)
    without_data["stream"]["data"] = None
    assert without_data == to_dict(direct)
    assert by_override.name == direct.name
    assert by_override != by_command


def test_the_schema_names_what_mspt_and_the_model_take() -> None:
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.strategies import mspt

    taken = inspect.signature(mspt).parameters
    for section in (schema.TrainingSettings, schema.MethodSettings):
        assert {field.name for field in fields(section)} <= taken.keys()
    parts = {"distillation", "modulation", "memory", "seed", "device", "evaluator", "model"}
    parts |= {"plugins", "constant_coefficients"}  # no part of the method; a control's own
    ours = [f.name for s in (schema.TrainingSettings, schema.MethodSettings) for f in fields(s)]
    assert {*ours, *parts} == taken.keys()
    builds = inspect.signature(DualStreamModel.build).parameters
    ours = [field.name for field in fields(schema.ModelSettings)]
    # the tagger is the method's, a CRF: another one is an option of the tables' recipe
    assert {*ours, "labels", "interaction", "tagger", "seed"} == builds.keys()


def test_the_schema_has_the_choices_of_the_code() -> None:
    from mkgc_cl.models import DualStreamModel
    from mkgc_cl.strategies import mspt

    checked = 0
    for section, target in (
        (schema.ModelSettings, DualStreamModel.build),
        (schema.TrainingSettings, mspt),
        (schema.MethodSettings, mspt),
    ):
        hints, theirs = get_type_hints(section), get_type_hints(target)
        for name in hints:
            assert sorted(map(str, get_args(hints[name]))) == sorted(
                map(str, get_args(theirs[name]))
            ), name
            checked += bool(get_args(hints[name]))
    assert checked >= 10


def test_the_controls_are_those_of_the_data() -> None:
    from mkgc_cl.data.controls import Control

    assert get_args(Control) == schema.CONTROLS


def test_the_default_orders_are_the_streams() -> None:
    from mkgc_cl.data.demo import NER_ORDER

    assert schema.DEFAULT_ORDERS["demo-ner"] == "-".join(NER_ORDER)


def test_rows_of_table_3_in_order() -> None:
    assert schema.Settings().systems == ("w/o MI", "w/o AD", "w/o GM", "w/o MM", "full")
    assert set(get_args(schema.SystemName)) == schema.SYSTEMS.keys()
    rows = {name: parts for name, parts in schema.SYSTEMS.items() if parts.control is None}
    ticks = ("interaction", "distillation", "modulation", "memory")
    assert [sum(getattr(p, tick) for tick in ticks) for p in rows.values()] == [3, 3, 3, 3, 4, 0]
    assert [name for name in schema.SYSTEMS if name not in rows] == [
        "w/o GM (same rates)",
        "w/o GM (one rate)",
    ]


def test_controls_are_those_of_the_method() -> None:
    from mkgc_cl.strategies.rate_control import RateControl

    controls = [parts.control for parts in schema.SYSTEMS.values() if parts.control is not None]
    assert tuple(controls) == get_args(RateControl)


def test_a_run_knows_only_what_changes_its_numbers() -> None:
    def run_config(*argv: str) -> dict[str, object]:
        return ablation.settings_of(ablation.parse(argv)).run_config()

    same = run_config("--scenario", "imner")
    assert same == run_config("--scenario", "imner", "--data", "here", "--seeds", "7")
    assert same == run_config("--scenario", "imner", "--order", "PER-LOC-ORG-MISC", "name=other")
    assert same != run_config("--scenario", "imner", "--order", "PER-ORG-LOC-MISC")
    assert same != run_config("--scenario", "imner", "method.alpha=0.2")


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (["--seeds", "0,1"], {"seeds": (0, 1)}),
        (["--seeds", "0", "1", "training.lr=1e-4"], {"seeds": (0, 1)}),
        (["--systems", "w/o MI,full"], {"systems": ("w/o MI", "full")}),
        (["--systems", "fine-tuning", "w/o MM", "--quiet"], {"systems": ("fine-tuning", "w/o MM")}),
        (["name=x", "--device", "cpu", "seeds=5"], {"name": "x", "device": "cpu", "seeds": (5,)}),
        (["--task", "ner"], {"name": "ablation-demo-ner"}),
        (["stream.task=ner"], {"name": "ablation-demo-ner"}),
        (["stream.scenario=imner"], {"name": "ablation-imner"}),
        (["--scenario", "imre", "--order", "sep7"], {"name": "imre-sep10", "order": "sep7"}),
    ],
)
def test_the_command_line(argv: list[str], values: dict) -> None:
    settings = ablation.settings_of(ablation.parse(argv))
    assert {key: getattr(settings, key) for key in values} == values


def test_an_override_behind_seeds_is_an_override() -> None:
    settings = ablation.settings_of(ablation.parse(["--seeds", "3", "training.lr=1e-4"]))
    assert settings.training.lr == 1e-4


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (
            ["--systems", "full,half"],
            "--systems: 'systems' must be a list, each item one of 'w/o MI'",
        ),
        (["seeds=1,1"], "'seeds' must name at least one, and each once, got [1, 1]"),
        (["--epochs", "0"], "--epochs: 'training.epochs' must be at least 1, got 0"),
        (["--scenario", "imner", "--order", "PER-LOC"], "must be the four of PER ORG LOC MISC"),
        (["method.ad_axis=height"], "cannot be centered; add method.ad_center=false"),
        (["method.memory_epochs=3"], "'method.replay_schedule=mixed' has not; leave it out"),
        (["method.memory_lr_scale=0.1"], "'method.replay_schedule=mixed' has not; leave it out"),
        (["--scenario", "imre", "--order", "sep9"], "must be sep10, sep7 or sep5, got ['sep9']"),
        (
            ["--config", "ablation-dmo"],
            "did you mean 'ablation-demo'? known settings: ablation-demo",
        ),
        (["name=../x"], "'name' must be the name of one folder"),
        (["--data", "here"], "'stream.data' is not read by the synthetic stream; add --scenario"),
        (["method.alfa=1"], "unknown key 'method.alfa', did you mean 'method.alpha'?"),
    ],
)
def test_mistakes(argv: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ablation.settings_of(ablation.parse(argv))
    assert problem in str(caught.value)


def help_of(parse: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Line of every setting at the end of ``--help``."""
    with pytest.raises(SystemExit) as left:
        parse()
    assert left.value.code == 0
    text = capsys.readouterr().out.rpartition("settings, their meaning and default:\n")[2]
    return {line.split()[0]: line for line in text.splitlines()}


def test_help_shows_defaults_as_the_command_line_takes_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli = table_cli
    tables = help_of(lambda: cli.parse(imre.SCRIPT, ["--help"]), capsys)
    own = help_of(lambda: ablation.parse(["--help"]), capsys)
    for lines in (tables, own):
        assert lines["seeds"].endswith("training seeds, one run each (0,1,2)")
        assert lines["stream.data"].endswith("MKGC_DATA by default")
        assert lines["training.weight_decay"].endswith("of AdamW (0.01)")
        # the negative relation is called so; elsewhere it would be Python's word for nothing
        assert lines.pop("stream.negative").endswith("(None)")
        assert not [line for line in lines.values() if "None" in line or "()" in line]
    assert tables["systems"].endswith("rows of the table; by default all of its task")
    assert own["systems"].endswith("(w/o MI,w/o AD,w/o GM,w/o MM,full)")
    assert own["method.noise"].endswith("(false)")


def test_the_name_of_the_negative_relation() -> None:
    imre = schema.StreamSettings("imre", negative="no_relation")
    assert schema.stream_config(imre)["negative"] == "no_relation"
    assert schema.stream_problems(imre, images="image", key="images") == []
    # runs from before there was such a setting keep their names
    assert "negative" not in schema.stream_config(schema.StreamSettings("imre"))
    (problem,) = schema.stream_problems(replace(imre, scenario="imner"), images="image", key="x")
    assert "'stream.negative' is for imre" in problem


def test_it_reaches_the_reader(download: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (download / "MRE/data").rglob("ours_*"):
        path.write_bytes(path.read_bytes().replace(b"None", b"NA"))
    order, data = ("sep5",), str(download)
    stream = schema.StreamSettings("imre", data=data, order=order, missing_images="blank")
    stream_of = experiment_run.stream_of
    assert stream_of(replace(stream, negative="NA"), "image").labels.na == "NA"
    with pytest.raises(DataError, match="did you mean 'NA'"):
        stream_of(stream, "image")


@pytest.mark.parametrize("settings", [table_settings.TableSettings, schema.Settings])
def test_where_the_default_is_nothing_the_words_say_what_that_means(settings: type) -> None:
    for key, field in keys(settings).items():
        if field.default is None or field.default == ():
            assert "by default" in field.metadata["help"], key
