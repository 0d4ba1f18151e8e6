"""One table of broken data: what is broken, which error, and what its message must tell."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mkgc_cl.data import TaskStream, imner_stream, imre_stream
from mkgc_cl.errors import ConfigError, DataError, ImageError, MissingDataError, MkgcError

MRE = "MRE/data/txt/"
MNER = "MNER/data/twitter2017/"


@dataclass(frozen=True)
class Case:
    """A row of the table.

    ``file`` is broken by ``change`` (bytes in, bytes out; ``None`` removes the file); the stream
    then raises ``error`` with each of ``says`` in its message.
    """

    name: str
    file: str
    change: Callable[[bytes], bytes] | None
    error: type[MkgcError]
    says: tuple[str, ...]
    images: str = "image"
    missing: str = "blank"
    build: bool = False


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


# What messages must say, where a row has no room for it.
WORDS = "['Anna', 'Lee', 'met', 'Bo0', 'in', 'Rome']"
UNKNOWN_RELATION = ("one of the 22 relations", "'/per/per/pear'", "did you mean '/per/per/")
FOREIGN_LABEL = ("only relations the task's training file has", "/per/per/peer")
FOREIGN_TAG = ("expected the tag O for 'Bo'", "types LOC only", "B-PER")
ORPHAN = ("I-PER to follow B-PER", "an entity starts with B-PER")
BLANK = 'missing_images="blank"'
# A sentence of train_0.txt as another task would show it.
HIDDEN = b"IMGID:train_0\nAnna\tO\nLee\tO\nsings\tO\n\n"
CROPS: dict[int, object] = {i: [f"{i}_a.png"] for i in range(80)}

Row = tuple[object, ...]
TRAIN = MRE + "ours_train.txt"
NAMES = "MRE/data/ours_rel2id.json"
SEP5 = MRE + "sep5/"
POLM = MNER + "sep-POLM-NEW/"
GROUNDING = MRE + "mre_train_dict.pth"
DETECTED = "MNER/data/twitter17_detect/twitter17_img2crop.pth"
BOM = b"\xef\xbb\xbf"


def cases(file: str, *rows: Row, **settings: object) -> list[Case]:
    """Rows ``(name, change, *says)`` of one file; ``None`` as change removes it."""
    found = []
    for name, change, *says in rows:
        error = MissingDataError if change is None else DataError
        place = f"{Path(file).name}: {name}"
        found.append(replace(Case(place, file, change, error, tuple(says)), **settings))  # type: ignore[arg-type]
    return found


def first_line_of(name: str) -> Callable[[bytes], bytes]:
    """Append the first line of another file of the download."""
    return lambda data: data + (Path("../download") / name).read_bytes().split(b"\n")[0] + b"\n"


def only(text: bytes, *, keep: bool) -> Callable[[bytes], bytes]:
    """Keep, or drop, the lines with ``text``."""
    return lambda data: b"".join(x for x in data.splitlines(True) if (text in x) == keep)


CASES = [
    *cases(
        TRAIN,
        ("missing", None, "ours_train.txt: ", "put it there"),
        ("empty", lambda _: b"", "ours_train.txt: ", "empty file"),
        ("byte-order mark", lambda d: BOM + d, ".txt:1: ", "BOM", "save the file as plain UTF-8"),
        ("UTF-16", lambda d: d.decode().encode("utf-16"), "ours_train.txt:1: ", "UTF-16"),
        ("not UTF-8", swap_bytes(b"Bo4'", b"Bo\xe94'"), ".txt:5: ", "expected UTF-8", "0xe9"),
        ("code", line(3, PAYLOAD), ".txt:3: ", "Python dict literal", "makedirs", "executed"),
        ("code in a dict", line(3, "{'token': " + PAYLOAD + "}"), ".txt:3: ", "dict literal"),
        ("half a line", line(3, "{'token': ['a'"), "ours_train.txt:3: ", "dict literal"),
        ("blank line", line(3, "\r"), "ours_train.txt:3: ", "found ''"),
        ("only brackets", line(3, "(" * 100_000), "ours_train.txt:3: ", "dict literal"),
        ("a list", line(2, "[1, 2]"), ".txt:2: ", "a dict with the keys", "list"),
        ("no image key", swap("'img_id'", "'img'"), ".txt:1: ", "'img_id'", "'img'"),
        ("words not a list", swap("['Anna'", "'' and ['Anna'"), ".txt:1: ", "dict literal"),
        ("no words", swap(WORDS, "[]"), ".txt:1: ", "'token' to be a list of words, found []"),
        ("a number as word", swap("'met'", "7"), ".txt:1: ", "words in 'token'"),
        ("image path", swap("'train_0.jpg'", "'../x.jpg'"), ".txt:1: ", "file name", "'../x.jpg'"),
        ("unknown relation", swap("per/peer", "per/pear"), ".txt:1: ", *UNKNOWN_RELATION),
        ("span too far", swap("[3, 4]", "[6, 7]"), ".txt:1: ", "inside the 6 tokens", "[6, 7)"),
        ("span before", swap("[0, 2]", "[-1, 2]"), ".txt:1: ", "[-1, 2)", "correct the span"),
        ("empty span", swap("[0, 2]", "[2, 2]"), ".txt:1: ", "not empty", "[2, 2)"),
        ("span of words", swap("[0, 2]", "['0', '2']"), ".txt:1: ", "[start, end)"),
        ("name is not span", swap("[0, 2]", "[1, 2]"), ".txt:1: ", "tokens 'Lee'", "'Anna Lee'"),
        ("a row twice", repeat_first, "ours_train.txt:81: ", "duplicate of line 1", "remove one"),
    ),
    *cases(
        NAMES,
        ("not JSON", lambda _: b"{", "ours_rel2id.json: ", "expected JSON", "fetch"),
        ("ids not numbers", lambda _: b'{"None": "0"}', "integer ids"),
        ("one id twice", lambda _: b'{"None": 0, "a": 0}', "distinct ids", "fetch"),
    ),
    *cases(SEP5 + "ours_val_2.txt", ("missing", None, "put it there")),
    *cases(SEP5 + "ours_val_2.txt", ("empty", lambda _: b"", "empty file")),
    *cases(
        SEP5 + "ours_train_0.txt",
        ("foreign row", swap("Rome", "Oslo"), ".txt:1: ", "a row of ours_train", "same download"),
        ("code", line(2, PAYLOAD), "ours_train_0.txt:2: ", "Python dict literal"),
        ("a row twice", repeat_first, "ours_train_0.txt:17: ", "duplicate of line 1"),
    ),
    *cases(
        SEP5 + "ours_train_1.txt",
        (
            "relation of two tasks",
            first_line_of(SEP5 + "ours_train_0.txt"),
            ".txt:17: ",
            "one task",
        ),
        ("N/A only", only(b"'None'", keep=True), ".txt:1: ", "a relation besides 'None'"),
    ),
    *cases(
        SEP5 + "ours_val_1.txt",
        ("foreign label", first_line_of(SEP5 + "ours_val_0.txt"), ".txt:9: ", *FOREIGN_LABEL),
    ),
    *cases(
        SEP5 + "ours_test_3.txt",
        ("not cumulative", without_first, "ours_test_2.txt:1: ", "ours_test_3.txt lacks"),
    ),
    *cases(
        TRAIN,
        ("label absent", only(b"neighbor", keep=False), "has the relation '/per/per/neighbor'"),
        build=True,
    ),
    *cases(
        MNER + "train.txt",
        ("missing", None, "train.txt: ", "put it there"),
        ("empty", lambda _: b"", "train.txt: ", "empty file"),
        ("byte-order mark", lambda d: BOM + d, "train.txt:1: ", "BOM"),
        ("not UTF-8", swap_bytes(b"Rome", b"R\xf4me"), "train.txt:7: ", "0xf4"),
        ("orphan I-", swap("Anna\tB-PER", "Anna\tO"), "train.txt:3: ", *ORPHAN, "after O"),
        ("I- at the start", swap("Anna\tB-PER", "Anna\tI-PER"), ":2: ", *ORPHAN, "the start of"),
        ("I- of another type", swap("Lee\tI-PER", "Lee\tI-LOC"), ":3: ", "found it after B-PER"),
        ("unknown tag", swap("B-LOC", "B-GPE"), ":7: ", "PER, LOC, ORG, MISC", "'B-GPE'"),
        ("no tab", swap("Anna\tB-PER", "Anna B-PER"), ":2: ", "word, tab, tag", "'Anna B-PER'"),
        ("no word", swap("Anna\tB-PER", "\tB-PER"), ":2: ", "word, tab, tag"),
        ("no image id", swap("IMGID:train_0\n", ""), ":1: ", "IMGID: line before", "add the line"),
        ("empty image id", swap("IMGID:train_0", "IMGID:"), "train.txt:1: ", "an image id"),
        ("image path", swap("IMGID:train_0", "IMGID:../0"), "train.txt:1: ", "an image id"),
        ("empty sentence", lambda d: b"IMGID:9\n\n" + d, "train.txt:1: ", "empty sentence"),
        ("no blank line", swap("sings\tO\n\n", "sings\tO\n"), ":5: ", "starts at line 1"),
        ("a sentence twice", repeat_sentence, "train.txt:32: ", "duplicate of line 1"),
    ),
    *cases(
        MNER + "train.txt",
        ("label absent", swap("B-MISC", "O"), "no training sentence", "'MISC'"),
        build=True,
    ),
    *cases(POLM + "train_0.txt", ("foreign", swap("Anna", "Ann"), ":1: ", "sentence of train.txt")),
    *cases(POLM + "train_2.txt", ("foreign tag", swap("Bo\tO", "Bo\tB-PER"), ":4: ", *FOREIGN_TAG)),
    *cases(POLM + "train_1.txt", ("in two tasks", lambda d: d + HIDDEN, ":6: ", "of train_0.txt")),
    *cases(
        POLM + "test_1.txt", ("too short", without_first_sentence, ".txt: ", "all 6", "found 5")
    ),
    *cases(
        GROUNDING,
        ("code", saved({0: Payload()}), "carries code", "nothing in it was run"),
        ("a class of ours", saved({0: Path("x")}), "carries code"),
        ("nonsense", lambda _: b"nonsense", "damaged", "fetch the file again"),
        ("empty", lambda _: b"", "empty file"),
        ("cut short", lambda d: saved(CROPS)(d)[:-40], "damaged"),
        ("a list", saved([1]), "expected a dictionary, found list"),
        ("names as keys", saved({"0": ["a"]}), "row numbers as keys, found '0'"),
        ("a row too few", saved({i: ["a"] for i in range(79)}), "80 rows", "row 79 has none"),
        ("a row too many", saved({i: ["a"] for i in range(81)}), "80 rows", "found 81 keys"),
        ("no list", saved({**CROPS, 3: "a.png"}), "list of file names for 3, found 'a.png'"),
        ("a path out", saved({**CROPS, 3: ["../../x"]}), "inside the data folder", "'../../x'"),
        ("absolute", saved({**CROPS, 3: ["/etc/x"]}), "inside the data folder", "'/etc/x'"),
        images="crops",
    ),
    *cases(
        DETECTED,
        ("code", saved({"a": Payload()}), "carries code"),
        ("rows as keys", saved({0: ["a"]}), "image names as keys, found 0"),
        images="crops",
    ),
    *cases(
        TRAIN,
        ("no crops", lambda d: d, "mre_train_dict.pth: ", 'images="image"', BLANK),
        images="crops",
        missing="error",
        error=MissingDataError,
    ),
    *cases(
        TRAIN,
        ("no images", lambda d: d, "img_org/train/train_0.jpg: ", "160 of 160 images", BLANK),
        missing="error",
        error=ImageError,
    ),
    *cases(
        MNER + "train.txt",
        ("no images", lambda d: d, "twitter2017_images/train_0.jpg: ", "16 of 16 images", BLANK),
        missing="error",
        error=ImageError,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case, download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    path = download / case.file
    if case.change is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.change(path.read_bytes() if path.exists() else b""))
    before = {p: p.stat().st_mtime_ns for p in download.rglob("*")}
    relation = case.file.startswith("MRE")
    stream: Callable[..., TaskStream] = imre_stream if relation else imner_stream
    settings: dict[str, object] = {"tasks": 5} if relation else {}
    settings |= {"images": case.images, "missing_images": case.missing, "build": case.build}
    with pytest.raises(case.error) as caught:
        stream(download, **settings)
    message = str(caught.value)
    assert all(part in message for part in case.says), message
    assert type(caught.value) is case.error
    assert not (work / "PWNED").exists()
    assert {p: p.stat().st_mtime_ns for p in download.rglob("*")} == before


def test_the_payload_would_run_if_it_were_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table's payload is live: without this, the rows above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    function, arguments = Payload().__reduce__()
    function(*arguments)  # type: ignore[operator,misc]
    assert (tmp_path / "PWNED").is_dir()


@pytest.mark.parametrize("name", [TRAIN, MNER + "train.txt", SEP5 + "ours_train_0.txt"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_both_line_ends_are_fine(download: Path, name: str, end: bytes) -> None:
    def tasks() -> list[object]:
        relation = imre_stream(download, tasks=5, missing_images="blank")
        return [relation.tasks, imner_stream(download, missing_images="blank").tasks]

    before = tasks()
    path = download / name
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end))
    assert tasks() == before


def test_no_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MKGC_DATA", raising=False)
    for stream in (imre_stream, imner_stream):
        with pytest.raises(MissingDataError, match="holds MRE/ and MNER/, or set MKGC_DATA"):
            stream()
        with pytest.raises(MissingDataError, match="no such folder"):
            stream(tmp_path / "gone")


def test_split_names_are_checked(download: Path) -> None:
    from mkgc_cl.data.mre import read_mre

    with pytest.raises(ConfigError, match="train, val, test, found 'valid'"):
        read_mre(download / TRAIN, split="valid")
