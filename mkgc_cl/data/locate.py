"""Where the public downloads are expected: one place for every path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mkgc_cl.errors import ConfigError, MissingDataError

ENVIRONMENT = "MKGC_DATA"

#: Splits as the file names of each download spell them.
MRE_SPLITS = ("train", "val", "test")
MNER_SPLITS = ("train", "valid", "test")


def data_root(root: str | Path | None = None, download: str = "") -> Path:
    """Return the folder that holds ``MRE/`` and ``MNER/``.

    Args:
        root: that folder; ``None`` means the environment variable ``MKGC_DATA``.
        download: ``"MRE"`` or ``"MNER"`` where that one is needed; by default it may be without.

    Raises:
        MissingDataError: no folder given, it is not there, or it lacks the download.
    """
    value = os.environ.get(ENVIRONMENT, "") if root is None else str(root)
    if not value:
        raise MissingDataError(
            f"no data folder given; pass the folder that holds MRE/ and MNER/, or set {ENVIRONMENT}"
        )
    try:
        path = Path(value).expanduser()
        there = path.is_dir()
    except (RuntimeError, OSError, ValueError) as error:  # ~nobody, a name that cannot be one
        reason = getattr(error, "strerror", None) or error
        raise MissingDataError(
            f"expected the folder that holds MRE/ and MNER/, found no name of a folder ({reason}); "
            f"correct the path or {ENVIRONMENT}",
            path=value[:200],
        ) from error
    found = ""
    if not there:
        found = "a file" if path.exists() else "no such folder"
    elif not (path / download).is_dir():
        found = f"a folder without {download}/"
    if found:
        raise MissingDataError(
            f"expected the folder that holds MRE/ and MNER/, found {found}; {_better(path)}"
            f"correct the path or {ENVIRONMENT}",
            path=path,
        )
    return path


def _better(path: Path) -> str:
    """Name the folder that may have been meant: one above the given one."""
    for folder in path.absolute().parents:
        if (folder / "MRE").is_dir() or (folder / "MNER").is_dir():
            return f"did you mean {folder}? "
    return ""


def check_split(split: str, splits: tuple[str, ...]) -> str:
    """Return ``split`` if it is one of ``splits``.

    Raises:
        ConfigError: it is not.
    """
    if split not in splits:
        raise ConfigError([f"split must be one of {', '.join(splits)}, found {split!r}"])
    return split


@dataclass(frozen=True, slots=True)
class MrePaths:
    """Paths of the MRE download.

    Args:
        root: the folder that holds ``MRE/``.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Folder that paths in the detection dictionaries are relative to."""
        return self.root / "MRE" / "data"

    @property
    def relations(self) -> Path:
        """Relation names and ids (not part of the released repository; optional here)."""
        return self.data / "ours_rel2id.json"

    def full(self, split: str) -> Path:
        """The full text file of ``split``."""
        return self.data / "txt" / f"ours_{check_split(split, MRE_SPLITS)}.txt"

    def split_folder(self, tasks: int) -> Path:
        """Folder of the released split into ``tasks`` tasks."""
        return self.data / "txt" / f"sep{tasks}"

    def part(self, tasks: int, split: str, task: int) -> Path:
        """Released file of one task, ``task`` from 0."""
        return self.split_folder(tasks) / f"ours_{check_split(split, MRE_SPLITS)}_{task}.txt"

    def images(self, split: str) -> tuple[str, ...]:
        """Folders in which whole images may be: that of the split, then the others.

        Copies of the images exist that are sorted by another split of the same samples (the id of a
        image is unique over all of them), so an image counts as there wherever it is.
        """
        others = (name for name in MRE_SPLITS if name != split)
        return tuple(str(self.data / "img_org" / name) for name in (split, *others))

    def grounding_list(self, split: str) -> Path:
        """Dictionary of the grounding crops; its name says ``dev`` where the text says ``val``."""
        name = {"val": "dev"}.get(split, split)
        return self.data / "txt" / f"mre_{name}_dict.pth"

    def grounding(self, split: str) -> tuple[str, ...]:
        """Folders in which grounding crops may be."""
        return (str(self.data / "img_vg" / split / "crops"),)

    def detected_list(self, split: str) -> Path:
        """Dictionary of the detected crops."""
        return self.data / "img_detect" / split / f"{split}_img2crop.pth"

    def detected(self) -> tuple[str, ...]:
        """Folders that paths of detected crops may be relative to."""
        return (str(self.data),)


@dataclass(frozen=True, slots=True)
class MnerPaths:
    """Paths of the MNER download.

    The released ``run.py`` expects the image folders directly under ``data/``, its README shows
    them under ``data/twitter2017/``: both are looked into, in that order.

    Args:
        root: the folder that holds ``MNER/``.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Folder that paths in the detection dictionary are relative to."""
        return self.root / "MNER" / "data"

    @property
    def text(self) -> Path:
        """Folder of the text files."""
        return self.data / "twitter2017"

    def full(self, split: str) -> Path:
        """The full text file of ``split``."""
        return self.text / f"{check_split(split, MNER_SPLITS)}.txt"

    def part(self, folder: str, split: str, task: int) -> Path:
        """Released file of one task, ``task`` from 0."""
        return self.text / folder / f"{check_split(split, MNER_SPLITS)}_{task}.txt"

    def images(self) -> tuple[str, ...]:
        """Folders in which whole images may be."""
        return tuple(str(base / "twitter2017_images") for base in (self.data, self.text))

    def grounding_list(self, split: str) -> Path:
        """Dictionary of the grounding crops; its name says ``val`` for ``valid``."""
        return self.text / f"twitter2017_{_short(split)}_dict.pth"

    def grounding(self, split: str) -> tuple[str, ...]:
        """Folders in which grounding crops may be."""
        tail = Path("twitter2017_aux_images") / _short(split) / "crops"
        return (str(self.data / tail), str(self.text / tail))

    def detected_list(self) -> Path:
        """Dictionary of the detected crops: the first place it is in, else where it should be."""
        tail = Path("twitter17_detect") / "twitter17_img2crop.pth"
        places = (self.data / tail, self.text / tail)
        return next((place for place in places if place.exists()), places[0])

    def detected(self) -> tuple[str, ...]:
        """Folders that paths of detected crops may be relative to."""
        return (str(self.data), str(self.text))


def _short(split: str) -> str:
    return {"valid": "val"}.get(split, split)
