"""A corpus of one's own in the scripts: kind, name and tasks from its file, images and orders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.experiments import ablation, controls, imner, imre, task_number
from mkgc_cl.experiments.pipeline import cli
from mkgc_cl.experiments.pipeline.paper_rows import paper_of
from mkgc_cl.experiments.pipeline.plan import Plan, plan
from mkgc_cl.experiments.pipeline.settings import SCENARIOS, Settings
from mkgc_cl.experiments.pipeline.streams import READERS
from mkgc_cl.systems import systems_of

NER = "train: songs.txt\ntest: songs.txt\nvalid: songs.txt\nkind: ner\nname: songs\n"
RE = (
    "train: pairs.jsonl\ntest: pairs.jsonl\nkind: re\nname: pairs\nnegative: no_relation\n"
    "order: [holds, rides, sees]\n"
)
SONGS = "a B-x\n\na B-x\n\na B-x\n\nb B-y\n\nb B-y\n\nc B-z\n"
PAIR = (
    '{{"tokens": ["a", "b"], "head": {{"start": 0, "end": 1}}, '
    '"tail": {{"start": 1, "end": 2}}, "relation": "{}", "image": "{}"}}\n'
)
TOLD = '{"image": "1", "captions": {"short": "a cup", "long": "a white cup"}}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "songs.txt").write_text(SONGS)
    relations = ("holds", "rides", "sees", "no_relation", "no_relation", "no_relation")
    (tmp_path / "pairs.jsonl").write_text("".join(PAIR.format(name, 1) for name in relations))
    (tmp_path / "told.jsonl").write_text(TOLD)
    (tmp_path / "songs.yaml").write_text(NER)
    (tmp_path / "pairs.yaml").write_text(RE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # the corpus lies elsewhere
    return tmp_path


def settings(
    folder: Path, name: str, *argv: str, script: cli.Script = imner.SCRIPT
) -> tuple[Settings, ...]:
    data = ("--scenario", "files", "--data", str(folder / f"{name}.yaml"))
    return cli.settings_of(script, cli.parse(script, [*data, *argv])).of_each_order()


def planned(folder: Path, name: str, *argv: str, script: cli.Script = imner.SCRIPT) -> Plan:
    return plan(settings(folder, name, *argv, script=script)[0], script.known(), folder / "runs")


def problems(folder: Path, name: str, *argv: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        planned(folder, name, *argv)
    return list(caught.value.problems)


def test_every_scenario_has_a_reader() -> None:
    assert tuple(READERS) == SCENARIOS


def test_kind_and_name_come_from_the_file(folder: Path) -> None:
    (songs,) = settings(folder, "songs")
    assert (songs.kind, songs.scenario, songs.order) == ("ner", "songs", "x-y-z")
    assert songs.systems == tuple(systems_of("ner"))
    (pairs,) = settings(folder, "pairs", script=imre.SCRIPT)
    assert (pairs.kind, pairs.scenario, pairs.order) == ("re", "pairs", "holds-rides-sees")
    assert settings(folder, "songs", script=ablation.SCRIPT)[0].name == "ablation-files"
    assert settings(folder, "songs", script=controls.SCRIPT)[0].name == "files"


def test_a_task_without_samples_is_told_before_anything_is_built(folder: Path) -> None:
    (folder / "songs.txt").write_text("a B-x\nb B-y\n\nc B-y\na B-x\n\n")
    (folder / "songs.yaml").write_text(f"{NER}tasks: [[x], [y]]\nmulti_type: first\n")
    with pytest.raises(DataError, match="task 'y' has no training samples"):
        planned(folder, "songs")


def test_a_run_of_a_corpus(folder: Path) -> None:
    made = planned(folder, "songs", "--systems", "Vanilla", "stream.first=2", "--split", "valid")
    (run,) = made.runs
    assert (run.scenario, run.order) == ("songs", "x-y-z, first 2")
    assert [task.classes for task in made.stream.tasks] == [("x",), ("y",)]
    stream = made.config_of("Vanilla")["stream"]
    assert (stream["scenario"], stream["split"]) == ("files", "valid")
    assert {"data", "captions", "captioner"}.isdisjoint(stream)
    assert made.target.name.startswith("x-y-z-first-2,split=valid-")
    assert made.paper.rows(["Vanilla"]) == ({}, ())


def test_a_corpus_has_no_row_of_the_paper_whatever_it_is_called(folder: Path) -> None:
    for name in ("imner", "demo-re", "a\\nb", " "):
        path = folder / f"{len(name)}.yaml"  # each file is read once
        path.write_text(NER.replace("name: songs", f'name: "{name}"'))
        (said,) = problems(folder, path.stem)
        assert said.startswith(f"{path}: 'name'")
    other = planned(folder, "pairs", script=imre.SCRIPT)
    assert paper_of(other.settings, other.stream).tables == ()


def test_all_mistakes_of_its_file_with_their_lines(folder: Path) -> None:
    path = folder / "wrong.yaml"
    path.write_text("train: a\ntest: b\nkind: tags\nordr: [x]\n")
    assert problems(folder, "wrong") == [
        f"{path}:4: unknown key 'ordr', did you mean 'order'?",
        f"{path}:3: 'kind' must be one of 'ner', 're' or null, got 'tags'",
    ]


@pytest.mark.slow
def test_images_of_the_file_unless_others_are_asked_for(folder: Path) -> None:
    path = folder / "told.yaml"
    path.write_text(
        f"{RE}images: captions\ncaptions: told.jsonl\ncaptioner: long\nmissing_images: blank\n"
    )

    def shown(*argv: str, name: str = "told") -> tuple[str, str, object, str | None]:
        made = planned(folder, name, *argv, "--systems", "Vanilla", script=imre.SCRIPT)
        visual = made.stream.tasks[0].train[0].visual
        given = made.settings
        return (
            given.encoders.images,
            given.stream.missing_images,
            made.config_of("Vanilla")["stream"].get("captioner"),
            visual.caption,
        )

    assert shown() == ("captions", "blank", None, "a white cup")
    assert shown("stream.captioner=short") == ("captions", "blank", "short", "a cup")
    assert shown("--missing-images", "error")[1] == "error"
    assert shown("encoders.images=image") == ("image", "blank", None, None)
    captions = ("encoders.images=captions", f"stream.captions={folder / 'told.jsonl'}")
    assert shown(*captions, "stream.captioner=short", name="pairs")[3] == "a cup"
    assert "give captioner=" in problems(folder, "pairs", *captions, "--systems", "EWC")[0]
    # a settings file, too, comes after the file of the corpus
    mine = folder / "mine.yaml"
    mine.write_text("stream: {scenario: files, missing_images: error}\n")
    assert shown("--config", str(mine))[:2] == ("captions", "error")


@pytest.mark.parametrize(
    ("file", "order", "tasks", "name"),
    [
        ("", "z-x-y", "z x y", "z-x-y"),
        ("", "z-x", "z x", "z-x"),
        ("", "z-x+y", "z x+y", "z-x+y"),
        ("tasks: [[x, y], [z]]\n", "z-x+y", "z x+y", "z-x+y"),
        ("tasks: 2\n", "z-x-y", "z+x y", "z+x-y"),
        ("classes_per_task: 2\n", "z-x-y", "z+x y", "z+x-y"),
    ],
)
def test_orders_by_class(folder: Path, file: str, order: str, tasks: str, name: str) -> None:
    (folder / "ordered.yaml").write_text(NER + file)
    made = planned(folder, "ordered", "--orders", order)
    assert [task.name for task in made.stream.tasks] == tasks.split()
    assert made.settings.order == name


@pytest.mark.slow
def test_drawn_orders_have_names_and_the_same_samples(folder: Path) -> None:
    path = folder / "drawn.yaml"
    path.write_text(NER.replace("test: songs.txt", "test: 0.4\nseed: 7") + "tasks: [[x], [y, z]]\n")
    found = {}
    for each in settings(folder, "drawn", "--orders", "seed:0,seed:1,seed:2,seed:0/3"):
        stream = plan(each, imner.SCRIPT.known(), folder).stream
        found[each.order] = [task.classes for task in stream.tasks]
        held_out = {sample.uid for task in stream.tasks for sample in task.test}
        assert held_out == {
            sample.uid for task in planned(folder, "drawn").stream.tasks for sample in task.test
        }
    assert list(found) == ["seed:0", "seed:1", "seed:2", "seed:0/3"]
    assert [len(groups) for groups in found.values()] == [2, 2, 2, 3]
    assert len({str(groups) for groups in found.values()}) > 1


def test_orders_that_the_files_do_not_have(folder: Path) -> None:
    assert (
        "'w', which no training sample has; the files have x, y, z"
        in (problems(folder, "songs", "--orders", "x-w")[0])
    )
    assert "between 1 and 3" in problems(folder, "songs", "--orders", "seed:0/9")[0]


def test_tasks_of_relations_are_joined_and_those_of_tags_are_not(folder: Path) -> None:
    made = planned(folder, "pairs", "stream.merge=2", script=imre.SCRIPT)
    assert [len(task.classes) for task in made.stream.tasks] == [2, 1]
    assert made.settings.order == "holds-rides-sees, 2 in one"
    assert "'stream.merge'" in problems(folder, "songs", "stream.merge=2")[0]
    given = settings(folder, "pairs", script=task_number.SCRIPT)[0]
    orders = [each.order for each in task_number.variants(given, cli.parse(imre.SCRIPT, []))]
    assert orders == [
        "holds-rides-sees, 3 in one",
        "holds-rides-sees, 2 in one",
        "holds-rides-sees",
    ]
