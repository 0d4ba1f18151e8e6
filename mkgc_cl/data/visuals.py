"""Image policy: which images a sample gets, and what happens when they are not there."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, get_args

from mkgc_cl.data.crops import CROPS_USED, Crops
from mkgc_cl.data.images import BLANK, FileImage, ImageSource
from mkgc_cl.data.samples import VisualInput
from mkgc_cl.errors import ConfigError, DataError, ImageError, MissingDataError

if TYPE_CHECKING:
    from mkgc_cl.data.captions import Captions

Images = Literal["image", "crops", "image+crops", "captions"]
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
        images: the whole image (the paper), the crops, both (the released code), or captions in
            place of the image.
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
            ("images", self.images, get_args(Images)),
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
        return self.images in ("image", "image+crops")

    @property
    def crops(self) -> bool:
        """Whether crops are shown."""
        return self.images in ("crops", "image+crops")

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
        caption: name of the image whose caption is shown; ``None`` where none is.
    """

    image: Spot | None = None
    grounding: tuple[Spot, ...] | None = ()
    detected: tuple[Spot, ...] | None = ()
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class ImageCount:
    """How many different image files a stream wants, and how many of them are blank."""

    files: int
    blank: int


def crop_spots(folders: tuple[str, ...], names: Crops) -> tuple[Spot, ...]:
    """Return the spots of the crops that are used."""
    return tuple(Spot(folders, name) for name in names[:CROPS_USED])


#: What the name of an image may end with; an id may leave it out, or have another one.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class Folders:
    """What is in the image folders; each is listed once, no file is touched.

    A file of the very name comes first. Where there is none, one that differs from it only in its
    extension (:data:`EXTENSIONS`, or none) or in upper and lower case is it, too.
    """

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, spot: Spot) -> Path | None:
        """Return the path of an image, or ``None`` where none of its folders has it.

        Raises:
            DataError: a folder cannot be listed, or has several files that may be meant.
        """
        inner, name = os.path.split(spot.name)
        for folder in spot.folders:
            full = os.path.join(folder, inner) if inner else folder
            names = self._names.get(full)
            if names is None:
                names = self._names[full] = _listing(full)
            if name in names:
                return Path(full, name)
            found = self._alike(full, name)
            if found is not None:
                return Path(full, found)
        return None

    def _alike(self, folder: str, name: str) -> str | None:
        """Return the one file of a folder that goes by another spelling of ``name``."""
        stems = self._stems.get(folder)
        if stems is None:
            stems = self._stems[folder] = {}
            for file in self._names[folder]:
                if image_stem(file) != file:
                    stems.setdefault(image_stem(file).casefold(), []).append(file)
        stem = image_stem(name)
        found = stems.get(stem.casefold(), [])
        found = [file for file in found if image_stem(file) == stem] or found
        if len(found) > 1:
            raise DataError(
                f"expected one image for {name!r}, found {', '.join(sorted(found))}; give the name "
                "of the one that is meant, or remove the others",
                path=folder,
            )
        return found[0] if found else None


def image_stem(name: str) -> str:
    """Return the name of an image without its extension, if it has one of :data:`EXTENSIONS`.

    >>> image_stem("17_06.JPG"), image_stem("17.06")
    ('17_06', '17.06')
    """
    stem, extension = os.path.splitext(name)
    return stem if stem and extension.lower() in EXTENSIONS else name


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
    wanted: Mapping[K, Wanted], policy: ImagePolicy, captions: Captions | None = None
) -> tuple[dict[K, VisualInput], ImageCount]:
    """Look for every image and build the visual inputs.

    Args:
        wanted: images by sample.
        policy: what to do with missing ones.
        captions: of the images; what counts are then the captions.

    Raises:
        DataError: captions are missing, likewise.
        ImageError: files are missing and ``policy.missing`` is ``"error"``: names the first and
            counts them.
    """
    if captions is not None:
        return _captioned(wanted, policy, captions)
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


def _captioned(
    wanted: Mapping[K, Wanted], policy: ImagePolicy, captions: Captions
) -> tuple[dict[K, VisualInput], ImageCount]:
    """Look for every caption; ``missing="blank"`` shows no words where there is none."""
    images = dict.fromkeys(want.caption for want in wanted.values() if want.caption is not None)
    found = {image: captions.of(image) for image in images}
    missing = [image for image, words in found.items() if words is None]
    if missing and policy.missing == "error":
        raise DataError(
            f"{len(missing):,} of {len(found):,} images have no caption, the first is "
            f'{missing[0]!r}; add them, or choose missing_images="blank" to go on without',
            path=captions.path,
        )
    visuals = {
        key: VisualInput(caption=None if want.caption is None else found[want.caption] or "")
        for key, want in wanted.items()
    }
    return visuals, ImageCount(len(found), len(missing))


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


def image_file(name: str) -> str:
    """Return the usual file name of an image id, which may be one already.

    >>> image_file("17_06_1"), image_file("17_06_1.PNG")
    ('17_06_1.jpg', '17_06_1.PNG')
    """
    return name if image_stem(name) != name else f"{name}.jpg"
