"""The IMNER stream: real samples, tagged entities, tasks that bring new entity types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mkgc_cl.data.captions import Captions, check_captions, read_captions
from mkgc_cl.data.crops import Crops, read_image_crops
from mkgc_cl.data.locate import MNER_SPLITS, MnerPaths, data_root
from mkgc_cl.data.mner import TYPES, FullFiles, first_of_type, read_full_mner
from mkgc_cl.data.provenance import file_digests, provenance
from mkgc_cl.data.samples import LabelSpace, TaggingSample, Task, TaskStream
from mkgc_cl.data.splits import Groups, Rows, Splits, drawn_groups, keep_tags
from mkgc_cl.data.splits_imner import (
    RELEASED,
    Full,
    Rule,
    as_groups,
    build_imner,
    read_released_imner,
)
from mkgc_cl.data.visuals import (
    ImagePolicy,
    Images,
    MissingImages,
    Spot,
    Wanted,
    crop_spots,
    image_file,
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
    build: bool | None = None,
    repair: Literal["", "conlleval"] = "",
    images: Images = "image",
    missing_images: MissingImages = "error",
    captions: str | Path | None = None,
    captioner: str | None = None,
) -> TaskStream:
    """Return the IMNER stream.

    The two released orders (PER ORG LOC MISC, PER LOC ORG MISC) with ``rule="priority"`` read the
    released split files; everything else is built from the full files. These may be of another
    corpus, with types of its own, in any scheme (BIO, IOB1, BIOES, BILOU).

    Args:
        root: the folder that holds ``MNER/``; ``None`` means ``MKGC_DATA``.
        order: the types in any order; a tuple in place of a type is a task of several types.
            ``None`` means PER, ORG, LOC, MISC (of another corpus the most frequent first), or drawn
            from ``seed`` if there is one.
        tasks: number of tasks of a drawn order; ``None`` means one for each type.
        seed: draws the order; not to be given together with ``order``.
        rule: ``"priority"`` gives a sentence to one task (MISC > LOC > ORG > PER), as released;
            ``"keep-all-mentions"`` gives it to every task it has an entity for; ``"complete"``
            gives it there all tags so far, and the first task every sentence: for upper bounds.
        build: builds from the full files even where released files exist; ``False`` never does in
            place of them, ``None`` does where there is no folder of them. The result is the same.
        repair: ``"conlleval"`` reads tags that break their scheme (an ``I-`` that begins an entity)
            as conlleval does; the provenance says how many.
        images: what a sample shows: the whole image (the paper), its crops, both (the released
            code), or ``"captions"`` in place of it.
        missing_images: ``"error"``, or ``"blank"`` to go on with the blank image; the provenance
            says how many.
        captions: the JSON lines file of them, see :mod:`mkgc_cl.data.captions`.
        captioner: whose captions, where the file has several.

    Raises:
        MissingDataError: a file or folder is missing.
        DataError: a file is not what its format says.
        ImageError: images are missing.
        ConfigError: a setting is wrong.
    """
    policy = ImagePolicy(images, missing_images)
    if seed is not None and order is not None:
        raise ConfigError(["seed draws the order; give order or seed, not both"])
    check_captions(images, captions, captioner)
    told = None if captions is None else read_captions(captions, captioner)
    paths = MnerPaths(data_root(root, "MNER"))
    files = read_full_mner({split: paths.full(split) for split in MNER_SPLITS}, repair=repair)
    groups = _groups(files, order, tasks, seed)
    full = files.rows
    folder = RELEASED.get(groups)
    released = folder is not None and rule == "priority" and not build
    if released and build is None and folder is not None:
        released = (paths.text / folder).exists()
    if released:
        splits = read_released_imner(paths, groups, full, scheme=files.scheme, repair=repair)
    else:
        splits = build_imner(full, groups, rule=rule, file=paths.full("train"))
    made: dict[str, object] = {
        "source": f"released {folder}" if released else "built from the full files",
        "rule": rule,
        "seed": seed,
    }
    if (files.scheme, repair) != ("BIO", ""):
        made |= {"scheme": files.scheme, "repaired": {"conlleval": files.repaired}}
    return _stream(paths, full, splits, policy, made, captions=told, released=released)


def _groups(
    files: FullFiles,
    order: Sequence[str | Sequence[str]] | None,
    tasks: int | None,
    seed: int | None,
) -> Groups:
    """Return the types of each task, all types of the files."""
    counts = files.types
    usual = set(counts) <= set(TYPES)
    if seed is not None:
        types = TYPES if usual else tuple(counts)
        count = len(types) if tasks is None else tasks
        return drawn_groups(types, count, seed=seed, name="imner/classes")
    if order is not None:
        named = {name for item in order for name in ((item,) if isinstance(item, str) else item)}
        groups = as_groups(order, TYPES if usual or named == set(TYPES) else tuple(sorted(counts)))
    elif usual or set(TYPES) < set(counts):
        groups = as_groups(DEFAULT_ORDER)
    else:
        frequent = sorted(counts, key=lambda name: (-counts[name], name))
        groups = as_groups(frequent, tuple(counts))
    strange = first_of_type(files, {name for group in groups for name in group})
    if strange is not None:
        raise strange
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
    captions: Captions | None,
    released: bool,
) -> TaskStream:
    columns = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    keys = dict.fromkeys((s, row) for s in MNER_SPLITS for rows in columns[s] for row in rows)
    wanted, lists = _wanted(paths, full, list(keys), policy)
    visuals, count = resolve(wanted, policy, captions)

    complete = made["rule"] == "complete"

    def samples(split: str, task: int, rows: Rows) -> tuple[TaggingSample, ...]:
        first = 0 if complete and split != "test" else task
        types = [name for group in splits.groups[first : task + 1] for name in group]
        found = [(full[split][row].sample, visuals[split, row]) for row in rows]
        return tuple(
            replace(sample, tags=keep_tags(sample.tags, types), visual=visual)
            for sample, visual in found
        )

    tasks = tuple(
        Task(
            name="+".join(group),
            classes=group,
            train=samples("train", k, splits.train[k]),
            valid=samples("valid", k, splits.valid[k]),
            test=samples("test", k, splits.test[k]),
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
    return TaskStream(
        "imner", labels, tasks, provenance(made, splits, policy, count, digests, captions)
    )


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
        image = image_file(full[split][row].image)
        whole = Spot(whole_in, image) if policy.whole else None
        if not policy.crops:
            return Wanted(whole, caption=image if policy.images == "captions" else None)
        named, name = grounding.get(split), image.split(".")[0]
        # An image without an entry has no crops: the released code shows none either.
        crops = None if named is None else named.get(image, ())
        objects = None if detected is None else detected.get(name, ())
        return Wanted(
            whole,
            None if crops is None else crop_spots(grounding_in[split], crops),
            None if objects is None else crop_spots(detected_in, objects),
        )

    return {key: want(*key) for key in keys}, read
