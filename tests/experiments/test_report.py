"""Captions and notes: nothing is said that is not so of a row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mkgc_cl.experiments.ablation import ABLATION
from mkgc_cl.experiments.imre import SCRIPT
from mkgc_cl.experiments.pipeline.report import option_notes, setting_words
from mkgc_cl.experiments.pipeline.settings import (
    Encoders,
    Settings,
    StreamSettings,
    TrainingSettings,
)
from mkgc_cl.results.marks import origin_words
from mkgc_cl.systems import SYSTEMS

SETTINGS = Settings(
    encoders=Encoders(text="minilm", vision="vit-384"),
    training=TrainingSettings(epochs=3),
    stream=StreamSettings(scenario="imre"),
)
BLANK = {"stream": {"image_files": 9, "image_files_blank": 9}}


def words(*systems: str, settings: Settings = SETTINGS, **provenance: object) -> list[str]:
    rows = {name: SCRIPT.known()[name] for name in systems}
    made: list[Any] = [
        SimpleNamespace(
            system=name,
            provenance={**BLANK, "reads_images": SYSTEMS[name].image, **provenance},
        )
        for name in systems
    ]
    return [*setting_words(settings, rows, made), *origin_words(made, ())]


def test_rows_that_read_no_image_are_not_said_to() -> None:
    assert words("MSPT") == ["encoders minilm + vit-384", "3 epochs per task", "images blank"]
    assert words("EWC", "MSPT")[0] == "encoders minilm + vit-384 (minilm alone: EWC)"
    assert words("EWC") == ["text encoder minilm, no image read", "3 epochs per task"]
    # what its model did counts, not what the system usually does (Joint Training on text)
    assert words("Joint Training", reads_images=False)[0] == "text encoder minilm, no image read"


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ((9, 0, None, None), "images real"),
        ((9, 4, None, None), "4 of 9 images blank"),
        ((9, 9, 0, None), "images blank"),
        ((0, 0, 7, None), "images blank"),  # own files that name no image, blank ones shown
        ((9, 0, 7, None), "images real, none for 7 samples"),
        ((9, 0, 0, "short"), "captions of short in place of images"),
        ((9, 4, 0, "short"), "captions of short in place of images, 4 of 9 captions blank"),
        ((9, 9, None, "short"), "captions blank"),
    ],
)
def test_what_stood_for_images_is_said(stream: tuple, said: str) -> None:
    keys = ("image_files", "image_files_blank", "samples_without_image", "captioner")
    given = {key: value for key, value in zip(keys, stream, strict=True) if value is not None}
    assert words("MSPT", stream=given)[-1] == said


def test_rows_that_train_nothing_have_no_epochs() -> None:
    assert words("Frozen + Gaussian")[1:] == ["nothing trained"]
    assert words("Task-1 + Gaussian")[1] == "3 epochs: Task-1 + Gaussian: the first task alone"
    assert words("EWC", "Frozen + Gaussian", "Task-1 + Gaussian")[1] == (
        "3 epochs per task (Frozen + Gaussian: none; Task-1 + Gaussian: the first task alone)"
    )


def test_a_budget_is_said_where_a_row_keeps_exemplars() -> None:
    budget = Settings(exemplars=6, stream=StreamSettings(scenario="imre"))
    assert "6 exemplars of every class and of N/A" in words("MSPT", settings=budget)
    assert not [word for word in words("EWC", settings=budget) if "exemplar" in word]


def test_rows_say_what_they_are_made_of() -> None:
    settings = Settings(options={"MSPT": {"alpha": 0.1, "noise": True}, "EWC": {"weight": 7.0}})
    rows = {"w/o MI": ABLATION["w/o MI"], "w/o GM (one rate)": ABLATION["w/o GM (one rate)"]}
    assert option_notes(settings, rows) == [
        "Options set for single systems. MSPT: alpha 0.1, noise true.",
        "w/o MI is MSPT with interaction self; "
        "w/o GM (one rate) is MSPT with constant rates, one rate.",
    ]
    assert option_notes(Settings(), {"EWC": SCRIPT.known()["EWC"]}) == []
