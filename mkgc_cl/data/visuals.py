"""Image policy: which images a sample gets, and what happens when they are not there."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from mkgc_cl.data.crops import CROPS_USED, Crops
from mkgc_cl.data.images import BLANK, FileImage, ImageSource
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.errors import ConfigError, DataError, ImageError, MissingDataError

Images = Literal["image", "crops", "image+crops"]
MissingImages = Literal["error", "blank"]
CropIndex = Literal["file-row", "split-row"]


class Spot(NamedTuple):
    """Where one image may be: a name and the folders to look into, the usual one first."""

    folders: tuple[str, ...]
    name: str

    @property
    def usual(self) -> Path:
        """The path an error names."""
        return Path(self.folders[0], self.name)


K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """What images a stream shows.

    Args:
        images: the whole image (the paper), the crops, or both (the released code).
        missing: ``"error"``, or ``"blank"`` to show the blank image where a file is missing.
        crop_index: how MRE grounding crops are joined. ``"file-row"`` is right: by row of the full
            file. ``"split-row"`` is the released code: by line of the split file, which gives
            almost every sample the crops of another one.
    """

    images: Images = "image"
    missing: MissingImages = "error"
    crop_index: CropIndex = "file-row"

    def __post_init__(self) -> None:
        wanted: list[tuple[str, str, tuple[str, ...]]] = [
            ("images", self.images, ("image", "crops", "image+crops")),
            ("missing_images", self.missing, ("error", "blank")),
            ("crop_index", self.crop_index, ("file-row", "split-row")),
        ]
        wrong = [
            f"{name} must be one of {', '.join(allowed)}; found {value!r}"
            for name, value, allowed in wanted
            if value not in allowed
        ]
        if wrong:
            raise ConfigError(wrong)

    @property
    def whole(self) -> bool:
        """Whether whole images are shown."""
        return self.images != "crops"

    @property
    def crops(self) -> bool:
        """Whether crops are shown."""
        return self.images != "image"

    def can_list(self, path: Path) -> bool:
        """Whether a crop dictionary is there to be read; with ``missing="blank"`` it need not be.

        Raises:
            MissingDataError: it is not there and missing images are errors.
        """
        if path.exists():
            return True
        if self.missing == "blank":
            return False
        raise MissingDataError(
            f'images="{self.images}" needs this crop dictionary, found none; put it there, use '
            'images="image", or choose missing_images="blank"',
            path=path,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The images one sample should have.

    Args:
        image: the whole image; ``None`` where it is not shown.
        grounding: grounding crops; ``None`` where their dictionary is missing.
        detected: detected crops; ``None`` where their dictionary is missing.
    """

    image: Spot | None = None
    grounding: tuple[Spot, ...] | None = ()
    detected: tuple[Spot, ...] | None = ()


@dataclass(frozen=True, slots=True)
class ImageCount:
    """How many different image files a stream wants, and how many of them are blank."""

    files: int
    blank: int


def crop_spots(folders: tuple[str, ...], names: Crops) -> tuple[Spot, ...]:
    """Return the spots of the crops that are used."""
    return tuple(Spot(folders, name) for name in names[:CROPS_USED])


class Folders:
    """What is in the image folders; each is listed once, no file is touched."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def find(self, spot: Spot) -> Path | None:
        """Return the path of an image, or ``None`` where none of its folders has it.

        Raises:
            DataError: a folder cannot be listed.
        """
        inner, name = os.path.split(spot.name)
        for folder in spot.folders:
            full = os.path.join(folder, inner) if inner else folder
            names = self._names.get(full)
            if names is None:
                names = self._names[full] = _listing(full)
            if name in names:
                return Path(full, name)
        return None


def _listing(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:  # links in a circle, a name longer than any file's, no permission
        raise DataError(
            f"the folder of images cannot be listed ({error.strerror}); it must be a readable "
            "folder",
            path=folder,
        ) from error


def resolve(
    wanted: Mapping[K, Wanted], policy: ImagePolicy
) -> tuple[dict[K, VisualInput], ImageCount]:
    """Look for every image and build the visual inputs.

    Args:
        wanted: images by sample.
        policy: what to do with missing ones.

    Raises:
        ImageError: files are missing and ``policy.missing`` is ``"error"``: names the first and
            counts them.
    """
    folders = Folders()
    sources: dict[Spot, ImageSource] = {}
    missing: list[Path] = []
    for spot in _every(wanted.values()):
        if spot not in sources:
            found = folders.find(spot)
            sources[spot] = BLANK if found is None else FileImage(found)
            if found is None:
                missing.append(spot.usual)
    if missing and policy.missing == "error":
        raise ImageError(
            f"{len(missing):,} of {len(sources):,} images are missing, this is the first; put them "
            f"into that folder ({missing[0].parent}) or choose "
            'missing_images="blank" to go on without them',
            path=missing[0],
        )
    visuals = {
        key: VisualInput(
            None if want.image is None else sources[want.image],
            _crops(want.grounding, sources),
            _crops(want.detected, sources),
        )
        for key, want in wanted.items()
    }
    return visuals, ImageCount(len(sources), len(missing))


def _every(wanted: Iterable[Wanted]) -> Iterable[Spot]:
    for want in wanted:
        if want.image is not None:
            yield want.image
        yield from want.grounding or ()
        yield from want.detected or ()


def _crops(
    crops: tuple[Spot, ...] | None, sources: Mapping[Spot, ImageSource]
) -> tuple[ImageSource, ...]:
    # Without a dictionary nobody knows how many crops a sample has: as many blanks as are used.
    if crops is None:
        return (BLANK,) * CROPS_USED
    return tuple(sources[spot] for spot in crops)
