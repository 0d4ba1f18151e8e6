"""Validation and test samples held out of the training files, where there are no files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mkgc_cl.data.files.records import SPLITS, Record, Split


def hold_out(
    records: Mapping[Split, Sequence[Record]],
    shares: Mapping[Split, float],
    *,
    seed: int | None,
) -> dict[Split, Sequence[Record]]:
    """Move shares of the training samples to other splits, the samples of one image together.

    Samples without an image go one by one. The order of the files stays.

    Args:
        records: of each split.
        shares: of all training samples, rounded to whole groups.
        seed: draws which.
    """
    if not shares or seed is None:
        return dict(records)
    import numpy

    from mkgc_cl.seeds import derive

    groups: dict[str, list[int]] = {}
    for row, record in enumerate(records["train"]):
        key = f"image {record.image}" if record.image is not None else f"row {row}"
        groups.setdefault(key, []).append(row)
    names = list(groups)
    drawn = numpy.random.default_rng(derive(seed, "files/held-out")).permutation(len(names))
    queue = [groups[names[index]] for index in drawn.tolist()]
    total = len(records["train"])
    split_of: dict[int, Split] = {}
    for split in SPLITS[1:]:
        room = round(shares.get(split, 0) * total)
        while queue and room > 0:
            rows = queue.pop()
            split_of.update(dict.fromkeys(rows, split))
            room -= len(rows)
    held = dict(records)
    for split in SPLITS:
        if split == "train" or split in shares:
            held[split] = [
                record
                for row, record in enumerate(records["train"])
                if split_of.get(row, "train") == split
            ]
    return held
