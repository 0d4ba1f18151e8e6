"""What a data check notes down, and the questions it asks of every download alike."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mkgc_cl.data.image_check import broken_images
from mkgc_cl.data.splits import Splits
from mkgc_cl.data.textfile import Report, read_bytes
from mkgc_cl.data.visuals import Folders, Spot
from mkgc_cl.errors import DataError, MissingDataError

T = TypeVar("T")

#: The argument that a snippet needs for images that are missing, and a remark on it.
Images = tuple[str, str]

_OPTIONAL = 'needed for images="crops" and "image+crops" only'


@dataclass(slots=True)
class Findings:
    """What a check found.

    Args:
        root: the folder.
        decode: whether images that are there are decoded, too.
        present: one line for each thing that is there and sound.
        missing: ``(path below the root, what it is needed for)``.
        problems: every malformed line or file.
        run: ``(snippet, remark)``: what this folder can run.
    """

    root: Path
    decode: bool = False
    present: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)
    run: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: something runs and nothing is malformed; 1: malformed files; 2: nothing runs."""
        if not self.run:
            return 2
        return 1 if self.problems else 0

    def short(self, path: Path) -> str:
        """Return ``path`` below the root, or as it is."""
        inside = path.is_relative_to(self.root)
        return (path.relative_to(self.root) if inside else path).as_posix()

    def absent(self, path: Path, remark: str) -> None:
        """Note something that is missing."""
        self.missing.append((self.short(path), remark))

    def attempt(self, read: Callable[[], T], remark: str) -> T | None:
        """Return what ``read`` returns, or ``None`` if it raises or reports a problem."""
        before = len(self.problems)
        try:
            value = read()
        except MissingDataError as error:
            self.absent(error.path or self.root, remark)
            return None
        except DataError as error:
            self.problems.append(error)
            return None
        return value if len(self.problems) == before else None

    def fails(self, check: Callable[[], None]) -> bool:
        """Note what is wrong by ``check``, and return whether anything is."""
        before = len(self.problems)
        self.attempt(check, "")
        return len(self.problems) > before

    def runs(self, scenario: str, arguments: str, images: Images | None, more: str = "") -> None:
        """Note what this folder can run, unless something is wrong with its images.

        Args:
            scenario: name of the function.
            arguments: what it is given besides the folder.
            images: of :meth:`images`.
            more: a remark in place of that on the images.
        """
        if images is not None:
            blank, remark = images
            call = f"{scenario}({str(self.root)!r}, {arguments}{blank})"
            self.run.append((call, more or remark))

    def split_files(
        self, parts: Sequence[Path], read: Callable[[Report], Splits], remark: str
    ) -> bool:
        """Read the released split files ``parts``; return whether they are all there and sound."""
        folder = parts[0].parent
        gone = [path for path in parts if not path.exists()]
        if len(gone) == len(parts):
            self.absent(folder, remark)
        elif gone:
            for path in gone:
                self.absent(path, remark)
        else:
            splits = self.attempt(lambda: read(self.problems.append), remark)
            if splits is not None and all(splits.train):
                self.present.append(f"{self.short(folder)}: {len(parts)} split files")
                return True
            if splits is not None:
                words = "expected training samples in every task, found a task without; fetch the "
                self.problems.append(DataError(f"{words}split files again", path=folder))
        return False

    def images(self, wanted: Iterable[Spot], what: str) -> Images | None:
        """Look for images, and decode them where that is asked for.

        Args:
            wanted: the images.
            what: what to call them.

        Returns:
            The argument a snippet needs and a remark on it, both empty if every image is there;
            ``None`` where a problem was noted.
        """
        folders = Folders()
        every = dict.fromkeys(wanted)
        found = self.attempt(lambda: {spot: folders.find(spot) for spot in every}, "")
        if found is None:
            return None
        there = [path for path in found.values() if path is not None]
        broken = broken_images(there) if self.decode else []
        self.problems += broken
        if there:
            how = "decoded" if self.decode else "not decoded; --images does"
            number = len(there) - len(broken)
            self.present.append(f"{number:,} of {len(every):,} {what} ({how})")
        if broken:
            return None
        gone = [spot for spot, path in found.items() if path is None]
        if not gone:
            return "", ""
        count = f"{len(gone):,} of {len(every):,} {what}"
        self.absent(gone[0].usual, f"the first of {count} that are missing")
        return ', missing_images="blank"', f"{count} would be blank"

    def crop_list(self, path: Path, wanted: Callable[[], Iterable[Spot]], *, opened: bool) -> None:
        """Check a crop dictionary.

        Args:
            path: the file.
            wanted: opens it and returns the crops it lists.
            opened: whether to open it (imports torch) or only to see that it is a torch file.
        """
        if not path.exists():
            self.absent(path, _OPTIONAL)
        elif opened:
            every = self.attempt(lambda: dict.fromkeys(wanted()), _OPTIONAL)
            if every is not None:
                self.images(every, f"crops of {self.short(path)}")
        elif self.attempt(lambda: _looks_like_torch(path), _OPTIONAL):
            self.present.append(f"{self.short(path)} (not opened; --crops does)")


def _looks_like_torch(path: Path) -> bool:
    # Torch writes zip archives; before version 1.6 it wrote a bare stream that starts with 0x80.
    data = read_bytes(path)
    if data[:1] == b"\x80" or zipfile.is_zipfile(io.BytesIO(data)):
        return True
    raise DataError("expected a torch file, found something else; fetch the file again", path=path)
