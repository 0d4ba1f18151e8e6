"""One table of bad input: what is wrong, which error, and what its message must tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from broken_files import (
    DETECTED,
    GROUNDING,
    JPEG,
    MNER,
    NAMES,
    PAYLOAD,
    PICTURE,
    POLM,
    SEP5,
    TRAIN,
    Payload,
    encoded,
    first_line_of,
    line,
    only,
    repeat_first,
    repeat_sentence,
    saved,
    swap,
    swap_bytes,
    without_first,
    without_first_sentence,
)
from user_acts import (
    Act,
    changed,
    empty_experience,
    first,
    load_exemplars,
    relations,
    score_after,
    settings,
    show,
    tags,
    task_with,
    train,
)

from mkgc_cl.data.mre import read_mre
from mkgc_cl.errors import (
    ConfigError,
    DataError,
    ImageError,
    MissingDataError,
    MkgcError,
    TrainingError,
)

# What messages must say, where a row has no room for it.
WORDS = "['Anna', 'Lee', 'met', 'Bo0', 'in', 'Rome']"
UNKNOWN_RELATION = ("one of the 22 relations", "'/per/per/pear'", "did you mean '/per/per/")
FOREIGN_LABEL = ("only relations the task's training file has", "/per/per/peer")
FOREIGN_TAG = ("expected the tag O for 'Bo'", "types LOC only", "B-PER")
ORPHAN = ("I-PER to follow B-PER", "an entity starts with B-PER")
NAN_POSTS = ("in task 'T1' on posts ['mre/", "lower the learning rate or look at these posts")
BLANK = 'missing_images="blank"'
# A sentence of train_0.txt as another task would show it.
HIDDEN = b"IMGID:train_0\nAnna\tO\nLee\tO\nsings\tO\n\n"
CROPS: dict[int, object] = {i: [f"{i}_a.png"] for i in range(80)}
BOM = b"\xef\xbb\xbf"

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    ``file`` of a miniature download is broken by ``change`` (bytes in, bytes out; ``None`` removes
    the file; no file, no break); ``act`` then raises ``error`` with each of ``says`` in its
    message.
    """

    name: str
    error: type[MkgcError]
    says: tuple[str, ...]
    act: Act
    file: str = ""
    change: Callable[[bytes], bytes] | None = None


def cases(
    file: str,
    *rows: Row,
    act: Act | None = None,
    error: type[MkgcError] = DataError,
    **options: object,
) -> list[Case]:
    """Rows ``(name, change, *says)`` of one file; ``None`` as change removes it."""
    read = relations if file.startswith("MRE") else tags
    found = []
    for name, change, *says in rows:
        found.append(
            Case(
                f"{Path(file).name}: {name}",
                MissingDataError if change is None else error,
                tuple(says),
                act or (lambda root: read(root, **options)),
                file,
                change,
            )
        )
    return found


def wrong(error: type[MkgcError], *rows: Row) -> list[Case]:
    """Rows ``(name, act, *says)`` in which no file is broken."""
    return [Case(name, error, tuple(says), act) for name, act, *says in rows]


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
        missing_images="error",
        error=MissingDataError,
    ),
    *cases(
        TRAIN,
        ("no images", lambda d: d, "img_org/train/train_0.jpg: ", "160 of 160 images", BLANK),
        missing_images="error",
        error=ImageError,
    ),
    *cases(
        MNER + "train.txt",
        ("no images", lambda d: d, "twitter2017_images/train_0.jpg: ", "16 of 16 images", BLANK),
        missing_images="error",
        error=ImageError,
    ),
    *cases(
        PICTURE,
        ("truncated JPEG", lambda _: JPEG[: len(JPEG) // 2], "damaged", "fetch it again"),
        ("empty", lambda _: b"", "the file is empty"),
        ("a web page", lambda _: b"404: Not Found", "expected an image", "b'404: Not Fou'"),
        ("floating point", lambda _: encoded("F", "TIFF"), "floating-point"),
        act=show,
        error=ImageError,
    ),
    *wrong(
        MissingDataError,
        ("no such root", lambda root: tags(root / "gone"), "gone: ", "no such folder"),
        ("a file as root", lambda root: tags(root / TRAIN), "ours_train.txt", "folder"),
        ("a root one too deep", lambda root: tags(root / "MNER"), "MNER", "put it there"),
        ("no root at all", lambda _: tags(None), "holds MRE/ and MNER/, or set MKGC_DATA"),
    ),
    *wrong(
        DataError,
        ("own span outside", changed(first(tail=(6, 9))), "mre/train/0: ", "[6, 9)", "correct"),
        ("own span empty", changed(first(head=(2, 2))), "mre/train/0: ", "not empty", "[2, 2)"),
        ("own post of no words", changed(first(tokens=())), "mre/train/0: ", "at least one word"),
        (
            "own orphan I-",
            changed(first(tags=("O", "I-PER", "O")), tags),
            "sample mner/train/0: ",
            "I-PER of 'Lee' to follow B-PER or I-PER",
            "found it after O",
            "starts with B-PER",
        ),
        ("own tag too few", changed(first(tags=("O",)), tags), "/0: ", "3 words", "found 1 tags"),
        ("own unknown class", changed(first(relation="foe")), "/0: ", "'foe'", "one of the stream"),
        ("own uid twice", changed(first(uid="mre/train/2")), "/2: used twice", "uid of its own"),
        ("own empty task", changed(task_with(train=())), "'T1' has no training", "drop the task"),
        ("own class of nobody", changed(task_with(classes=())), "belongs to exactly one task"),
        (
            "a post too long",
            lambda root: show(root, max_text_length=8),
            "sample mre/train/0: ",
            "12 tokens, but the model takes 8",
            "max_text_length=12 or more, or shorten",
        ),
        ("foreign exemplars", load_exemplars, "mre/train/999", "load with the stream"),
    ),
    *wrong(
        TrainingError,
        ("loss not finite", train(lr=1e38, epochs=2), "the loss is nan", *NAN_POSTS),
        ("weights not finite", train(lr=1e38), "the features are nan", *NAN_POSTS),
        ("scores not finite", score_after(lr=1e38, memory=False), "scores are nan", *NAN_POSTS),
        ("empty experience", empty_experience, "'T1' has no samples to train on"),
    ),
    *wrong(
        ConfigError,
        ("no epochs", train(epochs=0), "train_epochs=0", "give 1 or more"),
        ("no posts a step", train(batch_size=0), "train_mb_size=0", "give 1 or more"),
        ("less than no memory", train(memory_size=-1), "size=-1", "give 0 or more"),
        ("unknown selection", train(selection="best"), "'best'", "choose one of ['kmeans', 'herd"),
        ("negative alpha", train(alpha=-1.0), "alpha=-1.0", "give 0 or more"),
        ("negative lambda", train(ad_weight=-1.0), "weight=-1.0", "give 0 or more"),
        ("bf16 on a CPU", train(precision="bf16"), "device cpu has no bfloat16", "use 'fp32'"),
        ("unknown key", settings("epchs=3"), "'epchs'", "did you mean 'epochs'?"),
        ("not a number", settings("epochs=many"), "'epochs' must be a whole number", "'many'"),
        ("too small", settings("epochs=0"), "'epochs' must be", "0"),
        (
            "unknown split",
            lambda root: read_mre(root / TRAIN, split="dev"),
            "train, val, test",
            "'dev'",
        ),
        ("no such choice", settings("device=tpu"), "one of 'cpu', 'cuda', got 'tpu'"),
        (
            "code in a setting",
            settings("device=!!python/object/apply:os.makedirs [PWNED]"),
            "the value is not YAML",
        ),
        ("code as a setting", settings(f"epochs={PAYLOAD}"), "'epochs' must be a whole number"),
    ),
]


def everything_below(*folders: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for folder in folders for p in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case, download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, cache = tmp_path / "work", tmp_path / "cache"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("MKGC_CACHE", str(cache))
    monkeypatch.delenv("MKGC_DATA", raising=False)
    path = download / case.file
    if case.file and case.change is None:
        path.unlink()
    elif case.change is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.change(path.read_bytes() if path.exists() else b""))
    before = everything_below(download, work)
    with pytest.raises(case.error) as caught:
        case.act(download)
    message = str(caught.value)
    assert all(part in message for part in case.says), message
    assert type(caught.value) is case.error
    assert not (work / "PWNED").exists()
    assert everything_below(download, work) == before
    assert not [p for p in cache.rglob("*") if p.suffix == ".tmp"]


def test_the_payload_would_run_if_it_were_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table's payload is live: without this, the rows above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    function, arguments = Payload().__reduce__()
    function(*arguments)  # type: ignore[operator,misc]
    assert (tmp_path / "PWNED").is_dir()
