"""What makes two runs the same, what is built and read before the first, what is kept."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mkgc_cl.data import LabelSpace, TaskStream
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.experiments import ablation, imre
from mkgc_cl.experiments.pipeline import checks, cli, paper_rows, plan, run, streams
from mkgc_cl.experiments.pipeline.settings import Settings, StreamSettings
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord
from mkgc_cl.runs import Run, run_grid
from mkgc_cl.scenarios import demo

STREAM = TaskStream("made", LabelSpace("re", ("r",), na="None"), (), {})
RUN = Run("full", "demo-ner", "PER", 0, {"epochs": 1})


def planned(tmp_path: Path, *argv: str, script: cli.Script = imre.SCRIPT) -> plan.Plan:
    settings = cli.settings_of(script, cli.parse(script, argv)).of_each_order()[0]
    return plan.Plan(settings, script.known(), STREAM, "f00d", paper_rows.Paper(), tmp_path)


def record(*_: object) -> RunRecord:
    matrix = ResultMatrix(1)
    matrix.record("test", after=0, on=0, counts=Counts(1, 2, 2))
    return RunRecord.from_matrix(
        matrix, system=RUN.system, scenario=RUN.scenario, order=RUN.order, seed=RUN.seed,
        tasks=["T1"], seconds=1.0, config=RUN.config,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_knows_only_what_changes_its_numbers(tmp_path: Path) -> None:
    def config(system: str, *argv: str, script: cli.Script = imre.SCRIPT) -> dict:
        return planned(tmp_path, *argv, script=script).config_of(system)

    for system in ("EWC", "MSPT"):
        same = config(system)
        assert same == config(system, "--data", "here", "--seeds", "7", "name=other")
        assert same == config(system, "--order", "sep10", "--systems", "ewc", "RP-CRE.dropout=0.1")
        assert same != config(system, "--order", "sep7")
        assert same != config(system, f"{system}.{'weight' if system == 'EWC' else 'alpha'}=0.2")
        assert json.dumps(same)
    # a budget is none of those that keep no exemplars; it wins over what N/A would have of its own
    assert config("EWC", "--exemplars", "6") == config("EWC")
    assert config("MSPT", "--exemplars", "6") == config(
        "MSPT", "--exemplars", "6", "MSPT.na_policy=keep-first"
    )
    # a row is its system with options, and only what its name does not say is written down
    rows = planned(tmp_path, "full.alpha=0.2", script=ablation.SCRIPT)
    own = rows.config_of("w/o MI")
    assert (own["system"], own["options"]["interaction"]) == ("MSPT", "self")
    assert rows.config_of("full")["options"]["alpha"] == 0.2
    assert "alpha" not in own["options"]
    assert rows.config_of("w/o GM (one rate)")["rates"] == "one rate"
    assert "system" not in rows.config_of("MSPT")


def test_one_setting_has_one_folder(tmp_path: Path) -> None:
    usual = planned(tmp_path).target
    assert usual.parent == tmp_path / "imre"
    assert usual.name.startswith("sep10-")
    assert (
        planned(tmp_path, "--seeds", "7", "--systems", "EWC", "--reference", "EWC").target == usual
    )
    for more in ("EWC.weight=7", "--exemplars=6", "training.epochs=1", "stream.split=valid"):
        assert planned(tmp_path, more).target != usual


def test_records_of_other_settings_are_no_rows(tmp_path: Path) -> None:
    made = planned(tmp_path, script=ablation.SCRIPT)
    own = replace(record(), config=made.config_of("full"))
    unknown = replace(own, system="of another version")
    assert made.current([record(), own, unknown]) == (own,)


def test_finished_runs_beside_are_reused_when_they_are_whole(tmp_path: Path) -> None:
    run_grid([RUN], record, out=tmp_path / "one", quiet=True)
    target = tmp_path / "two"
    traces = tmp_path / "one" / "records" / f"{RUN.key}.traces.json"
    text = traces.read_text()
    for wrong in ('{"gamma": 5}', "", '{"gamma": [1.0]}'):
        traces.write_text(wrong)
        plan.reuse_finished([RUN], target)
        assert not target.exists()
    traces.write_text(text)
    plan.reuse_finished([RUN], target)
    assert (target / "records" / traces.name).read_text() == text
    # and what is there is nothing to wait for
    made = plan.Plan(Settings(), {}, STREAM, "f00d", paper_rows.Paper(), tmp_path)
    assert plan._beside(RUN, target) is not None
    assert made.current([]) == ()


def test_the_name_of_the_negative_relation_reaches_the_reader(download: Path) -> None:
    for path in (download / "MRE/data").rglob("ours_*"):
        path.write_bytes(path.read_bytes().replace(b"None", b"NA"))
    order, data = ("sep5",), str(download)
    stream = StreamSettings("imre", data=data, order=order, missing_images="blank")
    assert streams.read_stream(replace(stream, negative="NA"), "image").labels.na == "NA"
    with pytest.raises(DataError, match="did you mean 'NA'"):
        streams.read_stream(stream, "image")


def test_the_repair_of_stray_tags_reaches_the_reader(download: Path) -> None:
    train = download / "MNER" / "data" / "twitter2017" / "train.txt"
    train.write_text(train.read_text().replace("Rome\tB-LOC\ngreets", "Rome\tI-LOC\ngreets"))
    stream = StreamSettings("imner", data=str(download), missing_images="blank")
    repaired = streams.read_stream(replace(stream, repair="conlleval"), "image")
    assert repaired.provenance["repaired"] == {"conlleval": 1}
    with pytest.raises(DataError, match="expected tags in BIO"):
        streams.read_stream(stream, "image")
    # runs from before there was a repair stay
    assert "repair" not in Settings(stream=stream).run_config()["stream"]
    repairing = Settings(stream=replace(stream, repair="conlleval"))
    assert repairing.run_config()["stream"]["repair"] == "conlleval"


@pytest.mark.parametrize(
    ("scenario", "order", "tasks"),
    [
        ("imre", "seed:3/7", 7),
        ("imre", "sep5", 5),
        ("imner", "seed:3", 4),
        ("imner", "seed:3/2", 2),
        ("imner", "LOC+PER-MISC-ORG", 3),
    ],
)
def test_an_order_by_name_reaches_the_reader(
    download: Path, scenario: str, order: str, tasks: int
) -> None:
    argv = ("--scenario", scenario, "--data", str(download), "--orders", order)
    (made,) = cli.settings_of(imre.SCRIPT, cli.parse(imre.SCRIPT, argv)).of_each_order()
    assert made.order == order
    stream = streams.read_stream(made.stream, made.encoders.images)
    assert len(stream.tasks) == tasks
    if order.startswith("LOC"):
        assert stream.tasks[0].classes == ("LOC", "PER")


def test_types_of_other_data_are_an_order(download: Path) -> None:
    for path in (download / "MNER/data/twitter2017").glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"-PER", b"-person"))
    order = "person-LOC-ORG-MISC"
    stream = StreamSettings("imner", data=str(download), missing_images="blank")
    made = Settings(stream=replace(stream, order=tuple(order.split("-"))))
    assert made.problems() == []
    assert streams.read_stream(made.stream, "image").tasks[0].classes == ("person",)


def test_captions_reach_the_reader(download: Path, tmp_path: Path) -> None:
    file = tmp_path / "told.jsonl"
    file.write_text('{"image": "1", "captions": {"short": "a cup", "long": "a white cup"}}\n')
    argv = (
        "--scenario", "imner", "--data", str(download), "encoders.images=captions",
        f"stream.captions={file}", "stream.captioner=short",
    )  # fmt: skip
    given = cli.settings_of(imre.SCRIPT, cli.parse(imre.SCRIPT, argv))
    assert given.stream.missing_images == "blank"
    stream = streams.read_stream(given.stream, given.encoders.images)
    assert (stream.provenance["images"], stream.provenance["captioner"]) == ("captions", "short")
    config = given.run_config()["stream"]
    assert config["captioner"] == "short"
    assert "captions" not in config
    assert "captioner" not in Settings().run_config()["stream"]


def test_a_stream_is_read_once_for_all_its_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list = []
    reader = streams.READERS["demo"]
    monkeypatch.setitem(streams.READERS, "demo", lambda *a: read.append(a) or reader(*a))  # type: ignore[index]
    stream = StreamSettings(task="re", train_per_task=12, test_size=20, seed=77)
    for control in ("none", "blank-text", "blank-images", "none"):
        streams.read_stream(replace(stream, control=control), "image")
    streams.read_stream(replace(stream, merge=2, first=1), "image")
    assert len(read) == 1


@pytest.mark.slow
def test_a_worker_finds_what_it_is_to_run_from_anywhere(tmp_path: Path) -> None:
    """As a process of ``--jobs 2`` does, which has no script to begin with."""
    made = planned(tmp_path, script=ablation.SCRIPT)
    sent = pickle.dumps(run.Runner(made.settings, made.rows, {}, ("mine.py",)))
    code = "import pickle, sys; r = pickle.load(sys.stdin.buffer); "
    code += "sys.stdout.write(f'{r.rows[\"w/o MI\"].options} {r.plugins}')"
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == "{'interaction': 'self'} ('mine.py',)"


@pytest.mark.slow
def test_every_mistake_that_a_build_shows_is_told_before_the_first_run(
    untrained: list, script, tmp_path: Path, capsys
) -> None:
    argv = [
        "--quick",
        "--systems",
        "Vanilla,EWC,EMR,UMGF,MEGA",
        "EWC.weight=-3",
        "EMR.exemplars=-1",
    ]
    assert script("imre", *argv, "--vision-encoder", "nosuch", "--device", "tpu") == 2
    told = capsys.readouterr().err
    assert untrained == []
    assert list(tmp_path.iterdir()) == []
    assert told.count("got 'tpu'") == 1
    assert "EWC: weight=-3.0; give 0 or more" in told
    assert "EMR: size=-1" in told
    assert "UMGF, MEGA: vision encoder 'nosuch' cannot be loaded" in told
    assert told.count("\n") == 5  # the heading and these four


@pytest.mark.slow
def test_samples_that_no_model_can_read_are_told_before_the_first_run(
    untrained: list, script, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = demo("re", train_per_task=12, valid_per_task=10, test_size=20)
    monkeypatch.setattr(plan, "read_stream", lambda *_: small.stream)
    argv = ["--systems", "Vanilla,UMT", "encoders.max_text_length=8", "--seeds", "0,1"]
    assert script("imre", "--quick", *argv) == 2
    told = capsys.readouterr().err
    samples = {s.uid for t in small.stream.tasks for s in (*t.train, *t.valid, *t.test)}
    assert told.startswith(f"{len(samples)} mistakes in the data:")  # each once for both systems
    assert "tokens, but the model takes 8\n" in told
    assert untrained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_only_what_is_left_to_run_is_built_once(
    untrained: list, script, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    built: list[str] = []

    def build(row: plan.Row, *_: object, **__: object) -> None:
        built.append(row.system)
        if row.system == "EMR":
            raise ConfigError(["no such layer"])

    monkeypatch.setattr(run, "build_row", build)
    monkeypatch.setattr(checks, "unreadable", lambda *_: [])
    assert script("imre", "--systems", "Vanilla,MSPT", "--seeds", "0,1") == 0
    assert built == ["Vanilla", "MSPT"]
    assert script("imre", "--systems", "Vanilla,MSPT,EWC", "--seeds", "0,1") == 0
    assert built[2:] == ["EWC"]
    # the others are finished, in the folder of other options; one budget more is another build
    script("imre", "--systems", "Vanilla,MSPT,EWC", "EWC.weight=7")
    assert built[3:] == ["EWC"]
    assert script("rehearsal_size", "--systems", "EMR,MSPT", "--sizes", "2,0") == 2
    assert built[4:] == ["EMR", "MSPT"] * 2
    assert "EMR: no such layer" in capsys.readouterr().err


def test_orders_whose_first_tasks_bring_other_classes_are_built_apart() -> None:
    made = run.Run("EMR", "demo-ner", "PER-LOC", 0, {"epochs": 1, "stream": {"first": 2}})
    orders = (("PER", "LOC"), ("LOC", "PER"), ("PER", "ORG"))
    keys = {run._build_key(made, LabelSpace("ner", classes)) for classes in orders}
    assert len(keys) == 2  # a model of PER and ORG cannot tell what is wrong with samples of LOC


@pytest.mark.slow
def test_a_finished_table_is_shown_where_its_device_is_not(
    ran: list, script, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("imre", "--systems", "Vanilla", "--device", "cuda:77")
    assert script(*argv) == 0
    monkeypatch.setattr(run, "check_builds", checks.check_builds)
    assert script(*argv) == 0
    assert script(*argv, "--seeds", "0,1") == 2
    assert len(ran) == 1


@pytest.mark.slow
def test_a_build_that_fails_otherwise_is_the_runs_own_failure() -> None:
    def offline(settings: Settings, device: str) -> None:
        raise OSError("no network")

    checks.check_builds([checks.Trial("EWC", Settings(device="cpu"), offline)], lambda words: None)


def test_the_data_of_every_order_are_read_before_the_first_is_trained_on(
    ran: list, script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def read_stream(stream: StreamSettings, images: str) -> TaskStream:
        if stream.order == ("sep10",):
            raise DataError("no such file", path=tmp_path / "ours.txt")
        return STREAM

    monkeypatch.setattr(plan, "read_stream", read_stream)
    assert script("ablation", "--scenario", "imre", "--orders", "sep5,sep10") == 2
    assert "no such file" in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_of_a_commit_and_of_what_is_not_committed(tmp_path: Path) -> None:
    made = Run("EWC", "imre", "default", 0, {"stream_fingerprint": "f00d"})
    strategy = SimpleNamespace(plugins=[], evaluator=None, clock=None)

    def made_for(git: object) -> dict:
        runner = run.Runner(planned(tmp_path).settings, {}, {"git": git}, out=tmp_path)
        return runner._checkpointing(made, strategy).made_for

    one = made_for({"commit": "c0ffee", "dirty": True, "changes": "1"})
    assert (one["commit"], one["stream"]) == ("c0ffee", "f00d")
    assert one != made_for({"commit": "c0ffee", "dirty": True, "changes": "2"})
    assert made_for(None)["commit"] is None
