"""Rows of the table in which files are sound and what the user asks for is not."""

from __future__ import annotations

from typing import Any

from broken_files import PAYLOAD, TRAIN
from cases import wrong
from user_acts import (
    Act,
    changed,
    empty_experience,
    first,
    load_exemplars,
    relations,
    score_after,
    settings,
    settings_file,
    show,
    show_own,
    tags,
    task_with,
    train,
)

from mkgc_cl.data.mre import read_mre
from mkgc_cl.errors import ConfigError, DataError, ImageError, MissingDataError, TrainingError
from mkgc_cl.scenarios import imner, imre
from mkgc_cl.strategies import GradientModulationPlugin


def modulate(**options: Any) -> Act:
    return lambda _: GradientModulationPlugin(**options)


# What messages must say, where a row has no room for it.
ROOT = "correct the path or MKGC_DATA"
NO_ROOT = "no data folder given; pass the folder that holds MRE/ and MNER/, or set MKGC_DATA"
MEANT = "/download?"
NAN_SAMPLES = ("in task 'T1' on samples ['mre/", "lower the learning rate or look at these samples")

CALL_CASES = [
    *wrong(
        MissingDataError,
        ("no such root", lambda root: tags(root / "gone"), "gone: ", "found no such folder", ROOT),
        ("a file as root", lambda root: tags(root / TRAIN), "ours_train.txt: ", "a file", ROOT),
        (
            "root too deep",
            lambda root: tags(root / "MNER"),
            "/MNER: ",
            "without MNER/",
            MEANT,
            ROOT,
        ),
        (
            "root two too deep",
            lambda root: relations(root / "MRE/data"),
            "/MRE/data: ",
            "without MRE/",
            MEANT,
            ROOT,
        ),
        ("root above", lambda root: relations(root.parent), "expected the folder", "MRE/", ROOT),
        ("no root for relations", lambda _: imre(), NO_ROOT),
        ("no root for entities", lambda _: imner(), NO_ROOT),
    ),
    *wrong(
        ImageError,
        (
            "own image gone",
            show_own("gone.jpg"),
            "gone.jpg: the image is missing",
            "put the file",
        ),
        ("a folder as own image", show_own("MRE"), "/MRE: ", "must be a readable file"),
    ),
    *wrong(
        DataError,
        ("own span outside", changed(first(tail=(6, 9))), "mre/train/0: ", "[6, 9)", "correct"),
        ("own span empty", changed(first(head=(2, 2))), "mre/train/0: ", "not empty", "[2, 2)"),
        (
            "own sample of no words",
            changed(first(tokens=())),
            "mre/train/0: ",
            "at least one",
            "drop it",
        ),
        (
            "own orphan I-",
            changed(first(tags=("O", "I-PER", "O")), tags),
            "sample mner/train/0: ",
            "I-PER of 'Lee' to follow B-PER or I-PER",
            "found it after O",
            "starts with B-PER",
        ),
        ("own tag too few", changed(first(tags=("O",)), tags), "/0: ", "3 words", "found 1 tags"),
        ("own unknown class", changed(first(relation="foe")), "/0: ", "'foe'", "one of the stream"),
        ("own uid twice", changed(first(uid="mre/train/2")), "/2: used twice", "uid of its own"),
        ("own empty task", changed(task_with(train=())), "'T1' has no training", "drop the task"),
        ("own class of nobody", changed(task_with(classes=())), "belongs to exactly one task"),
        (
            "a sample too long",
            lambda root: show(root, max_text_length=8),
            "sample mre/train/0: ",
            "12 tokens, but the model takes 8",
            "max_text_length=12 or more, or shorten",
        ),
        ("foreign exemplars", load_exemplars, "mre/train/999", "load with the stream"),
    ),
    *wrong(
        TrainingError,
        ("loss not finite", train(lr=1e30, epochs=2), "the loss is nan", *NAN_SAMPLES),
        ("weights not finite", train(lr=1e30), "the features are nan", *NAN_SAMPLES),
        ("scores not finite", score_after(lr=1e30, memory=False), "scores are nan", *NAN_SAMPLES),
        ("empty experience", empty_experience, "'T1' has no samples", "leave it out"),
    ),
    *wrong(
        ConfigError,
        ("no epochs", train(epochs=0), "train_epochs=0", "give 1 or more"),
        ("no samples per step", train(batch_size=0), "train_mb_size=0", "give 1 or more"),
        ("less than no memory", train(exemplars=-1), "size=-1", "give 0 or more"),
        ("unknown selection", train(selection="best"), "'best'", "choose one of ['kmeans', 'herd"),
        ("negative alpha", train(alpha=-1.0), "alpha=-1.0", "give 0 or more"),
        (
            "unknown target",
            modulate(target="text"),
            "target='text'",
            "choose one of ['dominant', 'paper']",
        ),
        (
            "unknown schedule",
            modulate(schedule="never"),
            "schedule='never'",
            "choose one of ['average', 'per-step']",
        ),
        ("negative lambda", train(ad_weight=-1.0), "weight=-1.0", "give 0 or more"),
        ("unknown key", settings("epchs=3"), "'epchs'", "did you mean 'epochs'?"),
        ("not a number", settings("epochs=many"), "'epochs' must be a whole number", "'many'"),
        ("too small", settings("epochs=0"), "'epochs' must be", "0"),
        (
            "unknown split",
            lambda root: read_mre(root / TRAIN, split="dev"),
            "train, val, test",
            "'dev'",
        ),
        ("no such choice", settings("device=tpu"), "one of 'cpu', 'cuda', got 'tpu'"),
        (
            "code in a setting",
            settings("device=!!python/object/apply:os.makedirs [PWNED]"),
            "the value is not YAML",
            "give plain data",
        ),
        (
            "unknown key in a file",
            settings_file(b"device: cpu\nepchs: 3\n"),
            "run.yaml:2: unknown key 'epchs', did you mean 'epochs'?",
        ),
        (
            "code in a file",
            settings_file(b"device: cpu\nepochs: !!python/object/apply:os.makedirs [PWNED]\n"),
            "run.yaml:2: not YAML",
            "python/object/apply:os.makedirs",
        ),
        ("not UTF-8", settings_file(b"device: \xe9\n"), "run.yaml: not UTF-8", "at byte 8"),
        ("code as a setting", settings(f"epochs={PAYLOAD}"), "'epochs' must be a whole number"),
    ),
]
