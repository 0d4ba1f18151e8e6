"""A corpus described in YAML: the arguments of ``stream_from_files``, checked all at once."""

# ruff: noqa: RUF009  (`setting` makes a field; behind names for Literals ruff cannot see so)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from mkgc_cl.config import resolve, setting
from mkgc_cl.data.files.conll import Separator
from mkgc_cl.data.files.corpus import Format
from mkgc_cl.data.files.json_lines import Ends, Offsets
from mkgc_cl.data.files.schemes import Scheme
from mkgc_cl.data.files.stream import stream_from_files
from mkgc_cl.data.files.tasks import MultiType
from mkgc_cl.data.samples import TaskStream
from mkgc_cl.data.textfile import user_path
from mkgc_cl.data.visuals import Images, MissingImages

#: Settings that name files or folders; relative ones are below the folder of the YAML file.
PATHS = ("train", "valid", "test", "image_folder", "captions")


@dataclass(frozen=True)
class FilesSettings:
    """What a YAML file may say; see :func:`~mkgc_cl.data.files.stream.stream_from_files`."""

    train: tuple[str, ...] = setting((), help="training files")
    valid: float | tuple[str, ...] = setting((), help="validation files, or a share of training")
    test: float | tuple[str, ...] = setting((), help="test files, or a share of training")
    kind: Literal["ner", "re"] | None = setting(None, help="entities or relations")
    tasks: int | tuple[tuple[str, ...], ...] | None = setting(
        None, help="the classes of each task, or the number of tasks"
    )
    classes_per_task: int | None = setting(None, help="classes of a task", minimum=1)
    order: tuple[str, ...] = setting((), help="classes in order of arrival")
    multi_type: MultiType = setting("rarest", help="task of a sentence with several types")
    negative: str = setting("None", help="what the files call a pair without a relation")
    seed: int | None = setting(None, help="of what is drawn", minimum=0)
    format: Format | None = setting(None, help="of the files; recognized")
    scheme: Scheme | None = setting(None, help="of the tags; recognized")
    repair: tuple[str, ...] = setting((), help="what to mend: conlleval, widen, outermost")
    word_column: int = setting(0, help="column of the word, from 0")
    tag_column: int = setting(-1, help="column of the tag")
    image_column: int | None = setting(None, help="column of the image's name")
    separator: Separator = setting("auto", help="what parts columns")
    fields: Mapping[str, str] | None = setting(None, help="keys that go by another name")
    offsets: Offsets = setting("auto", help="what offsets count")
    ends: Ends = setting("exclusive", help="whether ends are exclusive")
    image_folder: tuple[str, ...] = setting((), help="folders of the images")
    images: Images = setting("image", help="what a sample shows")
    missing_images: MissingImages = setting("error", help="what to do without an image")
    captions: str | None = setting(None, help="file of captions, in place of images")
    captioner: str | None = setting(None, help="whose captions, of several")
    name: str = setting("files", help="of the stream")

    def problems(self) -> list[str]:
        """Mistakes that only show across settings."""
        needed = {"train": self.train, "test": self.test, "kind": self.kind}
        return [f"{key!r} is needed" for key, value in needed.items() if value in ((), None)]


def stream_from_yaml(path: str | Path, **changes: Any) -> TaskStream:
    """Return the stream that a YAML file describes.

    Args:
        path: the file; paths in it are relative to its folder.
        changes: settings that replace those of the file (``images="captions"``).

    Raises:
        ConfigError: every mistake in the settings, with its line.
        DataError: what is wrong with the files.
    """
    settings = resolve(FilesSettings, yaml_path=path, flags=changes)
    return stream_from_files(**arguments(settings, Path(path).parent))


def stream_from_mapping(mapping: Mapping[str, Any], folder: str | Path = ".") -> TaskStream:
    """Return the stream that a mapping describes, such as a section of a larger YAML file.

    Args:
        mapping: the settings.
        folder: what paths in it are relative to.

    Raises:
        ConfigError: every mistake in the settings.
        DataError: what is wrong with the files.
    """
    return stream_from_files(**arguments(resolve(FilesSettings, flags=mapping), Path(folder)))


def arguments(settings: FilesSettings, folder: Path) -> dict[str, Any]:
    """Return settings as arguments of ``stream_from_files``; what is left to it is left out."""
    given: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name in PATHS and isinstance(value, tuple):
            value = tuple(str(folder / user_path(path)) for path in value)
        elif item.name in PATHS and isinstance(value, str):
            value = str(folder / user_path(value))
        if value != () and value is not None:
            given[item.name] = value
    return given
