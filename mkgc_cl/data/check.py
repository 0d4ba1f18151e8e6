"""Look at a data folder before training: what is there, missing, malformed, and what it can run.

Nothing here imports torch unless crop dictionaries are to be opened, nor Pillow unless images are
to be decoded; without either, a whole check takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from mkgc_cl.data.crops import Crops, read_image_crops, read_row_crops
from mkgc_cl.data.findings import Findings
from mkgc_cl.data.locate import MNER_SPLITS, MRE_SPLITS, MnerPaths, MrePaths
from mkgc_cl.data.mner import TaggingRow, scan_mner
from mkgc_cl.data.mre import RelationRow, read_relation_names, scan_mre
from mkgc_cl.data.negative import NEGATIVE, require_negative
from mkgc_cl.data.released_imre import read_released_imre
from mkgc_cl.data.splits import Groups
from mkgc_cl.data.splits_imner import RELEASED as IMNER_RELEASED
from mkgc_cl.data.splits_imner import read_released_imner
from mkgc_cl.data.splits_imre import RELEASED as IMRE_RELEASED
from mkgc_cl.data.textfile import Report, TextFile, read_text
from mkgc_cl.data.visuals import Spot, crop_spots

Row = TypeVar("Row", RelationRow, TaggingRow)


def check_data(
    root: Path, *, crops: bool = False, images: bool = False, negative: str = NEGATIVE
) -> Findings:
    """Check the folder that holds ``MRE/`` and ``MNER/``.

    Args:
        root: the folder.
        crops: open the crop dictionaries too (imports torch) and look for every crop.
        images: decode every image that is there (and with ``crops`` every crop), in parallel.
        negative: name of the negative relation in the files.
    """
    found = Findings(root, decode=images)
    _check_imre(found, MrePaths(root), crops, negative)
    _check_imner(found, MnerPaths(root), crops)
    return found


def _check_imre(found: Findings, paths: MrePaths, crops: bool, negative: str) -> None:
    if not paths.data.is_dir():
        found.absent(paths.data, "needed for imre(...)")
        return
    names = None
    if paths.relations.exists():
        read_names = partial(read_relation_names, paths.relations, negative=negative)
        names = found.attempt(read_names, "")
    else:
        found.absent(paths.relations, "optional; without it, relation names are not checked")

    def scan(text: TextFile, split: str) -> tuple[RelationRow, ...]:
        rows = scan_mre(text, split=split, relations=names, report=found.problems.append)
        return tuple(row for row in rows if row is not None)

    texts = _texts(found, {s: paths.full(s) for s in MRE_SPLITS}, "needed for imre(...)")
    full = _rows(found, texts, scan)
    if len(full) < len(MRE_SPLITS):
        return
    seen = {row.sample.relation for row in full["train"]}
    if found.fails(partial(require_negative, seen, negative, paths.full("train"))):
        return
    named = "" if negative == NEGATIVE else f", negative={negative!r}"
    folders = {split: paths.images(split) for split in MRE_SPLITS}
    spots = (Spot(folders[split], row.image) for split in MRE_SPLITS for row in full[split])
    available = found.images(spots, "MRE images")
    for tasks in sorted(IMRE_RELEASED, reverse=True):
        parts = [paths.part(tasks, split, k) for split in MRE_SPLITS for k in range(tasks)]
        read = partial(_read_imre, paths, tasks, full, texts, negative)
        if found.split_files(parts, read, f"needed for imre(..., tasks={tasks})"):
            found.runs("imre", f"tasks={tasks}{named}", available)
    found.runs("imre", f"tasks=8, seed=0{named}", available, "other tasks, other seeds")
    for split in MRE_SPLITS:
        path = paths.grounding_list(split)
        by_row = partial(_row_crops, path, paths.grounding(split), len(full[split]))
        found.crop_list(path, by_row, opened=crops)
        path = paths.detected_list(split)
        images = [row.image.split(".")[0] for row in full[split]]
        found.crop_list(path, partial(_image_crops, path, paths.detected(), images), opened=crops)


def _check_imner(found: Findings, paths: MnerPaths, crops: bool) -> None:
    if not paths.text.is_dir():
        found.absent(paths.text, "needed for imner(...)")
        return

    def scan(text: TextFile, split: str) -> tuple[TaggingRow, ...]:
        return scan_mner(text, split=split, report=found.problems.append)

    texts = _texts(found, {s: paths.full(s) for s in MNER_SPLITS}, "needed for imner(...)")
    full = _rows(found, texts, scan)
    if len(full) < len(MNER_SPLITS):
        return
    folders = paths.images()
    images = {split: [row.image for row in full[split]] for split in MNER_SPLITS}
    spots = (Spot(folders, f"{name}.jpg") for split in MNER_SPLITS for name in images[split])
    available = found.images(spots, "MNER images")
    for groups, folder in IMNER_RELEASED.items():
        order = tuple(name for group in groups for name in group)
        parts = [paths.part(folder, s, k) for s in MNER_SPLITS for k in range(len(groups))]
        read = partial(_read_imner, paths, groups, full)
        if found.split_files(parts, read, f"needed for imner(..., order={order})"):
            found.runs("imner", f"order={order}", available)
    other = ("MISC", "LOC", "ORG", "PER")
    found.runs("imner", f"order={other}", available, "other orders")
    for split in MNER_SPLITS:
        path = paths.grounding_list(split)
        names = [f"{name}.jpg" for name in images[split]]
        named = partial(_image_crops, path, paths.grounding(split), names)
        found.crop_list(path, named, opened=crops)
    path = paths.detected_list()
    names = [name.split(".")[0] for split in MNER_SPLITS for name in images[split]]
    found.crop_list(path, partial(_image_crops, path, paths.detected(), names), opened=crops)


def _texts(found: Findings, files: Mapping[str, Path], remark: str) -> dict[str, TextFile]:
    read = {split: found.attempt(partial(read_text, path), remark) for split, path in files.items()}
    return {split: text for split, text in read.items() if text is not None}


def _rows(
    found: Findings,
    texts: Mapping[str, TextFile],
    scan: Callable[[TextFile, str], tuple[Row, ...]],
) -> dict[str, tuple[Row, ...]]:
    """Return the rows of every file without a problem."""
    full: dict[str, tuple[Row, ...]] = {}
    for split, text in texts.items():
        rows = found.attempt(partial(scan, text, split), "")
        if rows is not None:
            full[split] = rows
            found.present.append(f"{found.short(text.path)}: {len(rows):,} samples")
    return full


# `partial` binds positionally here and the checker adds `report` as the last argument.
def _read_imre(
    paths: MrePaths,
    tasks: int,
    full: Mapping[str, tuple[RelationRow, ...]],
    texts: Mapping[str, TextFile],
    negative: str,
    report: Report,
) -> object:
    return read_released_imre(paths, tasks, full, texts, negative=negative, report=report)


def _read_imner(
    paths: MnerPaths, groups: Groups, full: Mapping[str, tuple[TaggingRow, ...]], report: Report
) -> object:
    return read_released_imner(paths, groups, full, report=report)


def _row_crops(path: Path, folders: tuple[str, ...], rows: int) -> Iterator[Spot]:
    for names in read_row_crops(path, rows=rows):
        yield from crop_spots(folders, names)


def _image_crops(path: Path, folders: tuple[str, ...], images: list[str]) -> Iterator[Spot]:
    table: dict[str, Crops] = read_image_crops(path)
    for image in images:
        yield from crop_spots(folders, table.get(image, ()))
