"""Predictions in shards: those of one process, however often it was stopped."""

from __future__ import annotations

import gzip
import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from people import NAMES, OTHERS, PLACES, RECORDS

from mkgc_cl import cluster
from mkgc_cl.cli import main
from mkgc_cl.errors import ConfigError, DataError, OutputError
from mkgc_cl.inference import Extractor
from mkgc_cl.inference import shards as sharding
from mkgc_cl.inference.json_lines import LONGEST
from mkgc_cl.inference.shards import MANIFEST, Job, Shards, planned, write_here
from mkgc_cl.inference.shards_on_ray import RETRIES, ShardWriter

TEXTS = [f"{NAMES[i % 6]} lives in {PLACES[i % 5]} {i}" for i in range(150)]


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Two files of 150 texts: blank lines, all line ends, a mark, names of their own, no last end.

    The second shard of 64 begins in the one and ends in the other.
    """
    extractor = Extractor.from_encoder("tiny")
    extractor.learn(RECORDS)
    extractor.save(tmp_path / "x")
    one, two = tmp_path / "one.txt", tmp_path / "two.jsonl"
    one.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join([*TEXTS[:70], "Änn lives in Lima"]).encode())
    lines = [json.dumps({"text": text, "uid": text}) for text in TEXTS[71:110]] + TEXTS[110:]
    two.write_bytes("\r".join(lines).encode())
    return Job(tmp_path / "x", (one, two), tmp_path / "out", texts=64)


def plan(job: Job) -> Shards:
    return planned(job, lambda words: None)


def parts(job: Job) -> str:
    return "".join(path.read_text() for path in sorted(job.out.glob("part-*.jsonl")))


@pytest.mark.slow
def test_the_parts_are_what_one_process_prints(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(map(str, job.files))
    assert main(["predict", str(job.extractor), *files]) == 0
    whole = capsys.readouterr().out
    assert len(whole.splitlines()) == 150
    bulk = ["predict", str(job.extractor), *files, "--out", str(job.out), "--shard", "64"]
    assert main(bulk) == 0
    assert capsys.readouterr().out == f"150 texts in 3 parts: {job.out}\n"
    assert parts(job) == whole
    assert [path.name for path in sorted(job.out.glob("part*"))] == [
        f"part-0000{number}.jsonl" for number in range(3)
    ]
    assert [len(path.read_text().splitlines()) for path in sorted(job.out.glob("part*"))] == [
        64, 64, 22,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_finished_part_is_not_written_again_and_a_killed_one_leaves_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(write_here(plan(job)))
    whole = parts(job)
    (job.out / "part-00001.jsonl").unlink()
    kept = (job.out / "part-00002.jsonl").stat().st_ino

    def stops(self: Extractor, given: object, **named: object) -> object:
        yield from (self(next(given)) for _ in range(3))  # type: ignore[call-overload]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "stream", stops)
        with pytest.raises(KeyboardInterrupt):
            list(write_here(plan(job)))
    assert sorted(path.name for path in job.out.iterdir()) == [
        MANIFEST, "part-00000.jsonl", "part-00002.jsonl",
    ]  # fmt: skip
    assert [one.shard for one in write_here(plan(job))] == [1]
    assert parts(job) == whole
    assert (job.out / "part-00002.jsonl").stat().st_ino == kept
    assert list(write_here(plan(job))) == []


@pytest.mark.slow
def test_another_input_or_extractor_is_refused_with_what_differs(job: Job) -> None:
    plan(job)
    plan(job)
    with pytest.raises(ConfigError) as caught:
        plan(replace(job, texts=128, constrain=False, threads=2))
    assert [line.split("'")[1] for line in caught.value.problems[:3]] == [
        "constrain", "texts per shard", "threads",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="there were 2 files to read, and are 1"):
        plan(replace(job, files=job.files[:1]))
    text = job.files[1].read_bytes()
    job.files[1].write_bytes(text.replace(b"lives", b"flees", 1))  # as many bytes
    with pytest.raises(ConfigError, match=r"file two.jsonl was .*sha256"):
        plan(job)
    job.files[1].write_bytes(text)
    shards = plan(job)
    with Extractor.editing(job.extractor) as extractor:
        extractor.learn(OTHERS)
    with pytest.raises(ConfigError, match="'extractor' was"):
        plan(job)
    with pytest.raises(ConfigError, match=r"on node .*'extractor' was"):
        list(write_here(shards))


def test_every_malformed_text_is_told_before_anything_is_read(job: Job) -> None:
    job.files[1].write_text('Ann runs\n{"text": 5}\n\n{"tokens": []}\n{\n')
    with pytest.raises(DataError) as caught:
        plan(job)
    assert {p.path for p in caught.value.problems} == {job.files[1]}
    assert [p.line for p in caught.value.problems] == [2, 5]
    assert not job.out.exists()


def test_what_cannot_be_read_on_costs_no_other_mistake(job: Job) -> None:
    long, packed, other = (job.files[0].with_name(name) for name in ("long", "gz", "other"))
    long.write_text('{"text": 5}\n' + "a" * (LONGEST + 1) + "\n{\n")
    packed.write_bytes(gzip.compress(b"Ann runs"))
    other.write_bytes(b"Ann runs\nAnn r\xfcns\n")
    with pytest.raises(DataError) as caught:
        plan(replace(job, files=(long, packed, other)))
    assert [(p.path, p.line) for p in caught.value.problems] == [
        (long, 1), (long, 2), (packed, 1), (other, 2),
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(60)
def test_all_that_is_no_file_is_named_and_no_pipe_is_read_to_its_end(job: Job) -> None:
    pipe, absent = job.extractor.with_name("pipe"), job.extractor.with_name("absent")
    os.mkfifo(pipe)
    with pytest.raises(DataError) as caught:
        plan(replace(job, files=(absent, *job.files, pipe)))
    assert [p.path for p in caught.value.problems] == [absent, pipe]
    assert "a named pipe" in str(caught.value)


def test_texts_of_two_files_of_one_name_need_uids(job: Job) -> None:
    text, record = "Ann runs\nBob runs\n", '{"text": "Ann", "uid": "1"}\n'
    files = []
    for month, data in (("May", text), ("June", text), ("July", record)):
        files.append(job.extractor.with_name(month) / "texts")
        files[-1].parent.mkdir()
        files[-1].write_text(data)
    with pytest.raises(DataError, match="another file is called texts") as caught:
        plan(replace(job, files=tuple(files)))
    assert [(p.path, p.line) for p in caught.value.problems] == [(files[0], 1)]
    files[1].write_text(record)
    files[0].write_text(record)
    assert plan(replace(job, files=tuple(files))).total == 3


def test_of_two_commands_that_begin_at_once_one_has_the_folder(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = sharding._survey

    def meanwhile(given: Job) -> object:
        monkeypatch.setattr(sharding, "_survey", survey)
        plan(first)
        return survey(given)

    first = job
    monkeypatch.setattr(sharding, "_survey", meanwhile)
    assert plan(job) == plan(job)
    (job.out / MANIFEST).unlink()
    (job.out / ".mkgc-0.tmp").touch()  # of a process that was killed
    first = replace(job, files=job.files[:1])
    monkeypatch.setattr(sharding, "_survey", meanwhile)
    with pytest.raises(ConfigError, match="is of another input"):
        plan(job)
    assert plan(first).total == 71


@pytest.mark.slow
def test_an_input_that_is_another_by_now_writes_nothing(job: Job) -> None:
    shards = plan(job)
    extractor = shards.opened()
    text = job.files[1].read_bytes()
    job.files[1].write_bytes(b"\r".join(text.split(b"\r")[:10]))
    with pytest.raises(DataError, match=r"expected 64 texts for part-00001\.jsonl, found 17"):
        shards.write(1, extractor)
    assert not shards.path(1).exists()
    job.files[1].unlink()
    with pytest.raises(DataError, match="cannot be read") as caught:
        shards.write(1, extractor)
    assert caught.value.path == job.files[1]
    with pytest.raises(ConfigError, match=r"on node .*two.jsonl is not the file"):
        shards.opened()


def test_a_node_without_the_extractor_ends_all_and_not_a_part(job: Job) -> None:
    writer = ShardWriter(plan(job), Path.cwd(), "x")
    job.extractor.rename(job.extractor.with_name("y"))
    said = writer({"shard": 0})
    assert said["kind"] == "config"
    assert said["error"].startswith(f"on node {platform.node()}: {job.extractor}: expected")


@pytest.mark.slow
def test_a_part_whose_writer_dies_each_time_is_given_up_and_the_others_are_not(job: Job) -> None:
    writer = ShardWriter(plan(job), Path.cwd(), "x")
    left = [job.out / f".mkgc-x-{shard}.tmp" for shard in range(2)]
    for file, died in zip(left, (RETRIES, RETRIES + 1), strict=True):
        file.write_bytes(b"." * died)
    assert writer({"shard": 0})["kind"] == ""
    said = writer({"shard": 1})
    assert said["kind"] == "data"
    assert "part-00001.jsonl: the process that wrote it died 4 times" in said["error"]
    assert sorted(path.name for path in job.out.iterdir()) == [MANIFEST, "part-00000.jsonl"]


def test_what_cannot_be_is_told_before_the_texts_are_looked_at(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(map(str, job.files))
    assert main(["predict", str(job.extractor), *files, "--out", files[0]]) == 1
    said = capsys.readouterr().err
    assert "results cannot be kept there" in said
    with pytest.raises(OutputError, match="cannot be an output folder"):
        plan(replace(job, out=job.files[0]))
    (job.extractor / "config.json").write_text("{}")
    assert main(["predict", str(job.extractor), *files, "--out", str(job.out)]) == 2
    said += capsys.readouterr().err
    assert "expected a saved mkgc_cl.extractor" in said
    assert "every text" not in said


@pytest.mark.slow
def test_a_text_without_its_image_costs_its_part_alone(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Extractor.stream

    def lacks(self: Extractor, given: object, **named: object) -> object:
        for found in stream(self, given, **named):  # type: ignore[arg-type]
            if found.text == TEXTS[75]:
                raise DataError("has no image", sample=found.uid)
            yield found

    monkeypatch.setattr(Extractor, "stream", lacks)
    argv = ["predict", str(job.extractor), *map(str, job.files), "--out", str(job.out)]
    assert main([*argv, "--shard", "64"]) == 1
    said = capsys.readouterr().err
    assert "part-00001.jsonl: FAILED" in said
    assert f"sample {TEXTS[75]}: has no image" in said
    assert plan(job).waiting == [1]


def test_a_folder_of_something_else_and_a_manifest_of_another_are_refused(job: Job) -> None:
    job.out.mkdir()
    (job.out / "notes.txt").touch()
    with pytest.raises(OutputError, match="holds something else"):
        plan(job)
    for text in ("{", "[]", '{"format": "mkgc_cl.shards/9"}'):
        (job.out / MANIFEST).write_text(text)
        with pytest.raises(DataError, match="expected a manifest"):
            plan(job)


def test_a_process_that_does_not_see_the_manifest_says_so(job: Job) -> None:
    shards = plan(job)
    (job.out / MANIFEST).unlink()
    with pytest.raises(OutputError, match="file system that all nodes share"):
        shards.opened()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"texts": 100}, "multiple of 64"),
        ({"files": ()}, "nothing to read"),
        ({"threads": 0}, "one"),
    ],
)
def test_a_job_that_cannot_be(job: Job, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(job, **changes)  # type: ignore[arg-type]


def test_without_ray_the_line_that_installs_it_is_told(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    argv = ["predict", str(job.extractor), str(job.files[0]), "--launcher", "ray"]
    assert main([*argv, "--out", str(job.out)]) == 2
    assert "pip install 'mkgc_cl[ray]'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(argv)
    assert "give it, too" in capsys.readouterr().err
