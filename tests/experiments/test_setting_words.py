"""What captions and notes say of the configurations of records."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mkgc_cl.experiments.setting_words import option_notes, setting_words

SYSTEM = {
    "encoders": {"text": "minilm", "vision": "vit-384"},
    "training": {"epochs": 5},
    "exemplars": 6,
    "options": {},
}
ABLATION = {
    "model": {"text": "tiny", "vision": "tiny"},
    "training": {"epochs": 1},
    "method": {"memory_size": 4, "memory_scope": "task"},
}


def of(*configs) -> list[SimpleNamespace]:
    """Runs of systems s0, s1, ... with these configurations."""
    return [SimpleNamespace(system=f"s{n}", config=config) for n, config in enumerate(configs)]


@pytest.mark.parametrize(
    ("configs", "words"),
    [
        (
            [SYSTEM],
            [
                "encoders minilm + vit-384",
                "5 epochs per task",
                "6 exemplars of every class and of N/A",
            ],
        ),
        (
            [ABLATION, ABLATION],
            ["encoders tiny + tiny", "1 epoch per task", "4 exemplars of every task"],
        ),
        # a system without a memory has no budget; no memory at all is one of 0
        ([SYSTEM | {"exemplars": None}], ["encoders minilm + vit-384", "5 epochs per task"]),
        ([{"exemplars": 0}], ["0 exemplars of every class and of N/A"]),
        ([{"exemplars": 1}], ["1 exemplar of every class and of N/A"]),
        # values that differ are all said
        (
            [{"training": {"epochs": 3}, "exemplars": 2}, {"training": {"epochs": 4}}],
            ["3 epochs per task", "4 epochs per task", "2 exemplars of every class and of N/A"],
        ),
        ([{"epochs": 1}, {"encoders": "odd"}], []),
        ([], []),
    ],
)
def test_words_of_either_kind_of_record(configs, words) -> None:
    assert setting_words(of(*configs)) == words


def test_options_are_said_of_the_systems_that_have_some() -> None:
    records = of({"options": {"weight": 7, "kind": "x"}}, SYSTEM, ABLATION, {"options": {"a": 1}})
    assert option_notes(records) == [
        "Options set for single systems. s0: weight 7, kind x; s3: a 1."
    ]
    assert option_notes(of(SYSTEM, ABLATION)) == []
