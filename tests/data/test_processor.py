"""From samples to batches: markers that nest, words in place, images joined by identity."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.images import BLANK, BLANK_GREY, FileImage
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import (
    LabelSpace,
    RelationSample,
    Sample,
    TaggingSample,
    VisualInput,
)
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import DataError, ImageError

RELATIONS = LabelSpace("re", ("peer", "part_of"), na="None")
TAGS = LabelSpace("ner", ("PER", "LOC"))
HEAD_OPEN, HEAD_CLOSE, TAIL_OPEN, TAIL_CLOSE = 3, 4, 5, 6


@dataclass(frozen=True)
class Flat:
    """An image of one colour."""

    grey: int

    @property
    def key(self) -> str:
        return f"flat/{self.grey}"

    def read(self) -> Image.Image:
        return Image.new("RGB", (20, 20), (self.grey, 0, 255 - self.grey))

    def fingerprint(self) -> str:
        return self.key


class LetterTokenizer(HashTokenizer):
    """One piece a letter; a word of n letters becomes n tokens, 100 + its code points."""

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        return [[100 + ord(letter) for letter in word] or [99] for word in words]


def processor(
    labels: LabelSpace = RELATIONS,
    *,
    longest: int = 64,
    views: ViewPlan | None = None,
    tokenizer: Any = None,
) -> Processor:
    return Processor(
        labels,
        tokenizer=tokenizer or LetterTokenizer(buckets=10),
        max_text_length=longest,
        views=views or ViewPlan(image=8),
    )


def relation(
    words: str, head: tuple[int, int], tail: tuple[int, int], uid: str = "mre/train/7", **more: Any
) -> RelationSample:
    return RelationSample(uid, tuple(words.split()), head, tail, more.pop("label", "peer"), **more)


def spell(ids: Sequence[int]) -> str:
    """Ids back to something to read."""
    names = {1: "^", 2: "$", 3: "<s>", 4: "</s>", 5: "<o>", 6: "</o>"}
    return " ".join(names.get(i, chr(i - 100) if i >= 100 else str(i)) for i in ids)


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ((0, 1), (2, 3), "^ <s> a </s> b <o> c </o> d $"),
        ((2, 3), (0, 1), "^ <o> a </o> b <s> c </s> d $"),
        ((2, 4), (0, 1), "^ <o> a </o> b <s> c d </s> $"),  # the head ends the sample
        ((0, 2), (2, 4), "^ <s> a b </s> <o> c d </o> $"),  # the tail starts where the head ends
        ((2, 4), (0, 2), "^ <o> a b </o> <s> c d </s> $"),  # the head starts where the tail ends
        ((0, 4), (1, 2), "^ <s> a <o> b </o> c d </s> $"),
        ((1, 2), (0, 4), "^ <o> a <s> b </s> c d </o> $"),
        ((0, 2), (0, 4), "^ <o> <s> a b </s> c d </o> $"),
        ((0, 4), (0, 2), "^ <s> <o> a b </o> c d </s> $"),
        ((2, 4), (0, 4), "^ <o> a b <s> c d </s> </o> $"),
        ((0, 4), (2, 4), "^ <s> a b <o> c d </o> </s> $"),
        ((1, 3), (1, 3), "^ a <s> <o> b c </o> </s> d $"),
        ((0, 3), (1, 4), "^ <s> a <o> b c </s> d </o> $"),  # these two cannot nest
    ],
)
def test_markers_stand_round_both_entities(
    head: tuple[int, int], tail: tuple[int, int], expected: str
) -> None:
    assert spell(processor().encode(relation("a b c d", head, tail)).input_ids) == expected


SPANS = st.tuples(st.integers(0, 5), st.integers(1, 6)).filter(lambda span: span[0] < span[1])


@pytest.mark.slow
@settings(deadline=None)
@given(
    words=st.lists(st.text("abc", max_size=3), min_size=6, max_size=8),
    head=SPANS,
    tail=SPANS,
    swap=st.booleans(),
)
def test_markers_for_any_two_spans(
    words: list[str], head: tuple[int, int], tail: tuple[int, int], swap: bool
) -> None:
    """Take the markers out and the words are left; put a span's words between and it closes."""
    tokenizer = LetterTokenizer(buckets=10)
    if swap:  # nothing may hang on the order of the ids themselves
        tokenizer.marker_ids = (6, 5, 4, 3)
    sample = RelationSample("x", tuple(words), head, tail, "peer")
    encoded = processor(tokenizer=tokenizer).encode(sample)
    ids = list(encoded.input_ids)
    plain = [piece for pieces in tokenizer.encode_words(words) for piece in pieces]
    assert ids[0] == tokenizer.cls_id
    assert ids[-1] == tokenizer.sep_id
    assert [i for i in ids[1:-1] if i not in tokenizer.marker_ids] == plain
    assert all(ids.count(marker) == 1 for marker in tokenizer.marker_ids)
    head_open, head_close, tail_open, tail_close = (ids.index(m) for m in tokenizer.marker_ids)
    assert encoded.starts == (head_open, tail_open)
    for (start, end), first, last in (
        (head, head_open, head_close),
        (tail, tail_open, tail_close),
    ):
        between = [i for i in ids[first:last] if i not in tokenizer.marker_ids]
        pieces = tokenizer.encode_words(words[start:end])
        assert between == [piece for word in pieces for piece in word]
    crossed = head_open < tail_open < head_close < tail_close
    crossed |= tail_open < head_open < tail_close < head_close
    overlap = max(head[0], tail[0]) < min(head[1], tail[1])
    inside = (head[0] <= tail[0] and tail[1] <= head[1]) or (
        tail[0] <= head[0] and head[1] <= tail[1]
    )
    assert crossed is (overlap and not inside)


def test_tagged_words_start_at_their_first_piece() -> None:
    sample = TaggingSample("x", ("ab", "", "cde"), ("B-PER", "O", "B-LOC"))
    encoded = processor(TAGS).encode(sample)
    assert encoded.input_ids == (1, 197, 198, 99, 199, 200, 201, 2)
    assert encoded.starts == (1, 3, 4)
    assert processor(TAGS).target(sample) == (1, 0, 3)


@pytest.mark.parametrize("kind", ["re", "ner"])
def test_a_sample_that_is_too_long_is_named(kind: str) -> None:
    sample: Sample = relation("abc de f", (0, 1), (2, 3))
    needed = 2 + 6 + 4
    if kind == "ner":
        sample, needed = TaggingSample("mner/test/3", ("abc", "de", "f"), ("O",) * 3), 8
    labels = RELATIONS if kind == "re" else TAGS
    assert len(processor(labels, longest=needed).encode(sample).input_ids) == needed
    assert processor(labels, longest=needed).length(sample) == needed
    message = rf"sample {sample.uid}: {needed} tokens, but .*max_text_length={needed}"
    with pytest.raises(DataError, match=message) as caught:
        processor(labels, longest=needed - 1).prepare([sample])
    assert caught.value.sample == sample.uid


def test_a_label_the_stream_does_not_have_is_named() -> None:
    with pytest.raises(DataError, match=r"sample mre/train/7: label 'enemy' .*'part_of'"):
        processor().prepare([relation("a b", (0, 1), (1, 2), label="enemy")])
    with pytest.raises(DataError, match=r"sample x: label 'B-DOG'"):
        processor(TAGS).target(TaggingSample("x", ("a",), ("B-DOG",)))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    cut, gone = (VisualInput(FileImage(tmp_path / name)) for name in ("cut.jpg", "gone.jpg"))
    blank = VisualInput(BLANK)
    samples = [
        relation("a b", (0, 1), (1, 2), uid="fine", visual=blank),
        relation("abcdef g", (0, 1), (1, 2), uid="long", visual=blank),  # 2 + 7 + 4 tokens
        relation("abcdefgh i", (0, 1), (1, 2), uid="longer", visual=blank, label="enemy"),
        relation("a b", (0, 1), (1, 2), uid="bare", visual=VisualInput()),
        relation("a b", (0, 1), (1, 2), uid="cut", visual=cut),
        relation("a b", (0, 1), (1, 2), uid="gone", visual=gone),
        relation("a b", (0, 1), (1, 2), uid="again", visual=cut),
    ]
    read = processor(longest=8)
    with pytest.raises(DataError, match="6 mistakes in the data") as caught:
        read.prepare(samples)
    problems = caught.value.problems
    assert [p.sample for p in problems] == ["long", "longer", "longer", "bare", None, None]
    assert [p.path and p.path.name for p in problems[-2:]] == ["cut.jpg", "gone.jpg"]
    # advice that is right for all
    assert [str(p).count("max_text_length=15 or more") for p in problems] == [1, 1, 0, 0, 0, 0]
    assert type(caught.value) is DataError
    with pytest.raises(ImageError) as caught:
        read.prepare(samples[-3:])
    assert len(caught.value.problems) == 2
    read.prepare(samples[:1])


def test_words_that_cannot_be_read_are_named() -> None:
    for words in ((), ("a", "\ud83d")):
        with pytest.raises(DataError, match=r"sample x: expected .*words?"):
            processor(TAGS).encode(TaggingSample("x", words, ("O",) * len(words)))
    with pytest.raises(DataError, match="sample mre/train/7: expected a tail span"):
        processor().encode(relation("a b", (0, 1), (1, 3)))


def test_an_error_leaves_nothing_behind() -> None:
    """The second try fails like the first, and a corrected sample goes through."""
    short = processor(longest=9)
    long = relation("abcdef g", (0, 1), (1, 2))
    for _ in range(2):
        with pytest.raises(DataError):
            short.encode(long)
    assert short.length(relation("ab g", (0, 1), (1, 2))) == 9


def test_one_uid_never_returns_another_samples_text() -> None:
    """Where two samples share a uid all the same, neither gets the other's text."""
    own = processor()
    first = relation("a b c", (0, 1), (1, 2))
    again = replace(first, tail=(2, 3))
    other = replace(first, tokens=("x", "b", "c"))
    encoded = [spell(own.encode(sample).input_ids) for sample in (first, again, other)]
    assert encoded == [
        "^ <s> a </s> <o> b </o> c $",
        "^ <s> a </s> b <o> c </o> $",
        "^ <s> x </s> <o> b </o> c $",
    ]


def test_text_is_encoded_once() -> None:
    class Counting(LetterTokenizer):
        calls = 0

        def encode_words(self, words: Sequence[str]) -> list[list[int]]:
            self.calls += 1
            return super().encode_words(words)

    tokenizer = Counting(buckets=10)
    own = processor(tokenizer=tokenizer, views=ViewPlan(image=0))
    sample = relation("a b c", (0, 1), (1, 2))
    own.prepare([sample])
    own.collate([sample, sample])
    own.length(sample)
    assert tokenizer.calls == 1


def test_a_copy_of_the_processor_is_the_processor() -> None:
    own = processor()
    held = {"processor": own}
    assert copy.deepcopy(held)["processor"] is own


def test_relations_collate_to_padded_batches() -> None:
    a = relation("a bb c", (0, 1), (2, 3), uid="a", visual=VisualInput(Flat(10)))
    b = relation("d e", (1, 2), (0, 1), uid="b", label="None", visual=VisualInput(Flat(20)))
    c = replace(a, uid="c", relation="part_of")
    batch, targets = processor().collate([a, b, c])
    assert batch.uids == ("a", "b", "c")
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert shapes == {
        "input_ids": ((3, 10), torch.long),
        "attention_mask": ((3, 10), torch.bool),
        "replayed": ((3,), torch.bool),
        "marker_positions": ((3, 2), torch.long),
        "entities": ((3, 10), torch.long),
        "visual_index": ((3,), torch.long),
        "images": ((2, 3, 8, 8), torch.uint8),
        "crops_present": ((2, 0), torch.bool),
    }
    assert spell(batch["input_ids"][1].tolist()) == "^ <o> d </o> <s> e </s> $ 0 0"
    assert batch["attention_mask"].sum(dim=1).tolist() == [10, 8, 10]
    assert not batch["attention_mask"][1, 8:].any()
    assert batch["marker_positions"].tolist() == [[1, 6], [4, 1], [1, 6]]
    of_a = [0, 0, 1, 0, 0, 0, 0, 2, 0, 0]  # ^ <s> a </s> b b <o> c </o> $
    assert batch["entities"].tolist() == [of_a, [0, 0, 2, 0, 0, 1, 0, 0, 0, 0], of_a]
    assert batch["visual_index"].tolist() == [0, 1, 0]
    assert (targets.tolist(), targets.dtype) == ([1, 0, 2], torch.long)
    assert batch["images"][:, :, 0, 0].tolist() == [[10, 0, 245], [20, 0, 235]]


def test_tags_collate_with_ignored_padding() -> None:
    long = TaggingSample("a", ("ab", "c", "d"), ("B-PER", "I-PER", "O"))
    short = TaggingSample("b", ("e",), ("B-LOC",))
    batch, targets = processor(TAGS, views=ViewPlan(image=0)).collate([short, long])
    assert targets.tolist() == [[3, -100, -100], [1, 2, 0]]
    assert batch["word_mask"].tolist() == [[True, False, False], [True] * 3]
    assert batch["word_starts"].tolist() == [[1, 0, 0], [1, 3, 4]]
    assert batch["word_mask"].dtype == torch.bool
    assert "marker_positions" not in batch
    assert torch.equal(batch["word_mask"], targets != -100)


@dataclass(frozen=True)
class Halves(Flat):
    """Dark on the left, light on the right; red at the top, not at the bottom."""

    def read(self) -> Image.Image:
        pixels = np.zeros((20, 20, 3), dtype=np.uint8)
        pixels[:, 10:] = 200
        pixels[:10, :, 0] = 255
        return Image.fromarray(pixels)


def test_pixels_are_channel_row_column() -> None:
    sample = relation("a b", (0, 1), (1, 2), visual=VisualInput(Halves(-1)))
    image = processor().collate([sample])[0]["images"][0]
    corners = {(y, x): image[:, y, x].tolist() for y in (0, 7) for x in (0, 7)}
    assert corners == {
        (0, 0): [255, 0, 0],
        (0, 7): [255, 200, 200],
        (7, 0): [0, 0, 0],
        (7, 7): [200, 200, 200],
    }


@pytest.mark.parametrize("flags", [None, [False, True, False], [True, True, True]])
def test_replayed_samples_are_flagged(flags: list[bool] | None) -> None:
    samples = [relation("a b", (0, 1), (1, 2), uid=uid) for uid in "abc"]
    batch, _ = processor(views=ViewPlan(image=0)).collate(samples, replayed=flags)
    assert batch["replayed"].tolist() == (flags or [False] * 3)


def crops(*greys: int) -> tuple[Flat, ...]:
    return tuple(Flat(grey) for grey in greys)


def test_crops_fill_their_slots_and_what_lacks_is_marked() -> None:
    views = ViewPlan(image=0, grounding=8, detected=4, crops=2)
    own = processor(views=views)
    images = (
        VisualInput(Flat(1), crops(10, 11, 12), crops(20)),  # a third crop is one too many
        VisualInput(Flat(1), (), ()),
        VisualInput(Flat(2), crops(30), crops(40, 41)),
    )
    samples = [relation("a b", (0, 1), (1, 2), uid=str(i), visual=v) for i, v in enumerate(images)]
    own.prepare(samples)
    batch, _ = own.collate(samples)
    assert "images" not in batch
    assert batch["visual_index"].tolist() == [0, 1, 2]
    assert batch["crops_present"].tolist() == [
        [True, True, True, False],
        [False, False, False, False],
        [True, False, True, True],
    ]
    sides = [tuple(batch[f"crop_{slot}"].shape) for slot in range(4)]
    assert sides == [(3, 3, 8, 8)] * 2 + [(3, 3, 4, 4)] * 2
    greys = [[int(batch[f"crop_{slot}"][row, 0, 0, 0]) for slot in range(4)] for row in range(3)]
    present = batch["crops_present"].numpy()
    assert np.array(greys)[present].tolist() == [10, 11, 20, 30, 40, 41]


@pytest.mark.parametrize(
    ("plan", "sides"),
    [
        (ViewPlan(image=8), ()),
        (ViewPlan(image=0, grounding=8), (8, 8, 8)),
        (ViewPlan(image=8, grounding=8, detected=4, crops=1), (8, 4)),
        (ViewPlan(image=8, detected=4, crops=2), (4, 4)),
    ],
)
def test_view_plan_lists_its_slots(plan: ViewPlan, sides: tuple[int, ...]) -> None:
    assert plan.crop_sides == sides
    sample = relation("a b", (0, 1), (1, 2), visual=VisualInput(Flat(1), crops(2), crops(3)))
    batch, _ = processor(views=plan).collate([sample])
    assert tuple(batch[f"crop_{slot}"].shape[-1] for slot in range(len(sides))) == sides
    assert batch["crops_present"].shape == (1, len(sides))
    # the sample fills the first slot of each kind of crop
    assert batch["crops_present"][0].tolist() == [i % plan.crops == 0 for i in range(len(sides))]


def test_batches_move_select_and_count_as_one() -> None:
    views = ViewPlan(image=8, grounding=8, crops=1)
    samples = [
        relation("a b", (0, 1), (1, 2), uid="a", visual=VisualInput(Flat(1), crops(2))),
        relation("a b c", (0, 1), (1, 2), uid="b", visual=VisualInput(Flat(3))),
        relation("c d", (0, 1), (1, 2), uid="c", visual=VisualInput(Flat(1), crops(2))),
    ]
    batch, _ = processor(views=views).collate(samples, replayed=[False, True, False])
    assert (batch.size(0), batch.size(), batch.size(1)) == (3, 3, batch["input_ids"].shape[1])
    part = batch.select(torch.tensor([2, 1]))
    assert part.uids == ("c", "b")
    assert torch.equal(part["input_ids"], batch["input_ids"][[2, 1]])
    assert part["visual_index"].tolist() == [0, 1]
    assert part["replayed"].tolist() == [False, True]
    for name in ("images", "crop_0", "crops_present"):
        assert torch.equal(part[name], batch[name])
    moved = batch.to("meta")
    assert isinstance(moved, MultimodalBatch)
    assert moved.uids == batch.uids
    assert all(tensor.device.type == "meta" for tensor in moved.values())
    assert all(tensor.device.type == "cpu" for tensor in batch.values())


@pytest.mark.parametrize("ahead", [True, False])
def test_a_whole_image_that_a_sample_lacks_is_an_error(ahead: bool) -> None:
    """A model that looks at it must not read a blank image instead, unless told to."""
    lacking = relation("a b", (0, 1), (1, 2), visual=VisualInput(grounding=(Flat(1),)))
    read = processor(views=ViewPlan(image=8))
    with pytest.raises(DataError, match=r"mre/train/7: .*whole image.*build the stream with"):
        read.prepare([lacking]) if ahead else read.collate([lacking])
    blank = replace(lacking, visual=VisualInput(BLANK))
    assert (read.collate([blank])[0]["images"] == BLANK_GREY).all()
    crops_only = processor(views=ViewPlan(image=0, grounding=8))
    crops_only.prepare([lacking])


@pytest.mark.parametrize(
    ("views", "visual", "fine"),
    [
        (ViewPlan(image=8), VisualInput(BLANK), True),
        (ViewPlan(image=0), VisualInput(), True),
        (ViewPlan(image=8, grounding=8), VisualInput(), False),
        (ViewPlan(image=0, grounding=8), VisualInput(None, (), (Flat(1),)), False),
        (ViewPlan(image=0, grounding=8, detected=8), VisualInput(None, (), (Flat(1),)), True),
        (ViewPlan(image=0, grounding=8), VisualInput(None, (BLANK,)), True),
    ],
)
def test_a_task_without_any_crop_is_no_task_for_a_model_of_crops(
    views: ViewPlan, visual: VisualInput, fine: bool
) -> None:
    read = processor(views=views)
    without = relation("a b", (0, 1), (1, 2), visual=VisualInput())
    samples = [without, replace(without, uid="b", visual=visual)]
    read.require_crops([])
    if fine:
        read.require_crops(samples)
    else:
        with pytest.raises(
            DataError, match=r"looks at crops \(grounding\).*none of these 2 samples"
        ):
            read.require_crops(samples)


def test_token_ids_of_so_many_samples_are_kept_and_no_more() -> None:
    processor = Processor(
        LabelSpace("ner", ("PER",)),
        tokenizer=HashTokenizer(buckets=100),
        max_text_length=16,
        views=ViewPlan(image=0),
        remembered=3,
    )
    samples = [TaggingSample("", (f"word{i}",), ("O",)) for i in range(10)]
    expected = [processor.encode(sample) for sample in samples]
    assert len(processor._text) == 3
    assert [processor.encode(sample) for sample in samples] == expected  # of one uid, all others
    assert len(processor._text) == 3
