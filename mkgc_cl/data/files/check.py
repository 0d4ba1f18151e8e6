"""Look at a corpus of one's own before training: read it whole, and say what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkgc_cl.config import resolve
from mkgc_cl.data.files.settings import FilesSettings, arguments
from mkgc_cl.data.files.stream import stream_from_files
from mkgc_cl.data.findings import Findings
from mkgc_cl.data.image_check import broken_images
from mkgc_cl.data.images import FileImage
from mkgc_cl.data.sample_checks import labels_of
from mkgc_cl.data.samples import Task, TaskStream
from mkgc_cl.data.stream_checks import check_stream
from mkgc_cl.errors import ConfigError, DataError


def check_files(path: Path, *, images: bool = False) -> Findings:
    """Check the corpus that a YAML file describes, by making its stream.

    Args:
        path: the file.
        images: decode every image, too.
    """
    found = Findings(path.parent, decode=images)
    try:
        settings = resolve(FilesSettings, yaml_path=path)
        stream = stream_from_files(**arguments(settings, path.parent))
        check_stream(stream)
    except ConfigError as error:
        found.problems += [DataError(problem) for problem in error.problems]
        return found
    except DataError as error:
        found.problems += error.problems
        return found
    found.present += _summary(stream)
    if images:
        found.problems += broken_images(_files(stream))
    if not found.problems:
        found.run.append((f"from_yaml({str(path)!r})", _blank(stream)))
    return found


def _summary(stream: TaskStream) -> list[str]:
    """Say what the stream holds, and what of the files it does not."""
    made: Any = stream.provenance
    scheme = f", tags in {made['scheme']}" if made["scheme"] else ""
    lines = [f"{', '.join(made['files'])} ({made['format']}{scheme})"]
    for task in stream.tasks:
        counts = ", ".join(f"{len(getattr(task, s)):,} {s}" for s in ("train", "valid", "test"))
        measured = "" if _measured(task) else "; no test sample of its classes: cannot be measured"
        lines.append(f"task {task.name} ({', '.join(task.classes)}): {counts}{measured}")
    lines += [f"repaired, {name}: {count:,}" for name, count in made["repaired"].items()]
    lines += [f"left out, {what}: {count:,}" for what, count in made["left_out"].items()]
    return lines


def _measured(task: Task) -> bool:
    """Whether some test sample has a class of the task."""
    names = {*task.classes, *(f"B-{name}" for name in task.classes)}
    return any(not names.isdisjoint(labels_of(sample)) for sample in task.test)


def _files(stream: TaskStream) -> list[Path]:
    sources = (
        source
        for task in stream.tasks
        for samples in (task.train, task.valid, task.test)
        for sample in samples
        for source in (sample.visual.image, *sample.visual.grounding, *sample.visual.detected)
    )
    return list(dict.fromkeys(s.path for s in sources if isinstance(s, FileImage)))


def _blank(stream: TaskStream) -> str:
    made: Any = stream.provenance
    if not made["image_files"]:
        return "no images"
    return f"{made['image_files']:,} images, {made['image_files_blank']:,} of them blank"
