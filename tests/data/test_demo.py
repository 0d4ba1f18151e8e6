"""The synthetic stream: what it promises about samples, images and splits."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkgc_cl.data.demo import NER_ORDER, RE_ORDER, DemoShares, DrawnImage, demo_stream
from mkgc_cl.data.demo.names import AMBIGUOUS, TYPES, UNAMBIGUOUS, Name, split_names
from mkgc_cl.data.demo.relation_templates import NA, RELATIONS
from mkgc_cl.data.demo.samples import MAX_WORDS, MIN_WORDS, Draft
from mkgc_cl.data.demo.scenes import SCENES_OF
from mkgc_cl.data.demo.tagging import tags_of
from mkgc_cl.data.samples import RelationSample, Sample, TaggingSample, TaskKind, TaskStream

KINDS: tuple[TaskKind, ...] = ("ner", "re")
TYPE_OF = {scene: kind for kind, scenes in SCENES_OF.items() for scene in scenes}


@pytest.fixture(scope="module")
def ner() -> TaskStream:
    return demo_stream("ner", seed=3, test_size=600)


@pytest.fixture(scope="module")
def rel() -> TaskStream:
    return demo_stream("re", seed=3, test_size=600)


def image_of(sample: Sample) -> DrawnImage:
    image = sample.visual.image
    assert isinstance(image, DrawnImage)
    return image


def tagging(samples: tuple[Sample, ...]) -> list[TaggingSample]:
    return [sample for sample in samples if isinstance(sample, TaggingSample)]


def relation(samples: tuple[Sample, ...]) -> list[RelationSample]:
    return [sample for sample in samples if isinstance(sample, RelationSample)]


def learned(stream: TaskStream) -> Iterator[Sample]:
    for task in stream.tasks:
        yield from task.train
        yield from task.valid


def digest(stream: TaskStream) -> str:
    """Hash of words, labels, provenance and the pixels of every tenth sample."""
    found = hashlib.sha256(repr(stream).encode())
    for task in stream.tasks:
        for sample in (task.train + task.valid + task.test)[::10]:
            found.update(image_of(sample).read().tobytes())
    return found.hexdigest()


def mentions(sample: TaggingSample) -> list[tuple[str, Name]]:
    """Brute-force reading of BIO; fails on an ``I-`` that continues nothing."""
    found: list[tuple[str, list[str]]] = []
    before = "O"
    for word, tag in zip(sample.tokens, sample.tags, strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag.startswith("I-"):
            assert before in (f"B-{tag[2:]}", tag), sample.uid
            found[-1][1].append(word)
        else:
            assert tag == "O"
        before = tag
    return [(kind, tuple(words)) for kind, words in found]


def gathered(stream: TaskStream) -> list[tuple[DrawnImage, list[tuple[str, Name]]]]:
    """All mentions of each test sample, gathered over the tasks."""
    columns = zip(*(tagging(task.test) for task in stream.tasks), strict=True)
    return [(image_of(row[0]), [m for sample in row for m in mentions(sample)]) for row in columns]


def assert_share(hits: int, total: int, share: float) -> None:
    """Check a count against a binomial law.

    The count of independent draws has mean ``np`` and deviation ``sqrt(np(1-p))``; it leaves four
    deviations with probability below 1e-4 (normal approximation; ``np >= 20`` here).
    """
    assert total * share >= 20
    assert abs(hits - total * share) <= 4 * math.sqrt(total * share * (1 - share)), (hits, total)


# --- same seed, same stream -----------------------------------------------------------------------


@pytest.mark.slow
def test_equal_across_processes_and_different_across_seeds() -> None:
    code = (
        "from mkgc_cl.data.demo import demo_stream\n"
        "from test_demo import digest\n"
        "print(*(digest(demo_stream(kind, seed=5)) for kind in ('ner', 're')))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert answer == [digest(demo_stream(kind, seed=5)) for kind in KINDS]
    assert len({*answer, *(digest(demo_stream(kind, seed=6)) for kind in KINDS)}) == 4


def test_the_global_generators_are_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    demo_stream("re", train_per_task=10, valid_per_task=5, test_size=20)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_an_order_of_types_only_arranges_the_tasks() -> None:
    usual = {task.name: task for task in demo_stream("ner").tasks}
    turned = demo_stream("ner", order=("MISC", "LOC", "ORG", "PER"))
    assert [task.name for task in turned.tasks] == ["MISC", "LOC", "ORG", "PER"]
    assert all(usual[task.name] == task for task in turned.tasks)


def test_sizes_of_one_split_leave_the_test_samples_alone() -> None:
    for kind in KINDS:
        small = demo_stream(kind, train_per_task=20, valid_per_task=5, test_size=50)
        large = demo_stream(kind, train_per_task=90, valid_per_task=9, test_size=50)
        for one, other in zip(small.tasks, large.tasks, strict=True):
            assert one.test == other.test


# --- what every stream promises -------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
    train=st.integers(3, 60),
    valid=st.integers(3, 20),
    test=st.integers(15, 80),
)
def test_counts_and_disjoint_sentences(
    kind: TaskKind, seed: int, train: int, valid: int, test: int
) -> None:
    stream = demo_stream(
        kind, seed=seed, train_per_task=train, valid_per_task=valid, test_size=test
    )
    assert all(len(t.train) == train and len(t.valid) == valid for t in stream.tasks)
    test_sets = [task.test for task in stream.tasks]
    tests = test_sets[0] if kind == "ner" else tuple(itertools.chain(*test_sets))
    assert len(tests) == test
    samples = [*learned(stream), *tests]
    assert len({sample.tokens for sample in samples}) == len(samples)
    assert len({sample.uid for sample in samples}) == len(samples)
    assert len({image_of(sample).key for sample in samples}) == len(samples)
    assert all(MIN_WORDS <= len(sample.tokens) <= MAX_WORDS for sample in samples)
    assert not any("{" in word for sample in samples for word in sample.tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_uids_number_the_rows_of_a_split(kind: TaskKind) -> None:
    stream = demo_stream(kind, train_per_task=10, valid_per_task=4, test_size=20)
    uids = {sample.uid for task in stream.tasks for sample in task.train}
    assert uids == {f"demo-{kind}/train/{row}" for row in range(10 * len(stream.tasks))}
    assert {s.uid for t in stream.tasks for s in t.test} == {
        f"demo-{kind}/test/{row}" for row in range(20)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_provenance_says_what_it_is(kind: TaskKind) -> None:
    stream = demo_stream(kind, seed=9, train_per_task=10, valid_per_task=4, test_size=20)
    assert stream.name == f"demo-{kind}"
    assert stream.provenance["generator"] == "mkgc_cl demo"
    assert stream.provenance["synthetic stream"] is True
    assert "Only a synthetic stream" in str(stream.provenance["notice"])
    assert stream.provenance["seed"] == 9
    assert stream.provenance["sizes"] == {
        "train_per_task": 10,
        "valid_per_task": 4,
        "test": 20,
        "image": 32,
    }


# --- tagging --------------------------------------------------------------------------------------


def test_only_the_types_of_the_task_are_tagged(ner: TaskStream) -> None:
    assert ner.labels.classes == NER_ORDER
    assert set(NER_ORDER) == set(TYPES)
    for task in ner.tasks:
        for sample in tagging(task.train + task.valid + task.test):
            assert {kind for kind, _ in mentions(sample)} <= set(task.classes)


def test_tagging_tasks_share_the_test_sentences(ner: TaskStream) -> None:
    first = ner.tasks[0].test
    for task in ner.tasks:
        assert [s.uid for s in task.test] == [s.uid for s in first]
        assert [s.tokens for s in task.test] == [s.tokens for s in first]
        assert [s.visual for s in task.test] == [s.visual for s in first]
    assert all(found for _, found in gathered(ner))


def test_hidden_samples_name_what_other_tasks_tag(ner: TaskStream) -> None:
    hidden = ner.provenance["hidden"]
    assert isinstance(hidden, dict)
    names = {name for pool in (AMBIGUOUS, *UNAMBIGUOUS.values()) for name in pool}
    for task in ner.tasks:
        without = [s for s in tagging(task.train) if set(s.tags) == {"O"}]
        assert len(without) == round(DemoShares().hidden_only * len(task.train))
        # Every such sample does name something, by a name that can be of another type.
        assert all(any(occurs(name, s.tokens) for name in names) for s in without)
        assert min(hidden[task.name].values()) > 10
        tagged = {name for s in tagging(task.train) for _, name in mentions(s)}
        both = [n for n in tagged if any(occurs(n, s.tokens) for s in without)]
        assert len(both) >= 8, "the same names tagged in some samples and hidden in others"


def occurs(name: Name, tokens: tuple[str, ...]) -> bool:
    width = len(name)
    return any(tokens[at : at + width] == name for at in range(len(tokens) - width + 1))


def test_tags_of_a_draft_by_hand() -> None:
    draft = Draft(
        tokens=("Tom", "Weaver", "is", "back", "in", "Oslo"),
        spans={"x": (0, 2), "LOC": (5, 6)},
        types={"x": "PER", "LOC": "LOC"},
        image=DrawnImage(("portrait",), 0),
        showing="shows",
    )
    assert tags_of(draft, visible="PER") == ("B-PER", "I-PER", "O", "O", "O", "O")
    assert tags_of(draft, visible="LOC") == ("O", "O", "O", "O", "O", "B-LOC")
    assert set(tags_of(draft, visible="ORG")) == {"O"}


def test_share_of_tagging_images_that_show_and_mislead(ner: TaskStream) -> None:
    single = [(p.kinds[0], found[0][0]) for p, found in gathered(ner) if len(found) == 1]
    shows = sum(TYPE_OF.get(scene) == kind for scene, kind in single)
    clutter = sum(scene == "clutter" for scene, _ in single)
    shares = DemoShares()
    assert_share(shows, len(single), shares.shows)
    assert_share(len(single) - shows - clutter, len(single), shares.misleads)
    counts = ner.provenance["images"]
    assert isinstance(counts, dict)
    assert_share(counts["train"]["shows"], 4 * 240, shares.shows)
    assert_share(counts["train"]["misleads"], 4 * 240, shares.misleads)


def test_share_of_unseen_names_in_tagging(ner: TaskStream) -> None:
    names = [name for _, found in gathered(ner) for _, name in found]
    held_out = held_out_names(3)
    assert_share(sum(name in held_out for name in names), len(names), DemoShares().unseen)
    assert not any(occurs(name, s.tokens) for s in learned(ner) for name in held_out)


def held_out_names(seed: int) -> set[Name]:
    known, unseen = split_names(seed)
    sides = [
        {
            name
            for by_type in (pool.ambiguous, pool.unambiguous)
            for n in by_type.values()
            for name in n
        }
        for pool in (known, unseen)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == len(AMBIGUOUS) + sum(map(len, UNAMBIGUOUS.values()))
    for pool in (known, unseen):
        assert all(len(names) >= 2 for names in pool.ambiguous.values())
        assert all(len(names) >= 2 for names in pool.unambiguous.values())
    return sides[1]


# --- relations ------------------------------------------------------------------------------------


def test_relation_tasks_bring_two_relations_and_other_na_samples(rel: TaskStream) -> None:
    assert rel.labels.na == NA
    assert len(rel.tasks) == 5
    assert tuple(itertools.chain(*(task.classes for task in rel.tasks))) == RE_ORDER
    for task in rel.tasks:
        for part in (task.train, task.valid, task.test):
            found = [sample.relation for sample in relation(part)]
            assert set(found) == {NA, *task.classes}
            assert found.count(NA) == round(DemoShares().na * len(part))
            first, second = (found.count(name) for name in task.classes)
            assert abs(first - second) <= 1


def test_spans_hold_names_of_the_types_of_the_relation(rel: TaskStream) -> None:
    def may_be(name: Name, kind: str) -> bool:
        return kind in AMBIGUOUS.get(name, ()) or name in UNAMBIGUOUS[kind]

    for task in rel.tasks:
        for sample in relation(task.train + task.valid + task.test):
            names = [sample.tokens[slice(*span)] for span in (sample.head, sample.tail)]
            assert names[0] != names[1]
            if sample.relation != NA:
                types = RELATIONS[sample.relation].types
                assert all(map(may_be, names, types)), sample


def test_share_of_relation_images_that_show_and_mislead(rel: TaskStream) -> None:
    def shows(sample: RelationSample) -> bool:
        kinds, sides = image_of(sample).kinds, RELATIONS[sample.relation].scenes
        return len(kinds) == 2 and all(k in side for k, side in zip(kinds, sides, strict=True))

    samples = [s for t in rel.tasks for s in relation(t.train + t.test) if s.relation != NA]
    shown = sum(map(shows, samples))
    clutter = sum(image_of(s).kinds == ("clutter",) for s in samples)
    assert_share(shown, len(samples), DemoShares().shows)
    assert_share(len(samples) - shown - clutter, len(samples), DemoShares().misleads)
    negatives = [s for t in rel.tasks for s in relation(t.train + t.test) if s.relation == NA]
    assert_share(
        sum(len(image_of(s).kinds) == 2 for s in negatives), len(negatives), DemoShares().misleads
    )


def test_share_of_unseen_names_in_relations(rel: TaskStream) -> None:
    names = [
        sample.tokens[slice(*span)]
        for task in rel.tasks
        for sample in relation(task.test)
        for span in (sample.head, sample.tail)
    ]
    held_out = held_out_names(3)
    assert_share(sum(name in held_out for name in names), len(names), DemoShares().unseen)
    assert not any(occurs(name, s.tokens) for s in learned(rel) for name in held_out)


GOLDEN = {"re": "ebc167df1d9e343b", "ner": "04bad40163e06c43"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_is_the_one_that_results_are_of(kind: TaskKind) -> None:
    """Every number of the documents is of these samples: a renamed seed or word makes others."""
    digest = hashlib.sha256()
    for task in demo_stream(kind).tasks:
        for sample in (*task.train, *task.valid, *task.test):
            told = (
                (sample.head, sample.tail, sample.relation)
                if isinstance(sample, RelationSample)
                else sample.tags
            )
            digest.update(repr((sample.uid, sample.tokens, told, sample.visual.key)).encode())
    assert digest.hexdigest()[:16] == GOLDEN[kind]


@pytest.mark.parametrize(
    ("kinds", "seed", "mean"),
    [(("portrait",), 0, (141, 136, 113)), (("logo", "trophy"), 7, (140, 124, 112))],
)
def test_images_are_the_ones_that_results_are_of(
    kinds: tuple[str, ...], seed: int, mean: tuple[float, ...]
) -> None:
    """Colors are drawn; a version of Pillow may smooth edges by another rule."""
    found = np.asarray(DrawnImage(kinds, seed).read(), dtype=float).mean(axis=(0, 1))
    assert np.abs(found - mean).max() < 2
