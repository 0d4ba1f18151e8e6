"""The script from the command line to its files, mostly with a stand-in for training."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
import yaml

from mkgc_cl.data import LabelSpace, TaskStream
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.experiments import (
    ablation,
    ablation_plan,
    ablation_run,
    imbalance,
    paper_rows,
    table_run,
)
from mkgc_cl.experiments import experiment_report as report
from mkgc_cl.metrics import Counts, ResultMatrix
from mkgc_cl.results import RunRecord

REAL = {"image_files": 9, "image_files_blank": 9}
IMNER = ["--scenario", "imner", "--seeds", "0", "1"]

MADE = TaskStream("made", LabelSpace("re", ("r",), na="None"), (), REAL)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace training by numbers that depend on system and seed; return what was run."""
    done: list[tuple[str, int]] = []

    def make_run(self, run, progress) -> RunRecord:
        done.append((run.system, run.seed))
        progress(0.5, "half")
        matrix = ResultMatrix(4)
        for after in range(4):
            for on in range(after + 1):
                tp = 80 - 5 * (after - on) - len(run.system) + run.seed
                matrix.record("test", after=after, on=on, counts=Counts(tp, 100, 100))
        return RunRecord.from_matrix(
            matrix,
            system=run.system,
            scenario=run.scenario,
            order=run.order,
            seed=run.seed,
            tasks=["PER", "LOC", "ORG", "MISC"],
            seconds=1.0,
            config=run.config,
            provenance={**self.made_by, "stream": REAL},
            traces={"gamma": [1.0, 2.0, 0.5, 1.5], "boundaries": [0.0, 2.0]},
        )

    monkeypatch.setattr(ablation_run.RunMaker, "__call__", make_run)
    monkeypatch.setattr(ablation_plan, "read_stream", lambda *_: MADE)
    monkeypatch.setattr(ablation_plan, "built", lambda *_, **__: None)
    monkeypatch.setattr(paper_rows, "other_data", lambda *_: "")
    return done


@pytest.mark.slow
def test_a_image_that_is_broken_in_the_last_task_is_told_before_the_first(
    download: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = download / "MNER/data/twitter2017_images"
    images.mkdir()
    (images / "train_3.jpg").write_bytes(b"\xff\xd8\xff")  # of a MISC sample, which come last
    runner = ablation_run.RunMaker
    monkeypatch.setattr(runner, "__call__", lambda *_: pytest.fail("a run was run"))
    argv = ["--scenario", "imner", "--data", str(download), "--text-encoder", "tiny"]
    argv += ["--vision-encoder", "tiny", "--systems", "full", "fine-tuning", "--seeds", "0"]
    assert ablation.main([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert f"{images}/train_3.jpg: expected an image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_prints_the_table_beside_the_papers_and_writes_everything(
    ran: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablation.main([*IMNER, "--out", str(tmp_path), "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("w/o MI"))
    names = [line[:9].strip() for line in lines[start : start + 10]]
    assert names == [
        part for s in ("w/o MI", "w/o AD", "w/o GM", "w/o MM", "full") for part in (s, "(paper)")
    ]
    assert lines[start + 1].split() == ["(paper)", "76.9", "71.1", "54.6", "41.9", "61.1"]
    caption = " ".join(lines[:start])
    assert "n = 2, seeds 0 1, encoders minilm + vit-384, interaction in the top 2, " in caption
    assert "3 epochs per task, a memory phase after each task, images blank" in caption
    assert "is inferred" in " ".join(lines[start + 10 :])
    assert "Compared with full, paired by seed: mean difference" in " ".join(lines[start + 10 :])
    assert "- w/o MI (n = 2): MISC -2.0 [-2.0, -2.0], n too small;" in " ".join(lines[start + 10 :])
    (out,) = (tmp_path / "ablation-imner").iterdir()
    assert out.name.startswith("PER-LOC-ORG-MISC-")
    data = json.loads((out / "results.json").read_text())
    assert sorted((c["system"], c["seed"]) for c in data["records"]) == sorted(ran)
    assert len(ran) == 12
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["epochs"] == 3
    assert json.loads((out / "env.json").read_text())["command"].startswith(
        "python experiments/ablation.py --scenario imner"
    )
    for stem in ("table-A", "table-U"):
        for suffix in ("txt", "md", "tex", "csv"):
            assert (out / f"{stem}.{suffix}").stat().st_size > 0
    assert len(list(csv.DictReader((out / "table-A.csv").read_text().splitlines()))) == 30
    figures = {path.name for path in (out / "figures").iterdir()}
    stems = {"A", "U", "gamma", "matrix-full", "matrix-w-o-MI", "matrix-w-o-AD"}
    stems |= {"matrix-w-o-GM", "matrix-w-o-MM", "matrix-fine-tuning"}
    assert figures == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "pdf")}


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(ran: list, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(report, "write_report", lambda *_: "")  # figures take seconds
    common = ["--out", str(tmp_path), "--quiet"]
    assert ablation.main(["--seeds", "0", *common]) == 0
    assert len(ran) == 6
    assert ablation.main(["--seeds", "0", "1", *common]) == 0
    assert [seed for _, seed in ran] == [0] * 6 + [1] * 6
    assert ablation.main(["--seeds", "0", "1", "--systems", "full", *common]) == 0
    assert len(ran) == 12


@pytest.mark.slow
def test_later_seeds_and_systems_join_the_table_and_another_order_has_its_own(
    ran: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--scenario", "imner", "--out", str(tmp_path), "--quiet"]
    ablation.main([*common, "--seeds", "0", "--systems", "w/o MM,full"])
    capsys.readouterr()
    ablation.main([*common, "--seeds", "1", "--systems", "full"])
    printed = capsys.readouterr().out
    assert "n differs, seeds w/o MM: 0; full: 0 1" in " ".join(printed.split())
    names = [line[:9].strip() for line in printed.splitlines() if line[:3] in ("w/o", "ful", "  (")]
    assert names == ["w/o MM", "(paper)", "full", "(paper)"]
    ablation.main([*common, "--order", "PER-ORG-LOC-MISC", "--seeds", "0", "--systems", "full"])
    folders = sorted(path.name for path in (tmp_path / "ablation-imner").iterdir())
    assert [name.rpartition("-")[0] for name in folders] == ["PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC"]
    runs = [
        json.loads((tmp_path / "ablation-imner" / name / "results.json").read_text())["records"]
        for name in folders
    ]
    assert [len(found) for found in runs] == [3, 1]


@pytest.mark.slow
def test_runs_of_a_system_another_version_added_come_last(
    ran: list, tmp_path: Path, monkeypatch, capsys
) -> None:
    """The folder may be shared with a checkout that knows more systems."""
    common = ["--seeds", "0", "--out", str(tmp_path), "--quiet"]
    ablation.main([*common, "--systems", "full,fine-tuning"])
    capsys.readouterr()
    known = {name: parts for name, parts in report.SYSTEMS.items() if name != "full"}
    monkeypatch.setattr(report, "SYSTEMS", known)
    assert ablation.main([*common, "--systems", "fine-tuning"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed if line[:3] in ("ful", "fin")] == [
        "fine-tuning", "full"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_record_names_the_source_that_was_loaded_not_what_is_there_when_it_ends(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long grid may see its checkout move on."""
    states = iter(range(100))
    monkeypatch.setattr(ablation, "environment", lambda: {"git": next(states)})
    ablation.main(["--seeds", "0", "--systems", "w/o MM,full", "--out", str(tmp_path), "--quiet"])
    (path,) = tmp_path.glob("*/*/results.json")
    runs = json.loads(path.read_text())["records"]
    assert [run["provenance"]["git"] for run in runs] == [0, 0]
    assert json.loads((path.parent / "env.json").read_text())["git"] == 0


@pytest.mark.slow
def test_a_failed_run_leaves_the_table_of_the_others(
    ran: list, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ablation_run.RunMaker
    good = runner.__call__

    def make_run(self, run, progress) -> RunRecord:
        if run.system == "w/o AD":
            raise ValueError("the loss is not finite")
        return good(self, run, progress)

    monkeypatch.setattr(runner, "__call__", make_run)
    assert ablation.main(["--seeds", "0", "--out", str(tmp_path), "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "w/o GM" in printed.out
    assert "w/o AD" not in printed.out
    assert "FAILED w/o AD, default, seed 0: ValueError: the loss is" in printed.err
    assert len(list((tmp_path / "ablation-demo").glob("*/failed/*"))) == 1


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(
    ran: list, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_run(self, run, progress) -> RunRecord:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation_run.RunMaker, "__call__", make_run)
    assert ablation.main(["--out", str(tmp_path), "--quiet"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.slow
def test_several_orders_have_a_table_each_and_a_balance_each(
    ran: list, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(report, "write_report", lambda *_: "")  # figures take seconds
    common = ["--scenario", "imre", "--seeds", "0", "--out", str(tmp_path), "--quiet"]
    assert ablation.main([*common, "--orders", "sep5,sep10"], script=imbalance.SCRIPT) == 0
    assert ran == [("full", 0), ("w/o GM", 0)] * 2
    printed = capsys.readouterr().out
    assert printed.index("imre, sep5\n") < printed.index("imre, sep10\n")
    assert printed.count("figure: ") == 2
    # the runs are the ablation's
    assert ablation.main([*common, "--orders", "sep5", "--systems", "full"]) == 0
    assert len(ran) == 4
    folders = sorted(p.name.rpartition("-")[0] for p in (tmp_path / "imre-sep10").iterdir())
    assert folders == ["sep10", "sep5"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--orders", "sep5,sep9"], "must be sep10, sep7 or sep5, got ['sep9']"),
        (["--orders", "sep5,sep5"], "--orders must name each once"),
        (["--orders", ""], "--orders is empty; give a value"),
        (["--orders", "sep5", "--order", "sep7"], "--order is one order and --orders are several"),
        (["--orders", "sep5", "stream.order=sep7"], "stream.order= is one order and --orders are"),
        (["--orders", "sep5,sep5", "--epochs", "0"], "2 mistake(s)"),
        (["--orders", "sep5,sep9", "seeds=1,1"], "2 mistake(s)"),
        (
            ["--quick"],
            "--quick is the synthetic stream, and the stream that is asked for is 'imre'",
        ),
        (["--quick", "--epochs", "0"], "2 mistake(s)"),
        (["--device", "tpu"], "'device' must be one that works here, got 'tpu'"),
    ],
)
def test_orders_and_devices_that_are_wrong(
    ran: list, tmp_path: Path, capsys, argv: list[str], said: str
) -> None:
    assert ablation.main(["--scenario", "imre", *argv, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [["stream.scenario=imner"], ["--config", "ablation-imner"], ["--data", "D"]]
)
@pytest.mark.parametrize("script", [ablation.SCRIPT, imbalance.SCRIPT], ids=lambda s: s.file)
def test_quick_is_the_demonstration_and_nothing_else(
    ran: list, tmp_path: Path, capsys, script: ablation.Script, argv: list[str]
) -> None:
    assert ablation.main(["--quick", *argv, "--out", str(tmp_path)], script=script) == 2
    assert "--quick" in capsys.readouterr().err
    assert ran == []
    quick, usual = (ablation.parse(argv, script) for argv in (["--quick"], []))
    assert ablation.settings_of(quick, script=script) == ablation.settings_of(usual, script=script)
    assert ablation.settings_of(quick, script=script).stream.scenario == "demo"


@pytest.mark.parametrize("argv", [["--systems", "full"], ["systems=full"], ["--systems=w/o MI"]])
def test_the_imbalance_sets_its_rows_itself(
    ran: list, tmp_path: Path, capsys, argv: list[str]
) -> None:
    argv = [*argv, "--quick", "--out", str(tmp_path)]
    assert ablation.main(argv, script=imbalance.SCRIPT) == 2
    assert "'systems' is set by imbalance.py itself" in capsys.readouterr().err
    assert ran == []
    with pytest.raises(SystemExit):
        ablation.parse(["--help"], imbalance.SCRIPT)
    told = capsys.readouterr().out
    assert told.startswith("usage: python experiments/imbalance.py")
    assert "--quick" in told
    assert "--systems" not in told


def test_the_data_of_every_order_are_looked_at_before_the_first_is_trained_on(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def read_stream(stream, images) -> TaskStream:
        if stream.order == ("sep10",):
            raise DataError("no such file", path=tmp_path / "ours.txt")
        return MADE

    monkeypatch.setattr(ablation_plan, "read_stream", read_stream)
    argv = ["--scenario", "imre", "--orders", "sep5,sep10", "--out", str(tmp_path)]
    assert ablation.main(argv) == 2
    assert "no such file" in capsys.readouterr().err
    assert ran == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_systems_of_an_ablation_are_built_before_the_first_is_trained(
    ran: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    tried = []

    def built(settings, run, labels, *, device) -> None:
        tried.append(run.system)
        if run.system != "full":
            raise ConfigError(["no such layer"])

    monkeypatch.setattr(ablation_plan, "built", built)
    argv = ["--scenario", "imre", "--orders", "sep5,sep10", "--systems", "full,w/o MI,w/o AD"]
    assert ablation.main([*argv, "--out", str(tmp_path)]) == 2
    assert "w/o MI, w/o AD: no such layer" in capsys.readouterr().err
    assert tried == ["full", "w/o MI", "w/o AD"]
    assert ran == []
    assert list(tmp_path.iterdir()) == []


def test_the_balance_of_an_order_is_told_when_it_is_done(
    ran: list, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(report, "write_report", lambda *_: "")  # figures take seconds
    runner = ablation_run.RunMaker
    good = runner.__call__

    def make_run(self, run, progress) -> RunRecord:
        if run.order == "sep10":
            raise KeyboardInterrupt
        return good(self, run, progress)

    monkeypatch.setattr(runner, "__call__", make_run)
    argv = ["--scenario", "imre", "--seeds", "0", "--orders", "sep5,sep10", "--quiet"]
    script = imbalance.SCRIPT
    assert ablation.main([*argv, "--out", str(tmp_path)], script=script) == 130
    assert "imre, sep5\n" in capsys.readouterr().out


def test_wrong_settings_are_all_told_and_nothing_is_written(tmp_path: Path, capsys) -> None:
    argv = ["trainig.lr=1", "--seeds", "x", "method.alpha=-1", "--out", str(tmp_path / "runs")]
    assert ablation.main(argv) == 2
    told = capsys.readouterr().err
    assert "3 mistake(s)" in told
    assert "unknown key 'trainig.lr', did you mean 'training.lr'?" in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("argv", [["--help"], ["epochs=3"]])
@pytest.mark.parametrize("way", [[ablation.__file__], ["-m", "mkgc_cl.experiments.ablation"]])
def test_help_and_mistakes_import_nothing_heavy(
    tmp_path: Path, way: list[str], argv: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *way, *argv],
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


@pytest.mark.parametrize("runner", [ablation_run.RunMaker, table_run.RunMaker])
def test_a_worker_finds_what_it_is_to_run_from_anywhere(tmp_path: Path, runner: type) -> None:
    """As a process of ``--jobs 2`` does, which has no script to begin with."""
    sent = pickle.dumps(runner(ablation.Settings(), {}))
    code = "import pickle, sys; sys.stdout.write(repr(pickle.load(sys.stdin.buffer)))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == repr(runner(ablation.Settings(), {}))


@pytest.mark.slow
def test_a_small_demonstration_runs_for_real(tmp_path: Path, capsys) -> None:
    systems = "w/o GM,w/o GM (same rates),full"
    argv = ["--seeds", "0", "--systems", systems, "--epochs", "1", "--out", str(tmp_path)]
    argv += ["--split", "valid"]
    small = [
        "stream.train_per_task=24",
        "stream.test_size=40",
        "name=small",
        "--quiet",
    ]
    assert ablation.main([*argv, *small]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "interaction in the top 3" in printed
    assert "VALIDATION SAMPLES" in printed
    assert "SYNTHETIC DATA" in printed
    (out,) = (tmp_path / "small").iterdir()
    runs = json.loads((out / "results.json").read_text())["records"]
    assert {run["system"] for run in runs} == set(systems.split(","))
    for run in runs:
        assert len(run["A"]) == len(run["U"]) == len(run["tasks"]) == 5
        assert run["provenance"]["stream"]["synthetic stream"] is True
        assert run["peak_memory_mb"] > 0
        assert set(run["counts"]["streams"]) == {"valid"}
    assert (out / "figures" / "gamma.png").exists()
    records = [path for path in (out / "records").iterdir() if ".traces" not in path.name]
    traced = {
        json.loads(path.read_text())["record"]["system"]: json.loads(
            path.with_suffix(".traces.json").read_text()
        )
        for path in records
    }
    full, control = traced["full"], traced["w/o GM (same rates)"]
    for modality in ("coefficient_text", "coefficient_vision"):
        for first, last in zip(full["boundaries"], [*full["boundaries"][1:], None], strict=True):
            task = slice(int(first), None if last is None else int(last))
            (held,) = set(control[modality][task])
            assert held == pytest.approx(fmean(full[modality][task]))
