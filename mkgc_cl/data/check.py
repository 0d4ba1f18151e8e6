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
from mkgc_cl.data.mner import TYPES, FullFiles, TaggingRow, first_of_type, scan_full_mner
from mkgc_cl.data.mre import RelationRow, read_relation_names, scan_mre
from mkgc_cl.data.negative import NEGATIVE, require_negative
from mkgc_cl.data.released_imre import read_released_imre
from mkgc_cl.data.splits import Groups, Splits
from mkgc_cl.data.splits_imner import RELEASED as IMNER_RELEASED
from mkgc_cl.data.splits_imner import as_groups, build_imner, read_released_imner
from mkgc_cl.data.splits_imre import RELEASED as IMRE_RELEASED
from mkgc_cl.data.splits_imre import build_imre, usable_relations
from mkgc_cl.data.textfile import Report, TextFile, read_text
from mkgc_cl.data.visuals import Spot, crop_spots, image_file
from mkgc_cl.errors import DataError

Row = TypeVar("Row", RelationRow, TaggingRow)


def check_data(
    root: Path,
    *,
    crops: bool = False,
    images: bool = False,
    negative: str = NEGATIVE,
    repair: str = "",
) -> Findings:
    """Check the folder that holds ``MRE/`` and ``MNER/``.

    Args:
        root: the folder.
        crops: open the crop dictionaries too (imports torch) and look for every crop.
        images: decode every image that is there (and with ``crops`` every crop), in parallel.
        negative: name of the negative relation in the files.
        repair: ``"conlleval"`` to read tags that break their scheme as conlleval does.
    """
    found = Findings(root, decode=images)
    _check_imre(found, MrePaths(root), crops, negative)
    _check_imner(found, MnerPaths(root), crops, repair)
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
        remark = f"the released split of imre(..., tasks={tasks})"
        if found.split_files(parts, read, remark):
            found.runs("imre", f"tasks={tasks}{named}", available)
        elif not parts[0].parent.exists() and _builds(full, IMRE_RELEASED[tasks], negative):
            found.runs("imre", f"tasks={tasks}{named}", available, "built from the full files")
    usable = len(usable_relations(full, negative))
    if usable:
        some = f"tasks={min(8, usable)}, seed=0{named}"
        found.runs("imre", some, available, "other tasks, other seeds")
    else:
        found.problems.append(
            DataError(
                "expected a relation that the training, validation and test files all have, found "
                "none; fetch the files again, from one download",
                path=paths.full("train"),
            )
        )
    for split in MRE_SPLITS:
        path = paths.grounding_list(split)
        by_row = partial(_row_crops, path, paths.grounding(split), len(full[split]))
        found.crop_list(path, by_row, opened=crops)
        path = paths.detected_list(split)
        images = [row.image.split(".")[0] for row in full[split]]
        found.crop_list(path, partial(_image_crops, path, paths.detected(), images), opened=crops)


def _check_imner(found: Findings, paths: MnerPaths, crops: bool, repair: str) -> None:
    if not paths.text.is_dir():
        found.absent(paths.text, "needed for imner(...)")
        return

    texts = _texts(found, {s: paths.full(s) for s in MNER_SPLITS}, "needed for imner(...)")
    files = _full_mner(found, texts, repair)
    if files is None:
        return
    full, train = files.rows, paths.full("train")
    named = f", repair={repair!r}" if repair else ""
    folders = paths.images()
    images = {split: [image_file(row.image) for row in full[split]] for split in MNER_SPLITS}
    spots = (Spot(folders, name) for split in MNER_SPLITS for name in images[split])
    available = found.images(spots, "MNER images")
    usual = set(files.types) <= set(TYPES)
    other = ("MISC", "LOC", "ORG", "PER") if usual else tuple(files.types)
    if strange := first_of_type(files, other):
        found.problems.append(strange)
        available = None
    elif not found.attempt(lambda: build_imner(full, as_groups(other, other), file=train), ""):
        available = None
    for groups, folder in IMNER_RELEASED.items() if usual else ():
        order = tuple(name for group in groups for name in group)
        parts = [paths.part(folder, s, k) for s in MNER_SPLITS for k in range(len(groups))]
        read = partial(_read_imner, paths, groups, files, repair)
        if found.split_files(parts, read, f"the released split of imner(..., order={order})"):
            found.runs("imner", f"order={order}{named}", available)
        elif not parts[0].parent.exists() and _builds_imner(full, groups):
            found.runs("imner", f"order={order}{named}", available, "built from the full files")
    found.runs("imner", f"order={other}{named}", available, "other orders")
    for split in MNER_SPLITS:
        path = paths.grounding_list(split)
        by_image = partial(_image_crops, path, paths.grounding(split), images[split])
        found.crop_list(path, by_image, opened=crops)
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


def _full_mner(found: Findings, texts: Mapping[str, TextFile], repair: str) -> FullFiles | None:
    """Return the full files, if all are there and sound."""
    before = len(found.problems)
    files = scan_full_mner(texts, repair=repair, report=found.problems.append)
    bad = {problem.path for problem in found.problems[before:]}
    for split, text in texts.items():
        if text.path not in bad:
            samples = len(files.rows[split])
            found.present.append(f"{found.short(text.path)}: {samples:,} samples ({files.scheme})")
    if files.repaired:
        found.present.append(f"repaired, {repair}: {files.repaired:,}")
    return files if not bad and len(texts) == len(MNER_SPLITS) else None


def _builds(full: Mapping[str, tuple[RelationRow, ...]], groups: Groups, negative: str) -> bool:
    """Whether the full files, which may be another corpus's, have the relations of a split."""
    try:
        build_imre(full, groups, negative=negative)
    except DataError:
        return False
    return True


def _builds_imner(full: Mapping[str, tuple[TaggingRow, ...]], groups: Groups) -> bool:
    try:
        build_imner(full, groups)
    except DataError:
        return False
    return True


# `partial` binds positionally here and the checker adds `report` as the last argument.
def _read_imre(
    paths: MrePaths,
    tasks: int,
    full: Mapping[str, tuple[RelationRow, ...]],
    texts: Mapping[str, TextFile],
    negative: str,
    report: Report,
) -> Splits:
    return read_released_imre(paths, tasks, full, texts, negative=negative, report=report)


def _read_imner(
    paths: MnerPaths, groups: Groups, files: FullFiles, repair: str, report: Report
) -> Splits:
    full, scheme = files.rows, files.scheme
    return read_released_imner(paths, groups, full, scheme=scheme, repair=repair, report=report)


def _row_crops(path: Path, folders: tuple[str, ...], rows: int) -> Iterator[Spot]:
    for names in read_row_crops(path, rows=rows):
        yield from crop_spots(folders, names)


def _image_crops(path: Path, folders: tuple[str, ...], images: list[str]) -> Iterator[Spot]:
    table: dict[str, Crops] = read_image_crops(path)
    for image in images:
        yield from crop_spots(folders, table.get(image, ()))
