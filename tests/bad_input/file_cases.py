"""Rows of the table in which a file of the download is broken."""

from __future__ import annotations

from fractions import Fraction

from broken_files import (
    DETECTED,
    GROUNDING,
    IMAGE,
    JPEG,
    MNER,
    NAMES,
    PAYLOAD,
    PNG,
    POLM,
    SEP5,
    TRAIN,
    Payload,
    declared,
    encoded,
    line,
    line_of,
    only,
    repeat_first,
    repeat_sentence,
    saved,
    saved_nest,
    swap,
    swap_bytes,
    without_first,
    without_first_sentence,
)
from cases import cases
from user_acts import show

from mkgc_cl.errors import ImageError, MissingDataError

# What messages must say, where a row has no room for it.
WORDS = "['Anna', 'Lee', 'met', 'Bo0', 'in', 'Rome']"
UNKNOWN_RELATION = ("one of the 22 relations", "'/per/per/pear'", "did you mean '/per/per/")
FOREIGN_LABEL = ("only relations the task's training file has", "/per/per/peer", "fetch the split")
FOREIGN_TAG = ("expected the tag O for 'Bo'", "types LOC only", "B-PER", "fetch the file")
ORPHAN = ("expected tags in BIO, found I-PER", "give repair='conlleval'")
BLANK = 'missing_images="blank"'
FIX = "correct or remove the line"
FETCH = "fetch the file again"
AGAIN = "fetch it again"
SPLITS = "fetch the split files again"
# A sentence of train_0.txt as another task would show it.
HIDDEN = b"IMGID:train_0\nAnna\tO\nLee\tO\nsings\tO\n\n"
HUGE = "0x" + "f" * 5000  # as decimal digits Python would not even read it
CROPS: dict[int, object] = {i: [f"{i}_a.png"] for i in range(80)}
BOM = b"\xef\xbb\xbf"

FILE_CASES = [
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
        ("blank line", line(3, "\r"), "ours_train.txt:3: ", "found ''", FIX),
        ("only brackets", line(3, "(" * 100_000), "ours_train.txt:3: ", "dict literal"),
        ("a list", line(2, "[1, 2]"), ".txt:2: ", "a dict with the keys", "list", FIX),
        ("no image key", swap("'img_id'", "'img'"), ".txt:1: ", "'img_id'", "'img'", FIX),
        ("words not a list", swap("['Anna'", "'' and ['Anna'"), ".txt:1: ", "dict literal"),
        ("no words", swap(WORDS, "[]"), ".txt:1: ", "a list of words, found []", FIX),
        ("a number as word", swap("'met'", "7"), ".txt:1: ", "words in 'token'", "7", FIX),
        ("image path", swap("'train_0.jpg'", "'../x.jpg'"), ":1: ", "file name", "'../x.jpg'", FIX),
        ("image on a drive", swap("'train_0.jpg'", "'D:x.jpg'"), ":1: ", "file name", "'D:x.jpg'"),
        ("unknown relation", swap("per/peer", "per/pear"), ".txt:1: ", *UNKNOWN_RELATION),
        ("relation unlike any", swap("/per/per/peer", "foe"), ".txt:1: ", "'foe'", "correct it or"),
        ("a number as relation", swap("'/per/per/peer'", "5"), ".txt:1: ", "string, found 5", FIX),
        ("span too far", swap("[3, 4]", "[6, 7]"), ".txt:1: ", "inside the 6 tokens", "[6, 7)"),
        ("span before", swap("[0, 2]", "[-1, 2]"), ".txt:1: ", "[-1, 2)", "correct the span"),
        ("empty span", swap("[0, 2]", "[2, 2]"), ".txt:1: ", "not empty", "[2, 2)"),
        ("span of words", swap("[0, 2]", "['0', '2']"), ".txt:1: ", "[start, end)", "'0'", FIX),
        ("no span", swap("'pos': [0", "'span': [0"), ".txt:1: ", "'name' and 'pos'", "'span'", FIX),
        (
            "name is not span",
            swap("[0, 2]", "[1, 2]"),
            ".txt:1: ",
            "'Lee'",
            "'Anna Lee'",
            "correct",
        ),
        ("a row twice", repeat_first, "ours_train.txt:81: ", "duplicate of line 1", "remove one"),
        ("5,000 digits", line(1, "{1: " + "9" * 5000 + "}"), ".txt:1: ", "dict literal", "'{1: 9"),
        (
            "a word of 5,000 digits",
            swap("'met'", HUGE),
            ".txt:1: ",
            "words in 'token'",
            "too large",
        ),
        ("a key of 5,000 digits", swap("'img_id'", HUGE), ".txt:1: ", "dict with the", "too large"),
        ("a span of 5,000 digits", swap("[3, 4]", f"[3, {HUGE}]"), ".txt:1: ", "int too large"),
        ("half a surrogate pair", swap("'met'", r"'\ud83d'"), ".txt:1: ", "words", r"\ud83d", FIX),
        (
            "half an image id",
            swap("'train_0", r"'\ud83d"),
            ".txt:1: ",
            "file name",
            r"'\ud83d",
            FIX,
        ),
        (
            "half a relation",
            swap("/per/per/peer", r"\ud83d"),
            ".txt:1: ",
            "string",
            r"'\ud83d'",
            FIX,
        ),
        ("a line without end", line(1, "[" * 1_000_001), ".txt:1: ", "dict literal", "found '[[["),
    ),
    *cases(
        NAMES,
        ("empty", lambda _: b"", "ours_rel2id.json: expected data, found an empty file", FETCH),
        ("not JSON", lambda _: b"{", "ours_rel2id.json: ", "expected JSON", FETCH),
        ("not UTF-8", lambda _: b'{"None": 0, "\xe9": 1}', "expected JSON", "0xe9", FETCH),
        ("code", lambda _: PAYLOAD.encode(), "expected JSON", FETCH),
        ("ids not numbers", lambda _: b'{"None": "0"}', "integer ids", "{'None': '0'}", FETCH),
        ("one id twice", lambda _: b'{"None": 0, "a": 0}', "distinct ids", "'a': 0", FETCH),
        ("no N/A", lambda _: b'{"a": 0}', "negative relation 'None'", "found only a", "give"),
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
            line_of(SEP5 + "ours_train_0.txt"),
            ".txt:17: ",
            "each relation in one task",
            "'/per/per/peer', which ours_train_0.txt has too",
            SPLITS,
        ),
        (
            "row of two tasks",
            line_of(SEP5 + "ours_train_0.txt", -1),
            ".txt:17: ",
            "each row in one task, found a row of ours_train_0.txt:16",
            SPLITS,
        ),
        ("N/A only", only(b"'None'", keep=True), ".txt:1: ", "a relation besides 'None'", SPLITS),
    ),
    *cases(
        SEP5 + "ours_val_1.txt",
        ("foreign label", line_of(SEP5 + "ours_val_0.txt"), ".txt:9: ", *FOREIGN_LABEL),
    ),
    *cases(
        SEP5 + "ours_test_3.txt",
        ("not cumulative", without_first, "ours_test_2.txt:1: ", "ours_test_3.txt lacks", SPLITS),
    ),
    *cases(
        TRAIN,
        (
            "label absent",
            only(b"neighbor", keep=False),
            "expected rows of the relation '/per/per/neighbor', found none",
            "give classes= of those it has: ['/loc/loc/contain', ",
        ),
        build=True,
    ),
    *cases(
        MNER + "train.txt",
        ("missing", None, "train.txt: ", "put it there"),
        ("empty", lambda _: b"", "train.txt: ", "empty file"),
        ("byte-order mark", lambda d: BOM + d, "train.txt:1: ", "BOM"),
        ("not UTF-8", swap_bytes(b"Rome", b"R\xf4me"), "train.txt:7: ", "0xf4"),
        ("code", line(2, PAYLOAD), "train.txt:2: ", "2 columns, found 1", "makedirs", FIX),
        ("code as a tag", swap("B-LOC", PAYLOAD), "train.txt:7: ", "the tag", "makedirs"),
        ("orphan I-", swap("Anna\tB-PER", "Anna\tO"), "train.txt:3: ", *ORPHAN, "after O"),
        ("I- at the start", swap("Anna\tB-PER", "Anna\tI-PER"), ":2: ", *ORPHAN, "at the start"),
        ("I- of another type", swap("Lee\tI-PER", "Lee\tI-LOC"), ":3: ", "I-LOC after B-PER"),
        (
            "unknown tag",
            swap("B-LOC", "B-GPE"),
            ":7: ",
            "LOC, MISC, ORG, PER",
            "'B-GPE'",
            "correct the tag, or read the files with stream_from_files",
        ),
        (
            "no tab",
            swap("Anna\tB-PER", "Anna B-PER"),
            ":2: ",
            "2 columns, found 1",
            "'Anna B-PER'",
            FIX,
        ),
        ("no word", swap("Anna\tB-PER", "\tB-PER"), ":2: ", "a word in column 0", FIX),
        ("no image id", swap("IMGID:train_0\n", ""), ":1: ", "IMGID: line before", "add the line"),
        (
            "empty image id",
            swap("IMGID:train_0", "IMGID:"),
            ":1: ",
            "name of an image",
            "found ''",
            FIX,
        ),
        (
            "image path",
            swap("IMGID:train_0", "IMGID:../0"),
            ":1: ",
            "inside its folder, found '../0'",
        ),
        ("empty sentence", lambda d: b"IMGID:9\n\n" + d, "train.txt:1: ", "empty sentence"),
        ("a sentence twice", repeat_sentence, "train.txt:32: ", "duplicate of line 1"),
    ),
    *cases(
        MNER + "train.txt",
        (
            "label absent",
            swap("B-MISC", "O"),
            "expected sentences for the type 'MISC' (rule 'priority'), found none",
            "fetch the file again",
        ),
        build=True,
    ),
    *cases(POLM + "train_0.txt", ("foreign", swap("Anna", "Ann"), ":1: ", "sentence of train.txt")),
    *cases(POLM + "train_2.txt", ("foreign tag", swap("Bo\tO", "Bo\tB-PER"), ":4: ", *FOREIGN_TAG)),
    *cases(
        POLM + "train_1.txt",
        ("in two tasks", lambda d: d + HIDDEN, ":6: ", "of train_0.txt", SPLITS),
    ),
    *cases(
        POLM + "test_1.txt", ("too short", without_first_sentence, ".txt: ", "all 6", "found 5")
    ),
    *cases(
        GROUNDING,
        ("code", saved({0: Payload()}), "code (os.makedirs)", "nothing in it was run", FETCH),
        ("a class", saved({0: Fraction(1)}), "plain dictionary", "code (fractions.Fraction)"),
        ("nonsense", lambda _: b"nonsense", "plain dictionary", "damaged", FETCH),
        ("empty", lambda _: b"", "empty file"),
        ("cut short", lambda d: saved(CROPS)(d)[:-40], "damaged"),
        ("a list", saved([1]), "expected a dictionary, found list", FETCH),
        ("names as keys", saved({"0": ["a"]}), "row numbers as keys, found '0'", FETCH),
        ("a row too few", saved({i: ["a"] for i in range(79)}), "80 rows", "row 79 has none"),
        ("a row too many", saved({i: ["a"] for i in range(81)}), "80 rows", "81 keys", "same down"),
        ("no list", saved({**CROPS, 3: "a.png"}), "list of file names for 3, found 'a.png'", FETCH),
        ("a path out", saved({**CROPS, 3: ["../../x"]}), "inside the data folder", "'../../x'"),
        ("out on Windows", saved({**CROPS, 3: ["a\\..\\..\\x"]}), "inside the data folder", "x'"),
        ("a drive", saved({**CROPS, 3: ["D:x"]}), "inside the data folder", "'D:x'"),
        ("absolute", saved({**CROPS, 3: ["/etc/x"]}), "inside the data folder", "'/etc/x'"),
        ("half a name", saved({**CROPS, 3: ["\ud83d"]}), "inside the data folder", r"'\ud83d'"),
        ("a deep list", saved_nest(100_000), "list of file names for 0, found list too large"),
        images="crops",
    ),
    *cases(
        DETECTED,
        ("code", saved({"a": Payload()}), "code (os.makedirs)", "nothing in it was run"),
        ("rows as keys", saved({0: ["a"]}), "image names as keys, found 0", FETCH),
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
        IMAGE,
        ("all others missing", lambda _: JPEG, "train/train_2.jpg: ", "159 of 160 images", BLANK),
        missing_images="error",
        error=ImageError,
    ),
    *cases(
        IMAGE,
        ("truncated JPEG", lambda _: JPEG[: len(JPEG) // 2], "damaged", AGAIN),
        ("JPEG cut in its header", lambda _: JPEG[:200], "damaged", AGAIN),
        ("truncated PNG", lambda _: PNG[: len(PNG) // 2], "damaged", AGAIN),
        ("bit rot", lambda _: PNG[:60] + bytes(30) + PNG[90:], "damaged", AGAIN),
        ("empty", lambda _: b"", "the file is empty", "fetch the image again"),
        ("a web page", lambda _: b"404: Not Found", "expected an image", "b'404: Not Fou'"),
        ("code", saved(Payload()), "expected an image", "fetch the image again"),
        ("floating point", lambda _: encoded("F", "TIFF"), "floating-point", "in 8 bits"),
        ("bomb", lambda _: declared(60_000, 60_000), "at most 25,000,000", "shrink the image"),
        ("too large", lambda _: declared(5_001, 5_000), "5001 x 5000", "at most 25,000,000"),
        (
            "PostScript",
            lambda _: b"%!PS-Adobe-3.0 EPSF-3.0",
            "JPEG, PNG, WEBP, GIF, BMP, TIFF",
            "%!PS",
        ),
        ("PPM", lambda _: encoded("RGB", "PPM"), "JPEG, PNG, WEBP, GIF, BMP, TIFF", "b'P6"),
        act=show,
        error=ImageError,
    ),
]
