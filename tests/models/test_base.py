"""What every model shares: the grammar of tags against enumeration, the softmax tagger's loss."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.models import DualStreamModel, TextModel, UMTModel, build_optimizer
from mkgc_cl.models.base import ExtractionModel, Readout
from mkgc_cl.models.heads import UNSEEN_LOGIT, BioGrammar
from mkgc_cl.models.output import ModelOutput

TAGS = LabelSpace("ner", ("PER", "LOC"))


def is_valid(tags: Sequence[str]) -> bool:
    """Whether every inside tag continues its own type."""
    return all(
        not tag.startswith("I-") or before in (f"B-{tag[2:]}", tag)
        for before, tag in itertools.pairwise(["O", *tags])
    )


def best_valid(scores: Tensor) -> tuple[tuple[int, ...], float]:
    """The best of all valid paths of a sentence with scores (W, C), one by one."""
    names = TAGS.outputs
    best: tuple[tuple[int, ...], float] = ((), -math.inf)
    for path in itertools.product(range(len(names)), repeat=len(scores)):
        total = sum(float(scores[word, tag]) for word, tag in enumerate(path))
        if is_valid([names[tag] for tag in path]) and total > best[1]:
            best = (path, total)
    return best


@pytest.mark.slow
@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    hide=st.booleans(),
    spread=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_decoding_finds_the_best_valid_path(
    lengths: list[int], hide: bool, spread: float, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(len(lengths), max(lengths), 5, generator=source).double()
    if hide:
        logits[..., 3:] = UNSEEN_LOGIT
    scores = logits.log_softmax(dim=-1)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    decoded = BioGrammar(TAGS.outputs).decode(scores, mask=mask)
    for row, length in enumerate(lengths):
        path, total = best_valid(scores[row, :length])
        assert sum(float(scores[row, w, t]) for w, t in enumerate(decoded[row])) == pytest.approx(
            total
        )
        assert decoded[row] == list(path)
        assert not hide or max(path) < 3


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tagger"), [("re", "crf"), ("ner", "crf"), ("ner", "softmax")])
@pytest.mark.parametrize(
    "make", [TextModel, DualStreamModel, pytest.param(UMTModel, marks=pytest.mark.slow)]
)
def test_how_many_classes_are_to_come_changes_no_bit(
    make_sample: Callable[..., Sample], make: Any, kind: Any, tagger: Any
) -> None:
    """Scores, loss, gradients and the first steps of a model that has room for eleven more."""
    first = ("peer", "part_of", "held_on") if kind == "re" else ("PER", "LOC")
    ends = []
    for more in (0, 11):
        classes = (*first, *(f"later-{n}" for n in range(more)))
        model = make.build(LabelSpace(kind, classes, na="None" if kind == "re" else None),
                           tagger=tagger, seed=4).eval()  # fmt: skip
        model.observe(first)
        batch, targets = model.processor.collate(
            [make_sample(f"p{n}", kind=kind, length=2 + n) for n in range(5)]
        )
        optimizer = build_optimizer(model, lr=1e-2)
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            output = model(batch)
            losses.append(model.loss(output, targets))
            losses[-1].backward()
            optimizer.step()
        found = dict(model.named_parameters())
        ends.append((losses, output.logits, found))
    (losses, scores, few), (others, wide, many) = ends
    assert losses == others
    assert torch.equal(wide[..., : scores.shape[-1]], scores)
    for name, value in few.items():
        assert torch.equal(many[name][tuple(slice(n) for n in value.shape)], value), name


def test_what_was_seen_is_numbered_anew_where_a_state_is_loaded() -> None:
    model, other = TextModel.build(TAGS), TextModel.build(TAGS)
    model.observe(["LOC"])
    assert model.seen_ids.tolist() == [0, 3, 4]
    other.load_state_dict(model.state_dict())
    assert other.seen_ids.tolist() == [0, 3, 4]
    other.observe(["PER"])
    assert other.seen_ids.tolist() == [0, 1, 2, 3, 4]
    assert copy.deepcopy(model).seen_ids.tolist() == [0, 3, 4]


@torch.no_grad()
def test_an_inside_tag_never_stands_alone_however_sure_the_scores() -> None:
    names = TAGS.outputs
    grammar = BioGrammar(names)
    scores = torch.full((1, 3, 5), -60.0)
    scores[0, :, names.index("I-LOC")] = 0.0
    decoded = [names[tag] for tag in grammar.decode(scores, mask=torch.ones(1, 3).bool())[0]]
    assert decoded == ["B-LOC", "I-LOC", "I-LOC"]
    assert not any(parameter.requires_grad for parameter in grammar.parameters())


@pytest.fixture
def tagger(stir: Callable[[nn.Module], nn.Module]) -> TextModel:
    model = TextModel.build(TAGS, tagger="softmax")
    grammar = {name: value.clone() for name, value in model.grammar.state_dict().items()}  # type: ignore[union-attr]
    stir(model)
    model.grammar.load_state_dict(grammar)  # type: ignore[union-attr]
    model.observe(TAGS.classes)
    return model.eval()


@torch.no_grad()
def test_the_softmax_taggers_loss_is_the_mean_over_the_words_of_each_sample(
    tagger: TextModel, make_sample: Callable[..., Sample]
) -> None:
    lengths = (6, 2, 3)
    samples = [make_sample(f"s{length}", kind="ner", length=length) for length in lengths]
    batch, targets = tagger.processor.collate(samples)
    output = tagger(batch)
    expected = []
    for row, length in enumerate(lengths):
        words = [
            math.log(sum(math.exp(score - scores[tag]) for score in scores))
            for scores, tag in zip(
                output.logits[row, :length].tolist(), targets[row].tolist(), strict=False
            )
        ]
        expected.append(sum(words) / length)
    losses = tagger.loss(output, targets, reduction="none")
    torch.testing.assert_close(losses, torch.tensor(expected).double())
    torch.testing.assert_close(tagger.loss(output, targets), losses.mean())


@torch.no_grad()
def test_the_softmax_tagger_decodes_its_log_probabilities(
    tagger: TextModel, make_sample: Callable[..., Sample]
) -> None:
    batch, _ = tagger.processor.collate([make_sample("p", kind="ner", length=4)])
    output = tagger(batch)
    path, _ = best_valid(output.logits[0].log_softmax(dim=-1))
    assert tagger.decode(output) == [list(path)]


class Fixed(Readout):
    """The same score of every output whatever the sample."""

    scores: Tensor

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scores", torch.tensor(scores))

    def forward(self, output: ModelOutput) -> Tensor:
        return self.scores.expand_as(output.logits)


@torch.no_grad()
def test_a_readout_is_part_of_the_model_and_masked_as_its_head_is(
    make_sample: Callable[..., Sample],
) -> None:
    labels = LabelSpace("re", ("peer", "part_of"), na="None")
    model, other = TextModel.build(labels).eval(), TextModel.build(labels).eval()
    model.observe(["peer"])
    batch, _ = model.processor.collate([make_sample("p")])
    output = model(batch)
    assert torch.equal(model.read_out(output), output.logits)
    model.readout = Fixed([1.0, 2.0, 3.0])
    assert model.read_out(output).tolist() == [[1.0, 2.0, UNSEEN_LOGIT]]
    other.readout = Fixed([0.0, 0.0, 0.0])
    state: dict[str, Any] = model.state_dict()
    assert state["readout.scores"].tolist() == [1.0, 2.0, 3.0]
    other.load_state_dict(state)
    assert torch.equal(other.read_out(other(batch)), model.read_out(output))


def test_readouts_and_models_of_ones_own_must_say_how_they_score() -> None:
    for abstract in (Readout, ExtractionModel):
        with pytest.raises(TypeError, match="abstract method"):
            abstract()  # type: ignore[abstract, call-arg]
