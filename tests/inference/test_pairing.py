"""Long texts have pairs of near entities alone."""

from __future__ import annotations

from typing import Any

import pytest

from mkgc_cl.data.samples import RelationSample
from mkgc_cl.inference import Extractor, prediction
from mkgc_cl.inference.pairing import NEIGHBOURS, REACH, near_pairs
from mkgc_cl.inference.records import lessons
from mkgc_cl.inference.scoring import relation_scores


def document(entities: int) -> dict[str, Any]:
    tokens: list[str] = []
    spans = []
    for number in range(entities):
        spans.append((len(tokens), len(tokens) + 1, "LOC" if number % 2 else "PER"))
        tokens += [f"Name{number % 7}", "and", "so", "on"]
    return {"uid": "long", "tokens": tokens, "entities": spans}


def test_pairs_are_counted_by_entities_and_not_by_their_square() -> None:
    for entities in (50, 500):
        spans = [(start, end) for start, end, _ in document(entities)["entities"]]
        pairs = near_pairs(spans)
        assert len(pairs) == NEIGHBOURS * entities - NEIGHBOURS * (NEIGHBOURS + 1) // 2
        assert all(spans[b][0] - spans[a][1] <= REACH for a, b in pairs)


def test_what_a_long_record_does_not_name_is_learnt_of_near_pairs_alone() -> None:
    far = {**document(400), "relations": [(0, 399, "knows"), (3, 2, "knows")]}
    found = [one.sample for one in lessons([far], negative="None")]
    pairs = [sample for sample in found if isinstance(sample, RelationSample)]
    assert [(s.head[0], s.tail[0]) for s in pairs[:2]] == [(0, 1596), (12, 8)]  # words
    assert len(pairs) == NEIGHBOURS * 400 - NEIGHBOURS * (NEIGHBOURS + 1) // 2 - 1 + 2
    assert {sample.relation for sample in pairs[2:]} == {"None"}


@pytest.mark.slow
def test_pairs_that_no_relation_holds_between_are_not_read(
    fresh: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.learn([{**document(4), "relations": [(0, 1, "knows")]}])
    read = []

    def counted(part: Any, samples: Any) -> Any:
        read.extend(samples)
        return relation_scores(part, samples)

    monkeypatch.setattr(prediction, "relation_scores", counted)
    asked = document(40)
    found = fresh(asked)
    near = 2 * (NEIGHBOURS * 40 - NEIGHBOURS * (NEIGHBOURS + 1) // 2)
    assert 0 < len(read) < near // 3  # from PER to LOC, not the other way round, and no two alike
    read.clear()
    fresh(asked, constrain=False)
    assert len(read) == near
    assert found.relations
