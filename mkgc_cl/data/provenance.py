"""What made a stream: files and their fingerprints, image policy, counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from mkgc_cl.data.captions import Captions
from mkgc_cl.data.images import fingerprint_bytes
from mkgc_cl.data.samples import RelationSample, TaskStream
from mkgc_cl.data.splits import Splits
from mkgc_cl.data.textfile import read_bytes
from mkgc_cl.data.visuals import ImageCount, ImagePolicy


def file_digests(
    root: Path, files: Sequence[Path], *, parts: Sequence[Path] = ()
) -> dict[str, str]:
    """Return short sha256 sums by path below ``root``.

    Args:
        root: the data folder.
        files: files that get an entry each.
        parts: split files of one folder, which share one entry under the folder's name.
    """
    digests = {_name(root, path): fingerprint_bytes(read_bytes(path)) for path in files}
    if parts:
        sums = "".join(f"{p.name} {fingerprint_bytes(read_bytes(p))}\n" for p in sorted(parts))
        digests[_name(root, parts[0].parent)] = fingerprint_bytes(sums.encode())
    return digests


def provenance(
    made: dict[str, object],
    splits: Splits,
    policy: ImagePolicy,
    count: ImageCount,
    digests: dict[str, str],
    captions: Captions | None = None,
) -> dict[str, object]:
    """Return the provenance of a stream, ready for JSON.

    ``image_files`` counts different image files (or captions in place of them),
    ``image_files_blank`` those of them that were not there and are blank.
    """
    if captions is not None:
        made = {**made, "captioner": captions.captioner or captions.path.stem}
        digests = {**digests, captions.path.name: captions.digest}
    names = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return {
        **made,
        "tasks": len(splits.groups),
        "classes": [list(group) for group in splits.groups],
        "images": policy.images,
        "missing_images": policy.missing,
        "crop_index": policy.crop_index,
        "image_files": count.files,
        "image_files_blank": count.blank,
        "files": digests,
        "fingerprint": fingerprint_bytes(names.encode()),
    }


def content_fingerprint(stream: TaskStream) -> str:
    """Return a short sha256 over all that a stream shows: words, labels, classes and images.

    Of images it takes the bytes: each file is read once, which takes seconds where there are
    thousands. Where the files lie makes no difference.

    Raises:
        ImageError: a file cannot be read.
    """
    images: dict[str, str] = {}
    lines = [repr(stream.labels)]
    for task in stream.tasks:
        lines.append(repr(task.classes))
        for split in ("train", "valid", "test"):
            lines.append(f"{task.name} {split}")
            for sample in getattr(task, split):
                own = [f.name for f in fields(sample) if f.compare and f.name != "visual"]
                words = [getattr(sample, name) for name in own]
                visual = sample.visual
                whole = () if visual.image is None else (visual.image,)
                shown = []
                for group in (whole, visual.grounding, visual.detected):
                    for source in group:
                        if source.key not in images:
                            images[source.key] = source.fingerprint()
                    shown.append([images[source.key] for source in group])
                # what shows no caption keeps the fingerprint it had before there were any
                told = () if visual.caption is None else (visual.caption,)
                lines.append(repr((words, shown, *told)))
    return fingerprint_bytes("\n".join(lines).encode())


def text_fingerprint(stream: TaskStream) -> str:
    """Return a short sha256 over the words and labels that a stream trains and is tested on.

    Images, validation samples and uids are left aside: two streams of one fingerprint are the
    same benchmark, with whatever images, and their scores on the test samples can be compared.
    """
    lines = []
    for task in stream.tasks:
        lines.append(json.dumps(task.classes))
        for split in ("train", "test"):
            lines.append(split)
            for sample in getattr(task, split):
                labels = (
                    (sample.head, sample.tail, sample.relation)
                    if isinstance(sample, RelationSample)
                    else (sample.tags,)
                )
                lines.append(json.dumps((sample.tokens, *labels)))
    return fingerprint_bytes("\n".join(lines).encode())


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
