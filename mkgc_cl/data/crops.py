"""Crop dictionaries of the downloads: which cut-outs belong to which row or image.

The files are torch archives of plain dicts. They are loaded with ``weights_only=True``, so a file
that carries code is refused and nothing in it runs; torch is imported only when one is opened.
"""

from __future__ import annotations

import io
import re
from pathlib import Path, PureWindowsPath

from mkgc_cl.data.images import fingerprint_bytes
from mkgc_cl.data.textfile import is_text, read_bytes, shown
from mkgc_cl.errors import DataError

#: The released code uses the first three crops of each kind.
CROPS_USED = 3

Crops = tuple[str, ...]


def read_row_crops(path: Path, *, rows: int) -> tuple[Crops, ...]:
    """Read a dictionary keyed by row of the full file (MRE grounding crops).

    Args:
        path: ``mre_{train,dev,test}_dict.pth``.
        rows: rows of the full text file; the dictionary must have each of them.

    Returns:
        The names of the crops of row 0, 1, ...

    Raises:
        MissingDataError: there is no such file.
        DataError: not a dictionary of that form, or one that carries code.
    """
    table = _read(path)
    wrong = next((key for key in table if type(key) is not int), None)
    if wrong is not None:
        raise DataError(
            f"expected row numbers as keys, found {shown(wrong)}; fetch the file again", path=path
        )
    absent = [row for row in range(rows) if row not in table]
    if absent or len(table) != rows:
        first = f"; row {absent[0]} has none" if absent else ""
        raise DataError(
            f"expected crops for each of the {rows} rows of the full text file, found "
            f"{len(table)} keys{first}; text and crops must come from the same download",
            path=path,
        )
    return tuple(_crops(table[row], row, path) for row in range(rows))


def read_image_crops(path: Path) -> dict[str, Crops]:
    """Read a dictionary keyed by image (detected crops; MNER grounding crops).

    Args:
        path: ``{split}_img2crop.pth``, ``twitter17_img2crop.pth`` (image id without extension) or
            ``twitter2017_{train,val,test}_dict.pth`` (``<id>.jpg``).

    Raises:
        MissingDataError: there is no such file.
        DataError: not a dictionary of that form, or one that carries code.
    """
    table = _read(path)
    wrong = next((key for key in table if not isinstance(key, str)), None)
    if wrong is not None:
        raise DataError(
            f"expected image names as keys, found {shown(wrong)}; fetch the file again", path=path
        )
    return {str(key): _crops(value, key, path) for key, value in table.items()}


def crops_fingerprint(path: Path) -> str:
    """Return the short sha256 of a dictionary file."""
    return fingerprint_bytes(read_bytes(path))


def _read(path: Path) -> dict[object, object]:
    data = read_bytes(path)
    import torch

    try:
        table = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # Refused code, a broken archive and a foreign format come as half a dozen exception types.
        raise DataError(
            f"expected a torch file that holds a plain dictionary, found one that {_fault(error)}; "
            "nothing in it was run; fetch the file again",
            path=path,
        ) from error
    if not isinstance(table, dict):
        raise DataError(
            f"expected a dictionary, found {type(table).__name__}; fetch the file again", path=path
        )
    return table


def _fault(error: Exception) -> str:
    # Of torch's message only the name that was refused: the rest tells readers how to load the file
    # without the check.
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return f"carries code ({named[1]})"
    return f"is damaged or of another kind ({type(error).__name__})"


def _crops(value: object, key: object, path: Path) -> Crops:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise DataError(
            f"expected a list of file names for {shown(key)}, found {shown(value)}; fetch the file "
            "again",
            path=path,
        )
    for name in value:
        read = PureWindowsPath(name)  # for which / and \ both stand between folders
        out = read.anchor != "" or ".." in read.parts
        if not name or out or "\0" in name or not is_text(name):
            raise DataError(
                f"expected paths inside the data folder for {shown(key)}, found {shown(name)}; "
                "fetch the file again",
                path=path,
            )
    return tuple(value)
