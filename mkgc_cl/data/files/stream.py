"""A stream from own files: whatever corpus, whatever types, cut into tasks by a rule."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mkgc_cl.data.captions import check_captions, read_captions
from mkgc_cl.data.files.conll import Columns, Separator
from mkgc_cl.data.files.corpus import Format, Layout, classes_by_frequency, read_corpus
from mkgc_cl.data.files.json_lines import Ends, JsonFields, Offsets
from mkgc_cl.data.files.records import SPLITS, Account, Record, Split
from mkgc_cl.data.files.schemes import SCHEMES, Scheme
from mkgc_cl.data.files.shares import hold_out
from mkgc_cl.data.files.tasks import MultiType, Plan, group_classes, place_samples
from mkgc_cl.data.images import BLANK
from mkgc_cl.data.negative import NEGATIVE, require_negative
from mkgc_cl.data.provenance import file_digests, provenance
from mkgc_cl.data.samples import LabelSpace, Task, TaskKind, TaskStream, VisualInput
from mkgc_cl.data.splits import Splits
from mkgc_cl.data.textfile import user_path
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

Files = str | Path | Sequence[str | Path]

#: Name of the negative output of a stream without negative samples, which is never right.
NO_NEGATIVE = "(no relation)"


def stream_from_files(
    *,
    train: Files,
    test: Files | float,
    valid: Files | float | None = None,
    kind: TaskKind,
    tasks: int | Sequence[str | Sequence[str]] | None = None,
    classes_per_task: int | None = None,
    order: Sequence[str] | None = None,
    multi_type: MultiType = "rarest",
    negative: str = NEGATIVE,
    seed: int | None = None,
    format: Format | None = None,
    scheme: Scheme | None = None,
    repair: str | Sequence[str] = (),
    word_column: int = 0,
    tag_column: int = -1,
    image_column: int | None = None,
    separator: Separator = "auto",
    fields: Mapping[str, str] | None = None,
    offsets: Offsets = "auto",
    ends: Ends = "exclusive",
    image_folder: Files | None = None,
    images: Images = "image",
    missing_images: MissingImages = "error",
    captions: str | Path | None = None,
    captioner: str | None = None,
    name: str = "files",
) -> TaskStream:
    """Return a stream made of own files.

    What the files hold and the stream does not is counted in ``provenance["left_out"]``, what was
    mended on request in ``provenance["repaired"]``.

    Args:
        train: a file of training samples, or several.
        test: test samples; a number is the share of the training samples that is held out for it,
            samples of one image together.
        valid: validation samples, likewise; ``None`` for none.
        kind: ``"ner"``, entities that are tagged, or ``"re"``, a relation per sample.
        tasks: the classes of each task, or the number of tasks. By default every class is a task.
        classes_per_task: the other way to say it.
        order: the classes in order of arrival; by default the most frequent in training first.
        multi_type: the task of a sentence with types of several tasks, see
            :class:`~mkgc_cl.data.files.tasks.Plan`.
        negative: what the files call a pair without a relation: it is in every task and no class
            that is measured. ``""`` for files in which every pair has a relation.
        seed: draws the order (if it is not given), the task of each negative sample, and what is
            held out. Without one nothing is drawn: negative samples are dealt in blocks.
        format: ``"conll"``, ``"jsonl"`` or ``"mre"`` (rows as those of MNRE); recognized.
        scheme: of the tags in CoNLL files, recognized in all files together; the provenance names
            it.
        repair: what to mend and count rather than refuse: of ``"conlleval"`` (tags that break the
            scheme), ``"widen"`` (offsets within a word), ``"outermost"`` (entities that overlap).
        word_column: column of the word in CoNLL files, from 0; negative ones count from the last.
        tag_column: column of the tag.
        image_column: column of the image's name; without one it stands in a line ``IMGID:name``
            above the sentence, if there is any.
        separator: what parts the columns.
        fields: keys of JSON lines that go by another name (``{"tokens": "words"}``).
        offsets: what the offsets of JSON lines count.
        ends: whether the ends of JSON lines are exclusive.
        image_folder: the folder of the images, or several; ``None`` shows none. Names are found
            with or without extension, in upper or lower case.
        images: what a sample shows of them.
        missing_images: ``"error"``, or ``"blank"`` to show a blank image where there is none; the
            provenance says how many.
        captions: with ``images="captions"``: a JSON lines file of them, in place of the images; see
            :mod:`mkgc_cl.data.captions`.
        captioner: whose captions, where the file has several.
        name: of the stream.

    Raises:
        ConfigError: settings are wrong.
        DataError: all that is wrong with the files, with file and line.
        ImageError: images are missing.
    """
    check_captions(images, captions, captioner)
    told = None if captions is None else read_captions(captions, captioner)
    columns = Columns(word_column, tag_column, image_column, separator)
    account = Account(frozenset((repair,) if isinstance(repair, str) else repair))
    layout = Layout(format, columns, scheme, JsonFields(dict(fields or {}), offsets, ends))
    policy = ImagePolicy(images, missing_images)
    na = (negative or NO_NEGATIVE) if kind == "re" else None
    plan = Plan(tasks, classes_per_task, order, multi_type, na, seed)
    files: dict[str, list[Path]] = {"train": _paths(train)}
    shares: dict[Split, float] = {}
    others: tuple[tuple[Split, Files | float | None], ...] = (("valid", valid), ("test", test))
    for split, given in others:
        if isinstance(given, (int, float)):
            shares[split] = float(given)
        elif given is not None:
            files[split] = _paths(given)
    _check(kind, format, scheme, separator, shares, plan)
    paths = {split: files.get(split, []) for split in SPLITS}

    corpus = read_corpus(paths, kind, layout, account, name=name)
    account.raise_problems()
    records = hold_out(corpus.records, shares, seed=seed)
    counts = classes_by_frequency(records["train"], plan.negative)
    if plan.negative is not None and negative:
        seen = {r.sample.relation for r in records["train"]}  # type: ignore[union-attr]
        require_negative(seen, plan.negative, paths["train"][0])
    groups = group_classes(plan, counts)
    placed = place_samples(records, groups, plan, account)
    folders = None if image_folder is None else tuple(map(str, _paths(image_folder)))
    wanted = _wanted(records, folders, policy, account)
    visuals, count = resolve(wanted, policy, told)

    def samples(split: Split, task: int) -> tuple:  # type: ignore[type-arg]
        own = placed[split][task]
        return tuple(replace(r.sample, visual=_shown(visuals[r.sample.uid], policy)) for r in own)

    stream_tasks = tuple(
        Task(
            "+".join(group) if kind == "ner" else f"T{task + 1}",
            group,
            *(samples(split, task) for split in SPLITS),
        )
        for task, group in enumerate(groups)
    )
    every = list(dict.fromkeys(path for split in SPLITS for path in paths[split]))
    common = Path(os.path.commonpath([path.absolute().parent for path in every]))
    made: dict[str, object] = {
        "source": "own files",
        "format": corpus.format,
        "scheme": corpus.scheme,
        "repaired": dict(sorted(account.repaired.items())),
        "left_out": dict(sorted(account.left_out.items())),
        "multi_type": multi_type if kind == "ner" else None,
        "negative": plan.negative,
        "seed": seed,
        "held_out": {split: shares[split] for split in SPLITS if split in shares},
        "samples_without_image": sum(
            want.image is None and want.caption is None for want in wanted.values()
        ),
    }
    digests = file_digests(common, [path.absolute() for path in every])
    splits = Splits(groups, (), (), ())
    return TaskStream(
        name,
        LabelSpace(kind, tuple(c for group in groups for c in group), na=plan.negative),
        stream_tasks,
        provenance(made, splits, policy, count, digests, told),
    )


def _paths(given: Files) -> list[Path]:
    listed = (given,) if isinstance(given, (str, Path)) else given
    return [user_path(path) for path in listed]


def _check(
    kind: str,
    format: str | None,
    scheme: str | None,
    separator: str,
    shares: Mapping[Split, float],
    plan: Plan,
) -> None:
    """Raise every mistake that shows without the files."""
    choices: list[tuple[str, str | None, tuple[str | None, ...]]] = [
        ("kind", kind, ("ner", "re")),
        ("format", format, (None, "conll", "jsonl", "mre")),
        ("scheme", scheme, (None, *SCHEMES)),
        ("separator", separator, ("auto", "tab", "space")),
    ]
    wrong = [
        f"{key} must be one of {', '.join(map(str, allowed))}; found {value!r}"
        for key, value, allowed in choices
        if value not in allowed
    ]
    wrong += [
        f"{split} must be a file or a share between 0 and 1, found {share:g}"
        for split, share in shares.items()
        if not 0 < share < 1
    ]
    if sum(shares.values()) >= 1:
        wrong.append("valid and test hold out all samples; leave some to train on")
    if shares and plan.seed is None:
        wrong.append("a share is held out by lot; give a seed")
    if kind == "re" and plan.multi_type != "rarest":
        wrong.append('multi_type is for kind="ner"; leave it out')
    wrong += plan.problems()
    if wrong:
        raise ConfigError(wrong)


def _wanted(
    records: Mapping[Split, Sequence[Record]],
    folders: tuple[str, ...] | None,
    policy: ImagePolicy,
    account: Account,
) -> dict[str, Wanted]:
    """Return the images of every sample."""
    wanted: dict[str, Wanted] = {}
    for split in SPLITS:
        for record in records[split]:
            names = (record.image, *record.grounding, *record.detected)
            if policy.images == "captions":
                wanted[record.sample.uid] = Wanted(caption=record.image)
                continue
            if folders is None:
                if any(names):
                    account.left_out[f"{split}: samples whose images have no image_folder"] += 1
                wanted[record.sample.uid] = Wanted()
                continue
            image = record.image if policy.whole else None
            crops = (record.grounding, record.detected) if policy.crops else ((), ())
            grounding, detected = (crop_spots(folders, names) for names in crops)
            whole = None if image is None else Spot(folders, image)
            wanted[record.sample.uid] = Wanted(whole, grounding, detected)
    return wanted


def _shown(visual: VisualInput, policy: ImagePolicy) -> VisualInput:
    """Show a blank image or caption where a sample has none, if that is asked for."""
    if visual.caption is None and policy.images == "captions" and policy.missing == "blank":
        return replace(visual, caption="")
    if visual.image is None and policy.whole and policy.missing == "blank":
        return replace(visual, image=BLANK)
    return visual
