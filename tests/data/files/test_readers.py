"""Readers of own files: what they take, and what they say of the rest, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mkgc_cl.data.files.conll import Columns, scan_conll
from mkgc_cl.data.files.json_lines import JsonFields, scan_json_lines
from mkgc_cl.data.files.records import Account, Record
from mkgc_cl.data.textfile import TextFile
from mkgc_cl.errors import ConfigError


def text(*lines: str) -> TextFile:
    return TextFile(Path("x"), "", lines)


def conll(*lines: str, **columns: Any) -> tuple[list[Any], Account]:
    account = Account()
    return scan_conll(text(*lines), Columns(**columns), account), account


def test_conll_2003() -> None:
    found, account = conll(
        "-DOCSTART- -X- -X- O",
        "",
        "EU NNP B-NP B-ORG",
        "rejects VBZ B-VP O",
        "",
        "",
        "-DOCSTART- -X- -X- O",
        "",
        "Bonn NNP B-NP B-LOC",
    )
    assert account.problems == []
    assert [s.words for s in found] == [["EU", "rejects"], ["Bonn"]]
    assert [s.tags for s in found] == [["B-ORG", "O"], ["B-LOC"]]
    assert [s.place.line for s in found] == [3, 9]


def test_columns_in_any_order_and_an_image_in_one() -> None:
    found, account = conll("O\t7\tin", "B-LOC\t7\tNew York", "", "O\t8\tso", tag=0, image=1, word=2)
    assert account.problems == []
    assert [s.words for s in found] == [["in", "New York"], ["so"]]
    assert [s.image for s in found] == ["7", "8"]


# no-break space, ideographic space, next line, zero-width space, variation selector
@pytest.mark.parametrize("word", ["\u00a0", "\u3000", "\u0085", "\u200b", "\ufe0f"])
@pytest.mark.parametrize("separator", ["\t", " ", "   "])
def test_words_that_are_white_space_to_unicode(word: str, separator: str) -> None:
    found, account = conll(f"a{separator}O", f"{word}{separator}B-X")
    assert account.problems == []
    assert found[0].words == ["a", word]


def test_image_lines() -> None:
    found, _ = conll("IMGID: 17", "a\tO", "IMGID:b.png", "c\tO", "", "d\tO")
    assert [s.image for s in found] == ["17", "b.png", None]
    assert [s.place.line for s in found] == [1, 3, 6]


def test_every_mistake_of_conll_with_its_line() -> None:
    found, account = conll(
        "a O", "b", "", "c X O", "", "d PER", "", "ok O", "", "IMGID:../../x", "e O", "", "IMGID:1"
    )
    assert [p.line for p in account.problems] == [2, 4, 6, 10, 13]
    assert [s.words for s in found] == [["ok"]]


def objects(*values: Any, kind: Any = "ner", repair: Any = (), **fields: Any) -> Any:
    account = Account(frozenset(repair))
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    found = scan_json_lines(text(*lines), JsonFields(**fields), kind, "own", account)
    return found, account


def tags(records: list[Record]) -> list[Any]:
    return [record.sample.tags for record in records]  # type: ignore[union-attr]


def test_words_with_offsets_of_words() -> None:
    (record,), account = objects(
        {
            "id": "a#1",
            "tokens": ["In", "New", "York"],
            "entities": [{"start": 1, "end": 3, "type": "geo-loc/city"}],
            "image": 17,
        }
    )
    assert account.problems == []
    assert record.sample.uid == "own/a#1"
    assert record.sample.tags == ("O", "B-geo-loc/city", "I-geo-loc/city")
    assert record.image == "17"


def test_raw_text_with_offsets_of_characters() -> None:
    sample = "Zoë (NYC): 東京!"
    (record,), account = objects(
        {"text": sample, "entities": [[0, 3, "PER"], [5, 8, "LOC"], [11, 13, "LOC"]]}
    )
    assert account.problems == []
    assert record.sample.tokens == ("Zoë", "(", "NYC", ")", ":", "東", "京", "!")
    assert record.sample.tags == ("B-PER", "O", "B-LOC", "O", "O", "B-LOC", "I-LOC", "O")


def test_words_with_offsets_of_characters_and_other_keys() -> None:
    (record,), _ = objects(
        {"words": ["New", "York"], "spans": [{"from": 0, "to": 7, "label": "LOC"}]},
        names={
            "tokens": "words",
            "entities": "spans",
            "start": "from",
            "end": "to",
            "type": "label",
        },
        offsets="character",
        ends="inclusive",
    )
    assert record.sample.tags == ("B-LOC", "I-LOC")


def test_offsets_within_a_word() -> None:
    line = {"text": "the Parisian", "entities": [[4, 9, "LOC"]]}
    _, account = objects(line)
    assert [(p.line, "repair='widen'" in p.message) for p in account.problems] == [(1, True)]
    found, account = objects(line, repair=["widen"])
    assert tags(found) == [("O", "B-LOC")]
    assert (account.problems, account.repaired) == ([], {"widen": 1})


def test_entities_that_overlap() -> None:
    line = {"tokens": ["Bank", "of", "Japan"], "entities": [[2, 3, "LOC"], [0, 3, "ORG"]]}
    _, account = objects(line)
    assert "outermost" in account.problems[0].message
    found, account = objects(line, repair=["outermost"])
    assert tags(found) == [("B-ORG", "I-ORG", "I-ORG")]
    assert account.repaired == {"outermost": 1}


def test_relations_one_a_line_and_several() -> None:
    ann, bo = {"start": 0, "end": 1}, {"start": 2, "end": 3}
    line = {"tokens": ["Ann", "met", "Bo"], "image": "a.jpg"}
    found, account = objects(
        {**line, "head": ann, "tail": bo, "relation": "met"},
        {**line, "entities": [ann, bo], "relations": [{"head": 1, "tail": 0, "type": "met_by"}]},
        {**line, "relations": []},
        kind="re",
    )
    assert account.problems == []
    assert account.left_out == {"lines without a relation": 1}
    kept = [(r.sample.uid, r.sample.head, r.sample.tail, r.sample.relation) for r in found]
    assert kept == [("own/0", (0, 1), (2, 3), "met"), ("own/1#0", (2, 3), (0, 1), "met_by")]


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ("{", "one JSON object"),
        ("[1]", "one JSON object"),
        ({"words": ["a"]}, "fields="),
        ({"tokens": []}, "words"),
        ({"tokens": ["a"]}, "'entities'"),
        ({"tokens": ["a"], "entities": [[0, 2, "X"]]}, "inside the 1 words"),
        ({"tokens": ["a"], "entities": [[0, 1]]}, "'type'"),
        ({"tokens": ["a"], "entities": [[0.0, 1, "X"]]}, "whole numbers"),
        ({"tokens": ["\ud800"], "entities": []}, "words"),
        ({"tokens": ["a"], "entities": [], "image": "../x"}, "inside its folder"),
        ({"tokens": ["a"], "entities": [], "id": [1]}, "'id'"),
        ({"text": "a  b", "entities": [[1, 3, "X"]]}, "white space"),
    ],
)
def test_what_is_wrong_with_an_object(line: Any, fragment: str) -> None:
    found, account = objects(line)
    assert found == []
    (problem,) = account.problems
    assert problem.line == 1
    assert fragment in problem.message


def test_options_there_are_not() -> None:
    with pytest.raises(ConfigError, match="conlleval"):
        Account(frozenset({"all"}))
    with pytest.raises(ConfigError, match="token") as caught:
        JsonFields({"token": "x"}, offsets="byte")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2
