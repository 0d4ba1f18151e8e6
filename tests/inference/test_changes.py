"""Changes of an extractor: whole or not at all, and undone without a trace."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from people import NAMES, NEGATIVES, OTHERS, PLACES, RECORDS, record

from mkgc_cl.errors import DataError, MissingDataError, OutputError
from mkgc_cl.inference import Extractor, changes, forgetting, learning
from mkgc_cl.models.gaussian import GaussianReadout

NEW = [{**record("Gus", "Pisa"), "entities": [(0, 1, "HERO"), (3, 4, "TOWN")]}]


def state(extractor: Extractor) -> dict[str, Any]:
    """All that an extractor has learnt, to the bit."""
    parts = extractor.parts.items()
    return {
        "labels": {kind: part.labels for kind, part in parts},
        "numbers": {
            (kind, name): value.clone()
            for kind, part in parts
            for name, value in part.readout.state_dict().items()  # type: ignore[attr-defined]
        },
        "rest": copy.deepcopy((extractor.ledgers, extractor.constraints, extractor.tasks)),
        "model": extractor.model,
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal, statistics up to the rounding of features that are read in other company."""
    for name in ("labels", "rest"):
        assert one[name] == other[name]
    assert one["numbers"].keys() == other["numbers"].keys()
    for name, value in one["numbers"].items():
        torch.testing.assert_close(value, other["numbers"][name], rtol=1e-4, atol=1e-4)


def broken(*given: object, **options: object) -> None:
    raise KeyboardInterrupt


def at_the_second(real: Callable[..., Any]) -> Callable[..., Any]:
    """The real thing once, and then an interrupt."""
    calls = []

    def call(*given: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*given, **options)

    return call


def after(real: Callable[..., Any]) -> Callable[..., Any]:
    """The real thing, and then an interrupt."""

    def call(*given: Any, **options: Any) -> None:
        real(*given, **options)
        raise KeyboardInterrupt

    return call


@pytest.mark.parametrize(
    ("change", "place", "name", "breaks"),
    [
        (lambda x: x.learn(NEW), learning, "relation_readings", lambda real: broken),
        (lambda x: x.learn(NEW), GaussianReadout, "log_posterior", lambda real: broken),
        (lambda x: x.learn(NEW, held_out=NEW), learning, "f1_of_known", at_the_second),
        (lambda x: x.forget(RECORDS[:2]), forgetting, "relation_readings", lambda real: broken),
        (lambda x: x.forget(RECORDS[:2]), GaussianReadout, "remove", at_the_second),
        (lambda x: x.rename("PER", "LOC"), changes, "relabel", after),
        (lambda x: x.remove("PER"), changes, "relabel", after),
        (lambda x: x.merge(copy.deepcopy(x)), GaussianReadout, "merge", at_the_second),
    ],
)
def test_what_breaks_in_the_middle_changes_nothing(
    taught: Extractor,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Extractor], Any],
    place: object,
    name: str,
    breaks: Callable[[Any], Any],
) -> None:
    before = state(taught)
    monkeypatch.setattr(place, name, breaks(getattr(place, name)))
    with pytest.raises(KeyboardInterrupt):
        change(taught)
    now = state(taught)
    assert all(torch.equal(value, now["numbers"][k]) for k, value in before["numbers"].items())
    assert {**now, "numbers": 0} == {**before, "numbers": 0}
    monkeypatch.undo()
    change(taught)
    assert taught.model != before["model"]


@pytest.mark.parametrize("background", ["read-as-O", "all", "soft"])
@pytest.mark.parametrize("seed", range(3))
def test_to_forget_what_was_learnt_is_to_have_never_seen_it(seed: int, background: Any) -> None:
    draw = random.Random(seed)  # noqa: S311
    pool = [*RECORDS, *OTHERS, *NEGATIVES]
    pool += [{**one, "entities": [(0, 1, "HERO"), (3, 4, "TOWN")]} for one in OTHERS[:3]]
    pool = [{**one, "tokens": [*one["tokens"], str(n)]} for n, one in enumerate(pool)]
    draw.shuffle(pool)
    extractor = Extractor.from_encoder("tiny", max_length=32, background=background)
    extractor.learn(pool[:9], task="first")
    before = state(extractor)
    extractor.learn(pool[9:], task="second")
    assert extractor.forget(pool[9:]) > 0
    same(state(extractor), before)


def test_a_type_that_is_forgotten_rules_nothing_out(fresh: Extractor) -> None:
    fresh.learn(RECORDS, task="first")
    town = [{"tokens": ["Bern", "is", "here"], "entities": [(0, 1, "TOWN")]}]
    again = [record("Gus", "Pisa")]
    fresh.learn([*town, *again], task="second")
    assert not fresh.constraints.allow("lives_in", "PER", "TOWN")
    fresh.forget([*town, *again])
    assert fresh.constraints.allow("lives_in", "PER", "TOWN")
    assert fresh.types == fresh.parts["ner"].labels.classes == ("PER", "LOC")
    assert set(fresh.tasks) == {"PER", "LOC", "lives_in"}


def test_the_task_that_is_left_has_taught_the_type(fresh: Extractor) -> None:
    fresh.learn(RECORDS[:1], task="first")
    fresh.learn(RECORDS[1:], task="second")
    assert fresh.tasks["PER"] == "first"
    fresh.forget(RECORDS[:1])
    assert set(fresh.tasks.values()) == {"second"}


@pytest.mark.slow
def test_two_that_teach_one_folder_are_both_kept(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    inside, waiting = threading.Event(), threading.Event()
    new, never = (Extractor.from_encoder("tiny", max_length=32) for _ in range(2))

    def teach() -> None:
        inside.wait(30)
        with Extractor.editing(folder, new=lambda: never, waiting=waiting.set) as mine:
            mine.learn(OTHERS, types=["dies_in"])

    other = threading.Thread(target=teach)
    other.start()
    with Extractor.editing(folder, new=lambda: new) as mine:
        inside.set()
        assert waiting.wait(30)  # the other one has come, and is not let in
        mine.learn(RECORDS, types=["PER", "LOC", "lives_in"])
    other.join(30)
    kept = Extractor.load(folder)
    assert (kept.types, set(kept.relations)) == (("PER", "LOC"), {"lives_in", "dies_in"})


@pytest.mark.slow
def test_what_raises_is_not_saved_and_what_is_not_there_not_made(
    taught: Extractor, tmp_path: Path
) -> None:
    taught.save(tmp_path / "x")

    def teach() -> None:
        with Extractor.editing(tmp_path / "x") as mine:
            mine.learn(NEW)
            mine.learn([{}])

    with pytest.raises(DataError):
        teach()
    assert Extractor.load(tmp_path / "x").model == taught.model
    with pytest.raises(MissingDataError), Extractor.editing(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_what_another_has_saved_meanwhile_is_not_lost(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path)
    one, other = Extractor.load(tmp_path), Extractor.load(tmp_path)
    one.learn(NEW)
    one.save(tmp_path)
    one.save(tmp_path)
    other.learn([record(NAMES[0], PLACES[3])])
    for late in (other, taught):
        with pytest.raises(OutputError, match="load it again"):
            late.save(tmp_path)
    assert Extractor.load(tmp_path).model == one.model
    other.save(tmp_path / "elsewhere")


@pytest.mark.slow
def test_who_edits_a_folder_may_save_into_it(taught: Extractor, tmp_path: Path) -> None:
    taught.save(tmp_path)
    with Extractor.editing(tmp_path) as mine:
        mine.learn(NEW)
        mine.save(tmp_path)
    assert Extractor.load(tmp_path).model == mine.model != taught.model

    def lose() -> None:
        with Extractor.editing(tmp_path):
            taught_more = Extractor.load(tmp_path)
            taught_more.remove("HERO")
            taught_more.save(tmp_path)

    with pytest.raises(OutputError, match="load it again"):
        lose()
    assert "HERO" not in Extractor.load(tmp_path).types
