"""The IMRE stream: real samples, a relation per sample, tasks that bring new relations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mkgc_cl.data.captions import Captions, check_captions, read_captions
from mkgc_cl.data.crops import Crops, read_image_crops, read_row_crops
from mkgc_cl.data.locate import MRE_SPLITS, MrePaths, data_root
from mkgc_cl.data.mre import read_mre, read_relation_names
from mkgc_cl.data.negative import NEGATIVE, require_negative
from mkgc_cl.data.provenance import file_digests, provenance
from mkgc_cl.data.released_imre import NOT_CUMULATIVE, read_released_imre
from mkgc_cl.data.samples import LabelSpace, RelationSample, Task, TaskStream
from mkgc_cl.data.splits import Groups, Splits, drawn_groups
from mkgc_cl.data.splits_imre import RELEASED, Full, build_imre, usable_relations
from mkgc_cl.data.textfile import read_text
from mkgc_cl.data.visuals import (
    CropIndex,
    ImagePolicy,
    Images,
    MissingImages,
    Spot,
    Wanted,
    crop_spots,
    resolve,
)
from mkgc_cl.errors import ConfigError

# A sample's images depend on (split, row of the full file, row its crops are looked up under).
_Key = tuple[str, int, int]


def imre_stream(
    root: str | Path | None = None,
    *,
    tasks: int | None = None,
    classes: Sequence[Sequence[str]] | None = None,
    seed: int | None = None,
    build: bool | None = None,
    negative: str = NEGATIVE,
    images: Images = "image",
    missing_images: MissingImages = "error",
    captions: str | Path | None = None,
    captioner: str | None = None,
    crop_index: CropIndex = "file-row",
) -> TaskStream:
    """Return the IMRE stream.

    With none of ``classes``, ``seed`` and ``build`` the released split files are read (10, 7 or 5
    tasks). Any of them builds the split from the full files instead, which may be those of another
    corpus, with relations of its own.

    Args:
        root: the folder that holds ``MRE/``; ``None`` means ``MKGC_DATA``.
        tasks: number of tasks; ``None`` means 10, or as many as ``classes`` has.
        classes: the relations of each task.
        seed: draws what is not given: without ``classes``, which relation comes in which task
            (without bias, as the paper describes; the relations all three files have), and in any
            case which task gets which N/A rows. Without a seed N/A rows are dealt as released.
        build: builds the released split from the full files (needs no ``sep`` folder); ``False``
            never does, ``None`` does where there is no such folder. The result is the same.
        negative: name that the files have for a pair without a relation (``no_relation``, ``NA``,
            ``Other``): it is in every task and no class that is measured.
        images: what a sample shows: the whole image (the paper), its crops, both (the released
            code), or ``"captions"`` in place of it.
        missing_images: ``"error"``, or ``"blank"`` to go on with the blank image; the provenance
            says how many.
        captions: the JSON lines file of them, see :mod:`mkgc_cl.data.captions`.
        captioner: whose captions, where the file has several.
        crop_index: ``"split-row"`` joins grounding crops as the released code does, by line of the
            split file, which is almost always the wrong sample.

    Raises:
        MissingDataError: a file or folder is missing.
        DataError: a file is not what its format says.
        ImageError: images are missing.
        ConfigError: a setting is wrong.
    """
    policy = ImagePolicy(images, missing_images, crop_index)
    check_captions(images, captions, captioner)
    told = None if captions is None else read_captions(captions, captioner)
    paths = MrePaths(data_root(root, "MRE"))
    count = _task_count(tasks, classes)
    released = classes is None and seed is None and not build
    if released and build is None and count in RELEASED:
        released = paths.split_folder(count).exists()
    if count not in RELEASED and classes is None and seed is None:
        raise ConfigError(
            [
                f"tasks must be one of {', '.join(map(str, sorted(RELEASED)))} for the released "
                f"splits, found {count}; give seed= to draw a split into any number of tasks"
            ]
        )
    known = None
    if paths.relations.exists():
        known = read_relation_names(paths.relations, negative=negative)
    full = {s: read_mre(paths.full(s), split=s, relations=known) for s in MRE_SPLITS}
    seen = {row.sample.relation for row in full["train"]}
    require_negative(seen, negative, paths.full("train"))
    if released:
        texts = {split: read_text(paths.full(split)) for split in MRE_SPLITS}
        splits = read_released_imre(paths, count, full, texts, negative=negative)
    else:
        plan = _plan(full, count, classes, seed, negative)
        file = paths.full("train")
        splits = build_imre(full, plan, seed=seed, file=file, negative=negative)
    made: dict[str, object] = {
        "source": f"released sep{count}" if released else "built from the full files",
        "seed": seed,
        "negative": negative,
        "irregular_test_rows": [
            image for tasks_, image, *_ in sorted(NOT_CUMULATIVE) if released and tasks_ == count
        ],
    }
    return _stream(
        paths, full, splits, policy, made, captions=told, negative=negative, released=released
    )


def _task_count(tasks: int | None, classes: Sequence[Sequence[str]] | None) -> int:
    if classes is None:
        return 10 if tasks is None else tasks
    if tasks is not None and tasks != len(classes):
        raise ConfigError([f"tasks is {tasks}, but classes has {len(classes)} tasks; drop tasks"])
    return len(classes)


def _plan(
    full: Full,
    tasks: int,
    classes: Sequence[Sequence[str]] | None,
    seed: int | None,
    negative: str,
) -> Groups:
    if classes is not None:
        return tuple(tuple(group) for group in classes)
    if seed is None:
        return RELEASED[tasks]
    return drawn_groups(usable_relations(full, negative), tasks, seed=seed, name="imre/classes")


def _stream(
    paths: MrePaths,
    full: Full,
    splits: Splits,
    policy: ImagePolicy,
    made: dict[str, object],
    *,
    captions: Captions | None,
    negative: str,
    released: bool,
) -> TaskStream:
    keys = {
        "train": [_keys("train", enumerate(rows), policy) for rows in splits.train],
        "val": [_keys("val", enumerate(rows), policy) for rows in splits.valid],
        "test": [_keys("test", splits.test_added(k), policy) for k in range(len(splits.groups))],
    }
    every = [key for columns in keys.values() for column in columns for key in column]
    wanted, lists = _wanted(paths, full, every, policy)
    visuals, count = resolve(wanted, policy, captions)

    def samples(column: Sequence[_Key]) -> tuple[RelationSample, ...]:
        return tuple(replace(full[key[0]][key[1]].sample, visual=visuals[key]) for key in column)

    tasks = tuple(
        Task(
            name=f"T{k + 1}",
            classes=group,
            train=samples(keys["train"][k]),
            valid=samples(keys["val"][k]),
            test=samples(keys["test"][k]),
        )
        for k, group in enumerate(splits.groups)
    )
    labels = LabelSpace("re", tuple(name for group in splits.groups for name in group), na=negative)
    digests = file_digests(
        paths.root,
        [*(paths.full(split) for split in MRE_SPLITS), *lists],
        parts=[paths.part(len(tasks), s, k) for s in MRE_SPLITS for k in range(len(tasks))]
        if released
        else (),
    )
    return TaskStream(
        "imre", labels, tasks, provenance(made, splits, policy, count, digests, captions)
    )


def _keys(split: str, lines: Iterable[tuple[int, int]], policy: ImagePolicy) -> list[_Key]:
    # REFERENCE CODE: looks crops up by line of the split file in a dictionary by row of the full
    # file ("split-row"). The right row is the sample's own.
    own = policy.crop_index == "file-row"
    return [(split, row, row if own else line) for line, row in lines]


def _wanted(
    paths: MrePaths, full: Full, keys: Sequence[_Key], policy: ImagePolicy
) -> tuple[dict[_Key, Wanted], list[Path]]:
    """Return the images of each key, and the crop dictionaries that were read."""
    grounding: dict[str, tuple[Crops, ...]] = {}
    detected: dict[str, dict[str, Crops]] = {}
    read: list[Path] = []
    for split in MRE_SPLITS if policy.crops else ():
        if policy.can_list(path := paths.grounding_list(split)):
            grounding[split] = read_row_crops(path, rows=len(full[split]))
            read.append(path)
        if policy.can_list(path := paths.detected_list(split)):
            detected[split] = read_image_crops(path)
            read.append(path)

    folders = {split: (paths.images(split), paths.grounding(split)) for split in MRE_SPLITS}
    base = paths.detected()

    def want(split: str, row: int, crop_row: int) -> Wanted:
        image = full[split][row].image
        whole = Spot(folders[split][0], image) if policy.whole else None
        if not policy.crops:
            return Wanted(whole, caption=image if policy.images == "captions" else None)
        by_row, by_image = grounding.get(split), detected.get(split)
        name = image.split(".")[0]
        return Wanted(
            whole,
            None if by_row is None else crop_spots(folders[split][1], by_row[crop_row]),
            None if by_image is None else crop_spots(base, by_image.get(name, ())),
        )

    return {key: want(*key) for key in dict.fromkeys(keys)}, read
