"""What an extractor finds, learns and unlearns; oracles are extractors that learnt otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from people import NAMES, NEGATIVES, OTHERS, PLACES, RECORDS, record

from mkgc_cl.data.samples import RelationSample, TaggingSample, VisualInput
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.inference import Extraction, Extractor
from mkgc_cl.inference.documents import split_words
from mkgc_cl.inference.scoring import relation_scores, tag_scores
from mkgc_cl.inference.windows import crop, windows

NEAR = {"rtol": 1e-5, "atol": 1e-6}


def alike(one: Extractor, other: Extractor, kind: str = "ner") -> None:
    """Equal statistics, up to the rounding of features that were read in other company."""
    mine, theirs = (x.parts[kind].readout.statistics for x in (one, other))  # type: ignore[index]
    order = [one.parts[kind].labels.outputs.index(n) for n in other.parts[kind].labels.outputs]  # type: ignore[index]
    torch.testing.assert_close(mine.counts[order], theirs.counts, **NEAR)
    torch.testing.assert_close(mine.means[order], theirs.means, **NEAR)
    torch.testing.assert_close(mine.scatter, theirs.scatter, rtol=1e-4, atol=1e-4)


def tagged(name: str, place: str, tags: str) -> TaggingSample:
    return TaggingSample(f"{name}-{place}", (name, "lives", "in", place), tuple(tags.split()))


def test_it_finds_what_it_was_taught_and_says_where_and_by_which_task(taught: Extractor) -> None:
    found = taught("  Bo lives in Lima!")
    assert found.tokens == ("Bo", "lives", "in", "Lima", "!")
    assert [(e.text, e.type, e.start, e.end, e.task) for e in found.entities] == [
        ("Bo", "PER", 0, 1, "people"),
        ("Lima", "LOC", 3, 4, "places"),
    ]
    for entity in found.entities:
        assert found.text[entity.char_start : entity.char_end] == entity.text
        assert 0.5 < entity.score <= 1
    (relation,) = found.relations
    assert (relation.head, relation.tail, relation.type, relation.task) == (
        0,
        1,
        "lives_in",
        "places",
    )
    assert taught(tokens=["Bo", "dies", "in", "Lima"]).relations[0].type == "dies_in"
    assert taught.types == ("PER", "LOC")
    assert taught.relations == ("lives_in", "dies_in")
    assert Extraction.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_alone_in_a_list_and_in_a_stream_the_answer_is_the_same(taught: Extractor) -> None:
    texts = [f"{n} lives in {p} " + "today " * i for i, (n, p) in enumerate(zip(NAMES, PLACES))]  # noqa: B905
    texts += ["", "Ann " * 50]
    alone = [taught(text) for text in texts]
    for other in (taught(texts), list(taught(iter(texts))), list(taught.stream(texts))):
        assert len(other) == len(alone)
        for one, two in zip(alone, other, strict=True):
            assert [(e.type, e.start, e.end) for e in one.entities] == [
                (e.type, e.start, e.end) for e in two.entities
            ]
            assert [(r.head, r.tail, r.type) for r in one.relations] == [
                (r.head, r.tail, r.type) for r in two.relations
            ]
            np.testing.assert_allclose(
                [e.score for e in one.entities], [e.score for e in two.entities], rtol=1e-4
            )


def test_a_relation_is_asked_for_between_given_entities(taught: Extractor) -> None:
    sample = RelationSample("1", ("Ann", "lives", "in", "Rome"), (0, 1), (3, 4), "None")
    found = taught(sample)
    assert [(e.start, e.end, e.type, e.score) for e in found.entities] == [
        (0, 1, None, 1.0),
        (3, 4, None, 1.0),
    ]
    assert [r.type for r in found.relations] == ["lives_in"]
    record_ = {"text": "Ann lives in Rome", "entities": [(0, 3), (13, 17, "LOC")]}
    assert [e.type for e in taught(record_).entities] == [None, "LOC"]


def test_the_report_counts_what_was_added_and_what_was_left_out(fresh: Extractor) -> None:
    report = fresh.learn(RECORDS, types=["PER"], held_out=RECORDS)
    assert (report.task, report.samples, report.new) == ("task 1", 6, ("PER",))
    assert report.added == {"PER": 6}
    assert report.ignored == {"labels of other types": 12}  # LOC of six samples, six relations
    assert report.before == {}
    assert 0.5 < report.after["PER"] <= 1.0
    again = fresh.learn([*RECORDS, record("Gus", "Rome")], types=["PER"], held_out=RECORDS)
    assert again.task == "task 2"
    assert again.ignored == {"labels of other types": 14, "learnt before": 6}
    assert (again.added, again.new) == ({"PER": 1}, ())
    assert set(again.changes) == {"PER"}
    assert f"F1 of PER: {100 * again.before['PER']:.1f} ->" in str(again)


def test_task_by_task_is_as_good_as_all_at_once_for_relations(fresh: Extractor) -> None:
    at_once = Extractor.from_encoder("tiny", max_length=32)
    at_once.learn([*RECORDS, *OTHERS, *NEGATIVES], types=["lives_in", "dies_in"])
    fresh.learn(OTHERS, types=["dies_in"])
    fresh.learn([*RECORDS, *NEGATIVES], types=["lives_in"])
    alike(fresh, at_once, "re")


def test_what_is_forgotten_was_never_learnt(fresh: Extractor) -> None:
    never = Extractor.from_encoder("tiny", max_length=32)
    extra = [record("Gus", "Rome"), record("Hal", "Oslo", "dies")]
    for extractor, samples in ((fresh, [*RECORDS, *extra]), (never, RECORDS)):
        extractor.learn([*samples, *NEGATIVES])
    # one tagging sample each, and one relation each
    assert fresh.forget(extra) == 4
    assert fresh.types == never.types
    assert fresh.relations == never.relations  # nothing is left of dies_in
    never_ = never.parts["re"]
    never_.relabel(fresh.parts["re"].labels.classes)  # type: ignore[attr-defined]
    alike(fresh, never)
    alike(fresh, never, "re")
    assert fresh.constraints == never.constraints
    with pytest.raises(DataError, match="never learnt") as error:
        fresh.forget(extra)
    assert len(error.value.problems) == 4


@pytest.mark.slow
def test_two_that_learnt_apart_are_merged_without_a_sample(fresh: Extractor) -> None:
    other, both = (Extractor.from_encoder("tiny", max_length=32) for _ in range(2))
    fresh.learn([*RECORDS, *NEGATIVES], task="here")
    other.learn([*OTHERS, RECORDS[0]], task="there")
    both.learn([*RECORDS, *NEGATIVES])
    both.background = "all"
    both.learn(OTHERS)
    assert fresh.merge(other) == 2  # a tagging sample and a relation were learnt at both places
    assert set(fresh.relations) == {"lives_in", "dies_in"}
    assert fresh.tasks == {"PER": "here", "LOC": "here", "lives_in": "here", "dies_in": "there"}
    counts = fresh.parts["ner"].readout.statistics.counts  # type: ignore[attr-defined]
    assert counts.sum() == 5 * (6 + 5 + 6 + 1)
    fresh.forget([RECORDS[0]])  # at both places
    both.forget([RECORDS[0]])
    alike(fresh, both)
    alike(fresh, both, "re")
    with pytest.raises(ConfigError, match="another encoder"):
        fresh.merge(Extractor.from_encoder("tiny", max_length=32, seed=1))
    with pytest.raises(ConfigError, match="reads layers"):
        fresh.merge(Extractor.from_encoder("tiny", max_length=32, tag_layers=(4,)))


def test_a_removed_type_is_as_good_as_never_tagged(fresh: Extractor) -> None:
    both = [tagged(n, p, "B-PER O O B-LOC") for n, p in zip(NAMES, PLACES, strict=True)]
    people = [tagged(n, p, "B-PER O O O") for n, p in zip(NAMES, PLACES, strict=True)]
    plain = Extractor.from_encoder("tiny", max_length=32)
    fresh.learn(both)
    plain.learn(people)
    fresh.remove("LOC")
    assert fresh.types == ("PER",)
    assert "LOC" not in fresh.tasks
    alike(fresh, plain)
    assert fresh.forget(both) == 6  # what they taught is known under its new number
    assert fresh.types == ()


def test_a_type_renamed_to_another_joins_it(fresh: Extractor) -> None:
    fresh.learn([tagged(n, p, "B-PER O O B-CITY") for n, p in zip(NAMES, PLACES, strict=True)])
    fresh.learn([tagged(n, "Mars", "O O O B-LOC") for n in NAMES], task="planets")
    plain = Extractor.from_encoder("tiny", max_length=32)
    plain.background = "all"
    plain.learn([tagged(n, p, "B-PER O O B-LOC") for n, p in zip(NAMES, PLACES, strict=True)])
    fresh.rename("CITY", "LOC")
    assert fresh.types == ("PER", "LOC")
    assert fresh.tasks["LOC"] == "planets"
    assert fresh("Ann lives in Rome").entities[1].type == "LOC"
    with pytest.raises(ConfigError, match="no 'CITY'"):
        fresh.rename("CITY", "PLACE")
    with pytest.raises(ConfigError, match="another name"):
        fresh.rename("LOC", "LOC")


def test_words_called_o_teach_nothing_that_the_readout_knows_better(fresh: Extractor) -> None:
    fresh.learn([tagged(n, p, "B-PER O O O") for n, p in zip(NAMES, PLACES, strict=True)])
    counts = fresh.parts["ner"].readout.counts  # type: ignore[attr-defined]
    assert counts.tolist() == [18, 6, 0]
    # the names are read as PER, which these samples are not annotated with
    again = [tagged(n, p, "O O O B-LOC") for n, p in zip(NAMES, PLACES, strict=True)]
    fresh.learn(again, types=["LOC"])
    assert fresh.parts["ner"].readout.counts.tolist() == [30, 6, 0, 6, 0]  # type: ignore[attr-defined]
    # annotated with PER, they are no PER for certain
    known = [tagged(n, "Bern", "O O O B-PER") for n in NAMES]
    fresh.learn(known, types=["PER"])
    assert fresh.parts["ner"].readout.counts.tolist() == [48, 12, 0, 6, 0]  # type: ignore[attr-defined]


def test_types_that_a_relation_was_never_seen_between_are_left_out(taught: Extractor) -> None:
    people = {"tokens": ["Ann", "lives", "in", "Bo"], "entities": [(0, 1, "PER"), (3, 4, "PER")]}
    assert taught(people).relations == ()
    assert [r.type for r in taught(people, constrain=False).relations] == ["lives_in"]
    assert taught.constraints.counts["lives_in"] == {("PER", "LOC"): 6}
    taught.rename("LOC", "PLACE")
    assert taught.constraints.counts["lives_in"] == {("PER", "PLACE"): 6}


def test_pairs_of_samples_without_types_are_typed_by_the_tagger(fresh: Extractor) -> None:
    fresh.learn(RECORDS, types=["PER", "LOC"])
    pair = RelationSample("1", ("Ann", "lives", "in", "Rome"), (0, 1), (3, 4), "lives_in")
    fresh.learn([pair])
    assert fresh.constraints.counts["lives_in"] == {("PER", "LOC"): 1}


def test_words_of_many_texts_are_tokenized_together(
    taught: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, known = taught.parts["ner"], set[str]()
    tokenizer, new = part.processor.tokenizer, []
    encode = tokenizer.encode_words

    def watched(words: Sequence[str]) -> list[list[int]]:
        new.append(len({*words} - known))
        known.update(words)
        return encode(words)

    monkeypatch.setattr(tokenizer, "encode_words", watched)
    texts = [[], *([f"name{n}", "lives", "in", "Rome"] for n in range(70))]
    found = tag_scores(part, texts, [VisualInput()] * len(texts))
    assert [len(own) for own in found] == [0] + [4] * 70
    assert [count for count in new if count] == [63 + 3, 7]


@pytest.mark.slow
def test_a_long_text_is_read_in_windows_that_overlap(taught: Extractor) -> None:
    tokens = [word for n in NAMES for p in PLACES for word in (n, "lives", "in", p, "today")]
    part = taught.parts["ner"]
    (whole,) = tag_scores(part, [tokens], [VisualInput()])
    cut = windows([1] * len(tokens), room=30, overlap=7)
    assert len(cut) > 5
    for window in cut:
        (own,) = tag_scores(part, [tokens[window.start : window.end]], [VisualInput()])
        counted = own[window.first - window.start : window.last - window.start]
        torch.testing.assert_close(whole[window.first : window.last], counted, **NEAR)
    found = taught(tokens=tokens)
    assert all(tokens[e.start : e.end] == e.text.split() for e in found.entities)


def test_a_pair_in_a_long_text_is_read_with_what_is_round_it(taught: Extractor) -> None:
    words = (*("today",) * 45, "Ann", "dies", "in", "Rome", *("again",) * 45)
    part = taught.parts["re"]
    (found,) = relation_scores(part, [RelationSample("1", words, (45, 46), (48, 49), "None")])
    # a window of 32 tokens less what opens and closes it and four markers
    start, end = crop([1] * len(words), (45, 49), room=26) or (0, 0)
    assert end - start == 26
    inside = RelationSample(
        "2", words[start:end], (45 - start, 46 - start), (48 - start, 49 - start), "None"
    )
    (expected,) = relation_scores(part, [inside])
    torch.testing.assert_close(found, expected, **NEAR)
    far = {"tokens": ["Ann", *words[:45], "Rome"], "entities": [(0, 1), (46, 47)]}
    assert taught(far).relations == ()  # further apart than a window


def test_long_samples_are_learnt_whole(fresh: Extractor) -> None:
    tokens = ("today",) * 40 + ("Ann",)
    fresh.learn([TaggingSample("1", tokens, ("O",) * 40 + ("B-PER",))])
    assert fresh.parts["ner"].readout.counts.tolist() == [40, 1, 0]  # type: ignore[attr-defined]
    assert fresh.forget([TaggingSample("1", tokens, ("O",) * 41)]) == 1
    assert fresh.types == ()


@pytest.mark.parametrize(
    "odd", ["", " \n\t ", "x" * 5000, "\u200b\ufe0f", "\U0001f600" * 300, "a\x00b", "日本語" * 50]
)
def test_odd_text_is_answered(taught: Extractor, odd: str) -> None:
    found = taught(odd)
    assert found.text == odd
    assert all(found.text[e.char_start : e.char_end] == e.text for e in found.entities)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "expected a text"),
        (b"Ann", "expected a text"),
        ("\ud83d", "UTF-8 can write"),
        ({"tokens": "Ann"}, "list of words"),
        ({"tokens": [7]}, "words of text"),
        ({}, "'text' or with 'tokens'"),
        ({"text": "Ann Lee", "entities": [(0, 5)]}, "whole words"),
        ({"tokens": ["Ann"], "entities": [(0, 2)]}, "inside the 1 words"),
        ({"tokens": ["Ann"], "entities": [(0,)]}, "start, end and type"),
        ({"tokens": ["Ann"], "entities": "PER"}, "list of entities"),
    ],
)
def test_what_is_no_text_is_refused(taught: Extractor, given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        taught(given)


def test_all_mistakes_of_a_list_are_told_at_once(taught: Extractor) -> None:
    with pytest.raises(DataError) as error:
        taught(["fine", 7, {"uid": "third", "tokens": [1]}])
    assert [problem.sample for problem in error.value.problems] == ["number 1", "third"]
    with pytest.raises(DataError) as error:
        taught.learn([{"tokens": ["a"], "tags": ["I-PER"]}, {"tokens": ["a"]}, RECORDS[0]])
    assert [problem.sample for problem in error.value.problems] == ["sample 0", "sample 1"]


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"tokens": ["a"], "tags": ["PER"]}, "B-TYPE or I-TYPE"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "one tag for each"),
        ({"tokens": ["a", "b"], "entities": [(0, 2, "X"), (1, 2, "Y")]}, "share words"),
        ({"tokens": ["a"], "entities": [(0, 1)]}, "no types"),
        ({**RECORDS[0], "relations": [(0, 0, "r")]}, "two places among"),
        ({**RECORDS[0], "relations": [(0, 5, "r")]}, "two places among"),
        ({**RECORDS[0], "relations": "r"}, "list of relations"),
        ({"tokens": [], "tags": []}, "at least one word"),
        (7, "a RelationSample or a record"),
    ],
)
def test_a_malformed_sample_is_refused_and_nothing_is_learnt(
    fresh: Extractor, sample: Any, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        fresh.learn([RECORDS[0], sample])
    assert fresh.types == ()


@pytest.mark.slow
def test_what_cannot_be_meant_is_refused(fresh: Extractor, taught: Extractor) -> None:
    other = Extractor.from_encoder("tiny")
    with pytest.raises(ConfigError, match="nothing was learnt"):
        other("Ann")
    with pytest.raises(DataError, match=r"no sample has one of \['ORG'\]"):
        other.learn(RECORDS, types=["ORG"])
    with pytest.raises(ConfigError, match="give a list"):
        other.learn(RECORDS, types="PER")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at once"):
        other.learn([{**RECORDS[0], "relations": [(0, 1, "PER")]}])
    assert other.types == ()
    other.learn([RelationSample("1", ("Ann", "won"), (0, 1), (1, 2), "r")])
    with pytest.raises(ConfigError, match="with 'entities'"):
        other("Ann won")
    for wrong in ({"shrinkage": 2.0}, {"tag_layers": (9,)}, {"background": "none"}):
        with pytest.raises(ConfigError):
            Extractor.from_encoder("tiny", **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_served_extractor_remembers_few_texts(
    taught: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in taught.parts.values():
        part.processor.remembered = 16
    for number in range(100):
        taught(f"Ann lives in Rome {number}")
    assert all(len(part.processor._text) <= 16 for part in taught.parts.values())


@pytest.mark.parametrize(
    "sample",
    [
        {"tokens": ["Ann"], "tags": 5},
        {"tokens": ["Ann"], "tags": "O"},
        {"tokens": ["Ann"], "tags": ["B- "]},
        {"tokens": ["Ann"], "tags": ["B-\ud800"]},
        {"tokens": ["Ann"], "tags": ["B-PER"], "relations": [(0, 0, "is")]},
        {"tokens": ["Ann"], "entities": [(0, 1, "")]},
        {"tokens": ["A", "B"], "entities": [(0, 1, "P"), (1, 2, "P")], "relations": [5]},
        {"tokens": ["A", "B"], "entities": [(0, 1, "P"), (1, 2, "P")], "relations": [(0, 1, "")]},
        RelationSample("1", ("A", "B"), (0, 1), (1, 2), ""),
    ],
)
def test_what_has_no_name_is_refused(fresh: Extractor, sample: Any) -> None:
    with pytest.raises(DataError):
        fresh.learn([sample])
    assert fresh.parts["ner"].labels.classes == fresh.parts["re"].labels.classes == ()


def test_a_name_is_a_type_or_a_relation(taught: Extractor) -> None:
    for old, new in (("PER", "lives_in"), ("lives_in", "PER"), ("PER", ""), ("PER", 5)):
        with pytest.raises(ConfigError, match="another name"):
            taught.rename(old, new)  # type: ignore[arg-type]
    other = Extractor.from_encoder("tiny", max_length=32)
    other.learn([{"tokens": ["Rome"], "tags": ["B-lives_in"]}])
    before = taught.model
    with pytest.raises(ConfigError, match="at once"):
        taught.merge(other)
    assert taught.model == before


def test_what_would_be_left_out_is_refused(taught: Extractor) -> None:
    with pytest.raises(DataError, match="list of words"):
        taught(tokens="Ann")
    with pytest.raises(DataError, match="records with 'image'"):
        taught(iter(["Ann"]), image="a.png")


def test_letters_that_belong_together_are_one_word() -> None:
    text = "Zoe\u0308\u00a0\u0939\u093f\u0928\u094d\u0926\u0940 \U0001f600x"
    words, places = split_words(text)
    assert words == ("Zoe\u0308", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600", "x")
    assert [text[first:last] for first, last in places] == list(words)


def test_words_are_scored_by_token_as_by_their_features(taught: Extractor) -> None:
    part = taught.parts["ner"]
    texts = [("Ann", "lives", "in", "Rome"), ("Bo",), ("",) * 3 + ("Lima", "Ann")]
    batch = part.processor.batch([TaggingSample("", t, ("O",) * len(t)) for t in texts])
    # several pieces a word, which a tokenizer of hashed words does not have
    batch["word_starts"] = batch["word_starts"].clone()
    batch["word_starts"][0] = torch.tensor([1, 3, 0, 0, 0])
    batch["word_mask"][0] = torch.tensor([True, True, False, False, False])
    real = batch.word_mask
    expected = part.readout.log_posterior(part.features(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(part.scores(batch)[real], expected[real], rtol=1e-5, atol=1e-4)


def test_a_model_has_another_digest_where_it_decides_otherwise() -> None:
    digests = set()
    for options in ({}, {"shrinkage": 0.5}, {"tag_layers": (0,)}, {"tag_layers": (1,)}):
        made = Extractor.from_encoder("tiny", max_length=32, **options)  # type: ignore[arg-type]
        made.learn(RECORDS, types=["PER"])
        digests.add(made.model)
    assert len(digests) == 4
