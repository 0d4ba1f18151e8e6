"""The IMNER stream: real samples, tagged entities, tasks that bring new entity types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mkgc_cl.data.crops import Crops, read_image_crops
from mkgc_cl.data.locate import MNER_SPLITS, MnerPaths, data_root
from mkgc_cl.data.mner import TYPES, read_mner
from mkgc_cl.data.provenance import file_digests, provenance
from mkgc_cl.data.samples import LabelSpace, TaggingSample, Task, TaskStream
from mkgc_cl.data.splits import Groups, Rows, Splits, drawn_groups
from mkgc_cl.data.splits_imner import (
    RELEASED,
    Full,
    Rule,
    as_groups,
    build_imner,
    keep_tags,
    read_released_imner,
)
from mkgc_cl.data.visuals import (
    ImagePolicy,
    Images,
    MissingImages,
    Spot,
    Wanted,
    crop_spots,
    resolve,
)
from mkgc_cl.errors import ConfigError

DEFAULT_ORDER = ("PER", "ORG", "LOC", "MISC")

_Key = tuple[str, int]


def imner_stream(
    root: str | Path | None = None,
    *,
    order: Sequence[str | Sequence[str]] | None = None,
    tasks: int | None = None,
    seed: int | None = None,
    rule: Rule = "priority",
    build: bool = False,
    images: Images = "image",
    missing_images: MissingImages = "error",
) -> TaskStream:
    """Return the IMNER stream.

    The two released orders (PER ORG LOC MISC, PER LOC ORG MISC) with ``rule="priority"`` read the
    released split files; everything else is built from the full files.

    Args:
        root: the folder that holds ``MNER/``; ``None`` means ``MKGC_DATA``.
        order: the four types in any order; a tuple in place of a type is a task of several types.
            ``None`` means PER, ORG, LOC, MISC, or drawn from ``seed`` if there is one.
        tasks: number of tasks of a drawn order; ``None`` means 4.
        seed: draws the order; not to be given together with ``order``.
        rule: ``"priority"`` gives a sentence to one task (MISC > LOC > ORG > PER), as released;
            ``"keep-all-mentions"`` gives it to every task it has an entity for.
        build: builds from the full files even where released files exist.
        images: what a sample shows: the whole image (the paper), its crops, or both (the released
            code).
        missing_images: ``"error"``, or ``"blank"`` to go on with the blank image; the provenance
            says how many.

    Raises:
        MissingDataError: a file or folder is missing.
        DataError: a file is not what its format says.
        ImageError: images are missing.
        ConfigError: a setting is wrong.
    """
    policy = ImagePolicy(images, missing_images)
    paths = MnerPaths(data_root(root, "MNER"))
    groups = _groups(order, tasks, seed)
    full = {split: read_mner(paths.full(split), split=split) for split in MNER_SPLITS}
    released = groups in RELEASED and rule == "priority" and not build
    if released:
        splits = read_released_imner(paths, groups, full)
    else:
        splits = build_imner(full, groups, rule=rule, file=paths.full("train"))
    made: dict[str, object] = {
        "source": f"released {RELEASED[groups]}" if released else "built from the full files",
        "rule": rule,
        "seed": seed,
    }
    return _stream(paths, full, splits, policy, made, released=released)


def _groups(
    order: Sequence[str | Sequence[str]] | None, tasks: int | None, seed: int | None
) -> Groups:
    if seed is not None:
        if order is not None:
            raise ConfigError(["seed draws the order; give order or seed, not both"])
        count = len(TYPES) if tasks is None else tasks
        return drawn_groups(TYPES, count, seed=seed, name="imner/classes")
    groups = as_groups(DEFAULT_ORDER if order is None else order)
    if tasks not in (None, len(groups)):
        raise ConfigError(
            [f"tasks is {tasks}, but order has {len(groups)} tasks; drop tasks or give a seed"]
        )
    return groups


def _stream(
    paths: MnerPaths,
    full: Full,
    splits: Splits,
    policy: ImagePolicy,
    made: dict[str, object],
    *,
    released: bool,
) -> TaskStream:
    columns = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    keys = dict.fromkeys((s, row) for s in MNER_SPLITS for rows in columns[s] for row in rows)
    wanted, lists = _wanted(paths, full, list(keys), policy)
    visuals, count = resolve(wanted, policy)

    def samples(split: str, rows: Rows, types: Sequence[str]) -> tuple[TaggingSample, ...]:
        found = [(full[split][row].sample, visuals[split, row]) for row in rows]
        return tuple(
            replace(sample, tags=keep_tags(sample.tags, types), visual=visual)
            for sample, visual in found
        )

    tasks = tuple(
        Task(
            name="+".join(group),
            classes=group,
            train=samples("train", splits.train[k], group),
            valid=samples("valid", splits.valid[k], group),
            test=samples("test", splits.test[k], group),
        )
        for k, group in enumerate(splits.groups)
    )
    labels = LabelSpace("ner", tuple(name for group in splits.groups for name in group))
    parts = [
        paths.part(RELEASED[splits.groups], split, k)
        for split in MNER_SPLITS
        for k in range(len(tasks))
        if released
    ]
    digests = file_digests(paths.root, [*map(paths.full, MNER_SPLITS), *lists], parts=parts)
    return TaskStream("imner", labels, tasks, provenance(made, splits, policy, count, digests))


def _wanted(
    paths: MnerPaths, full: Full, keys: Sequence[_Key], policy: ImagePolicy
) -> tuple[dict[_Key, Wanted], list[Path]]:
    """Return the images of each key, and the crop dictionaries that were read."""
    grounding: dict[str, dict[str, Crops]] = {}
    detected: dict[str, Crops] | None = None
    read: list[Path] = []
    for split in MNER_SPLITS if policy.crops else ():
        if policy.can_list(path := paths.grounding_list(split)):
            grounding[split] = read_image_crops(path)
            read.append(path)
    if policy.crops and policy.can_list(path := paths.detected_list()):
        detected = read_image_crops(path)
        read.append(path)

    whole_in, detected_in = paths.images(), paths.detected()
    grounding_in = {split: paths.grounding(split) for split in MNER_SPLITS}

    def want(split: str, row: int) -> Wanted:
        image = full[split][row].image
        whole = Spot(whole_in, f"{image}.jpg") if policy.whole else None
        if not policy.crops:
            return Wanted(whole)
        named, name = grounding.get(split), image.split(".")[0]
        # An image without an entry has no crops: the released code shows none either.
        crops = None if named is None else named.get(f"{image}.jpg", ())
        objects = None if detected is None else detected.get(name, ())
        return Wanted(
            whole,
            None if crops is None else crop_spots(grounding_in[split], crops),
            None if objects is None else crop_spots(detected_in, objects),
        )

    return {key: want(*key) for key in keys}, read
