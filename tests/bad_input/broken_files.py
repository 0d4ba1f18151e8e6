"""Files of the miniature download, and ways to break them: bytes in, bytes out."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

MRE = "MRE/data/txt/"
MNER = "MNER/data/twitter2017/"
TRAIN = MRE + "ours_train.txt"
NAMES = "MRE/data/ours_rel2id.json"
SEP5 = MRE + "sep5/"
POLM = MNER + "sep-POLM-NEW/"
GROUNDING = MRE + "mre_train_dict.pth"
DETECTED = "MNER/data/twitter17_detect/twitter17_img2crop.pth"
IMAGE = "MRE/data/img_org/train/train_0.jpg"


def swap(old: str, new: str, count: int = 1) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), count)

    return change


def swap_bytes(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def line(number: int, new: str) -> Callable[[bytes], bytes]:
    """Replace a line (from 1)."""

    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[number - 1] = new.encode()
        return b"\n".join(lines)

    return change


def repeat_first(data: bytes) -> bytes:
    return data + data.split(b"\n")[0] + b"\n"


def repeat_sentence(data: bytes) -> bytes:
    return data + data.split(b"\n\n")[0] + b"\n\n"


def without_first(data: bytes) -> bytes:
    return data.split(b"\n", 1)[1]


def without_first_sentence(data: bytes) -> bytes:
    return data.split(b"\n\n", 1)[1]


PAYLOAD = "__import__('os').makedirs('PWNED')"


class Payload:
    """Runs code when a careless reader loads it."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.makedirs, ("PWNED",))


def saved(value: object) -> Callable[[bytes], bytes]:
    """A torch file with ``value`` in place of what was there."""

    def change(data: bytes) -> bytes:
        path = Path("saved.pth")
        torch.save(value, path)
        return path.read_bytes()

    return change


def saved_nest(depth: int) -> Callable[[bytes], bytes]:
    """A torch file of lists in lists, one for each of 80 rows.

    Written by hand: Python cannot save what is so deep.
    """
    nest = b"]" * depth + b"a" * (depth - 1)
    rows = b"".join(b"K" + bytes([row]) + (nest if row == 0 else b"]") + b"s" for row in range(80))

    def change(data: bytes) -> bytes:
        file = io.BytesIO(saved({})(data))
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(target := io.BytesIO(), "w") as new:
            for name in old.namelist():
                deep = name.endswith("data.pkl")
                new.writestr(name, b"\x80\x02}" + rows + b"." if deep else old.read(name))
        return target.getvalue()

    return change


def line_of(name: str, number: int = 0) -> Callable[[bytes], bytes]:
    """Append a line of another file of the download, by default its first."""
    return lambda data: data + (Path("../download") / name).read_bytes().splitlines(True)[number]


def only(text: bytes, *, keep: bool) -> Callable[[bytes], bytes]:
    """Keep, or drop, the lines with ``text``."""
    return lambda data: b"".join(x for x in data.splitlines(True) if (text in x) == keep)


def encoded(mode: str, kind: str) -> bytes:
    """An image, black on the left and white on the right, in any mode.

    With opacity it is black all over and the right half is transparent.
    """
    image = Image.new("L", (40, 40))
    image.paste(255, (20, 0, 40, 40))
    if mode == "RGBA":
        black = Image.new("L", (40, 40))
        image = Image.merge("RGBA", (black, black, black, Image.eval(image, lambda x: 255 - x)))
    file = io.BytesIO()
    image.convert("RGB" if mode == "P" else mode).convert(mode).save(file, kind)
    return file.getvalue()


def declared(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose well-formed header declares a size."""
    data = bytearray(encoded("L", "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


JPEG = encoded("RGB", "JPEG")
PNG = encoded("RGB", "PNG")
