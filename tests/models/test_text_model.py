"""The text-only model: the encoder's own states, read where it says, every class in its time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import TextModel, build_optimizer
from mkgc_cl.models.encoders import TINY_WIDTH, load_text_encoder

MakeSample = Callable[..., Sample]
Build = Callable[..., TextModel]
KINDS = ("re", "ner")
LABELS = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}


@pytest.fixture
def make(stir: Callable[[nn.Module], nn.Module]) -> Build:
    """Builds a stirred text model in evaluation mode that has seen every class."""

    def built(kind: str = "re", *, seen: bool = True, **options: Any) -> TextModel:
        model = TextModel.build(LABELS[kind], **options)
        stir(model)
        if seen:
            model.observe(LABELS[kind].classes)
        return model.eval()

    return built


def collated(model: TextModel, make_sample: MakeSample, *lengths: int) -> tuple[Any, Tensor]:
    kind = model.labels.kind
    return model.processor.collate(
        [make_sample(f"p{length}", kind=kind, length=length) for length in lengths]
    )


@torch.no_grad()
def test_shapes_of_relations(make: Build, make_sample: MakeSample) -> None:
    model = make("re")
    batch, targets = collated(model, make_sample, 5, 3)
    output = model(batch)
    tokens = 5 + 4 + 2  # words, markers, both ends
    assert output.logits.shape == (2, 4)
    assert output.features.shape == (2, 2 * TINY_WIDTH)
    assert output.text_states.shape == (2, tokens, TINY_WIDTH)
    assert output.text_mask.tolist() == [[True] * tokens, [True] * (tokens - 2) + [False] * 2]
    assert output.word_features is None
    assert output.word_mask is None
    assert model.loss(output, targets, reduction="none").shape == (2,)


@pytest.mark.parametrize("tagger", ["crf", "softmax"])
@torch.no_grad()
def test_shapes_of_tags(make: Build, make_sample: MakeSample, tagger: str) -> None:
    model = make("ner", tagger=tagger)
    batch, targets = collated(model, make_sample, 5, 3)
    output = model(batch)
    assert output.logits.shape == (2, 5, 5)
    assert output.features.shape == (2, TINY_WIDTH)
    assert output.text_states.shape == (2, 7, TINY_WIDTH)
    assert output.word_features is not None
    assert output.word_mask is not None
    assert output.word_features.shape == (2, 5, TINY_WIDTH)
    assert output.word_mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert model.loss(output, targets, reduction="none").shape == (2,)
    assert [len(tags) for tags in model.decode(output)] == [5, 3]
    assert ((model.crf is None), (model.grammar is None)) == (tagger == "softmax", tagger == "crf")


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_states_are_the_plain_encoders(
    kind: Any, make_sample: MakeSample, stir: Callable[[nn.Module], nn.Module]
) -> None:
    encoder = load_text_encoder("tiny")
    plain = stir(copy.deepcopy(encoder.module)).eval()
    model = TextModel(LABELS[kind], text=stir(encoder.module), tokenizer=encoder.tokenizer).double()
    batch, _ = collated(model.eval(), make_sample, 6, 2, 4)
    mask = batch["attention_mask"]
    states = plain(input_ids=batch["input_ids"], attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(model(batch).text_states[mask], states[mask], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_relation_is_read_off_both_start_markers_or_the_class_token(
    make: Build, make_sample: MakeSample
) -> None:
    markers, cls = make("re"), make("re", pooling="cls")
    batch, _ = collated(markers, make_sample, 5, 3)
    output = markers(batch)
    head_open, _, tail_open, _ = markers.processor.tokenizer.marker_ids
    for row, ids in enumerate(batch["input_ids"].tolist()):
        places = [ids.index(head_open), ids.index(tail_open)]
        read = torch.cat([output.text_states[row, place] for place in places])
        assert torch.equal(output.features[row], read)
        scores = markers.head.weight @ read + markers.head.bias
        torch.testing.assert_close(output.logits[row], scores)
    output = cls(batch)
    assert torch.equal(output.features, output.text_states[:, 0])
    assert cls.head.weight.shape == (4, TINY_WIDTH)
    torch.testing.assert_close(
        output.logits, output.text_states[:, 0] @ cls.head.weight.T + cls.head.bias
    )


@torch.no_grad()
def test_projection_is_a_normalized_gelu_of_the_markers(
    make: Build, make_sample: MakeSample
) -> None:
    model, plain = make("re", projection=True), make("re")
    batch, _ = collated(model, make_sample, 5, 3)
    output = model(batch)
    linear, _, norm = model.projection  # type: ignore[misc]
    markers = model.text(batch["input_ids"], batch["attention_mask"], [])[0].gather(
        1, batch["marker_positions"][..., None].expand(-1, -1, TINY_WIDTH)
    )
    for row in range(2):
        raw = (linear.weight @ markers[row].flatten() + linear.bias).tolist()
        active = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in raw]
        mean = sum(active) / len(active)
        spread = math.sqrt(sum((x - mean) ** 2 for x in active) / len(active) + norm.eps)
        expected = [
            (x - mean) / spread * w + b
            for x, w, b in zip(active, norm.weight.tolist(), norm.bias.tolist(), strict=True)
        ]
        torch.testing.assert_close(output.features[row], torch.tensor(expected).double())
    torch.testing.assert_close(
        output.logits, output.features @ model.head.weight.T + model.head.bias
    )
    assert plain.projection is None
    assert make("ner", projection=True).projection is None  # tags are read off words


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_without_bias_scores_by_its_rows_alone(
    kind: Any, make: Build, make_sample: MakeSample
) -> None:
    model, usual = make(kind, head_bias=False), make(kind)
    assert usual.state_dict().keys() - model.state_dict().keys() == {"head.bias"}
    output = model(collated(model, make_sample, 5, 3)[0])
    read = output.features if kind == "re" else output.word_features
    torch.testing.assert_close(output.logits, read @ model.head.weight.T)


@torch.no_grad()
def test_dropout_is_on_what_the_head_or_the_projection_reads(make_sample: MakeSample) -> None:
    """With a probability of (almost) 1 nothing but the biases is left."""
    encoder = load_text_encoder("tiny")
    for kind, projection in (("re", False), ("re", True), ("ner", False)):
        model = TextModel(
            LABELS[kind],
            text=encoder.module,
            tokenizer=encoder.tokenizer,
            projection=projection,
            dropout=1.0,
        )
        model.observe(LABELS[kind].classes)
        batch, _ = collated(model, make_sample, 4)
        logits = model.train()(batch).logits
        empty = torch.zeros(2 * TINY_WIDTH)
        read = empty if model.projection is None else model.projection(empty)
        bias = model.head(read[: model.head.weight.shape[1]])
        torch.testing.assert_close(logits, bias.expand_as(logits))
        assert not torch.allclose(model.eval()(batch).logits, logits)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_nothing(kind: Any, make: Build, make_sample: MakeSample) -> None:
    model = make(kind)
    together, targets = collated(model, make_sample, 3, 9, 5)
    output = model(together)
    losses = model.loss(output, targets, reduction="none")
    decoded = model.decode(output)
    for row, length in enumerate((3, 9, 5)):
        batch, alone_targets = collated(model, make_sample, length)
        alone = model(batch)
        logits = output.logits[row] if kind == "re" else output.logits[row, :length]
        torch.testing.assert_close(logits, alone.logits[0])
        torch.testing.assert_close(output.features[row], alone.features[0])
        torch.testing.assert_close(losses[row], model.loss(alone, alone_targets))
        assert decoded[row] == model.decode(alone)[0]


@pytest.mark.parametrize(("kind", "tagger"), [("re", "crf"), ("ner", "crf"), ("ner", "softmax")])
def test_classes_not_seen_yet_neither_win_nor_learn(
    kind: Any, tagger: Any, make: Build, make_sample: MakeSample
) -> None:
    model = make(kind, seen=False, tagger=tagger)
    unseen = 3 if kind == "re" else slice(3, 5)
    model.observe(["peer", "part_of"] if kind == "re" else ["PER"])
    with torch.no_grad():
        model.head.bias[unseen] = 1000.0
    batch, _ = collated(model, make_sample, 5, 3)
    mask = batch["word_mask"] if kind == "ner" else None
    targets = torch.tensor([1, 0])
    if mask is not None:  # B-PER I-PER O ...
        targets = torch.tensor([[1, 2, 0, 0, 0], [0, 1, 2, -100, -100]])
    output = model(batch)
    assert all(max(ids) < 3 for ids in model.decode(output))
    loss = model.loss(output, targets)
    if kind == "re":
        expected = nn.functional.cross_entropy(output.logits[:, :3], targets)
        torch.testing.assert_close(loss, expected)
    loss.backward()
    assert model.head.weight.grad is not None
    assert model.head.bias.grad is not None
    assert not bool(model.head.weight.grad[unseen].any())
    assert not bool(model.head.bias.grad[unseen].any())
    assert bool(model.head.weight.grad[:3].any(dim=1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_the_weights(kind: Any) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        TextModel.build(LABELS[kind], projection=True, seed=seed).state_dict() for seed in (4, 4, 5)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = {name for name in first if not torch.equal(first[name], other[name])}
    assert {"head.weight", "text.layers.0.attention.self.query.weight"} <= drawn
    assert "projection.0.weight" in drawn or kind == "ner"
    assert "crf.transitions" in drawn or kind == "re"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_head_do_not_depend_on_later_classes(kind: Any) -> None:
    short = LABELS[kind]
    long = LabelSpace(kind, (*short.classes, "x", "y"), na=short.na)
    small, large = (TextModel.build(labels, seed=4) for labels in (short, long))
    count = len(short.outputs)
    assert torch.equal(small.head.weight, large.head.weight[:count])
    assert torch.equal(small.head.bias, large.head.bias[:count])
    common = {name for name in small.state_dict() if name.startswith("text.")}
    assert all(torch.equal(small.state_dict()[n], large.state_dict()[n]) for n in common)


@pytest.mark.parametrize("freeze", [0, 2])
def test_what_trains_is_in_the_optimizer(freeze: int) -> None:
    model = TextModel.build(LABELS["ner"], tagger="softmax", freeze_lower=freeze)
    groups = build_optimizer(model, lr=0.1).param_groups
    listed = {id(p) for group in groups for p in group["params"]}
    assert listed == {id(p) for p in model.parameters() if p.requires_grad}
    assert {(group["modality"], group["role"]) for group in groups} == {
        ("text", "encoder"),
        ("shared", "head"),
    }
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name for name in frozen if name.startswith("grammar.")}  # nothing of it is learnt
    assert any(name.startswith("text.embeddings.") for name in frozen) == (freeze > 0)


WRONG: dict[str, dict[str, Any]] = {
    r"pooling='mean'; choose one of \['cls', 'entity-markers'\]": {"pooling": "mean"},
    r"tagger='hmm'; choose one of \['crf', 'softmax'\]": {"tagger": "hmm"},
    "freeze_lower=-1; give 0 or more": {"freeze_lower": -1},
    "max_text_length=129 but the encoder has 128": {"max_text_length": 129},
    "text encoder 'gone' cannot be loaded": {"text": "gone"},
}


@pytest.mark.parametrize("message", WRONG)
def test_options_that_fit_nothing_are_refused(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=message):
        TextModel.build(LABELS["re"], **WRONG[message])


def test_an_encoder_that_is_none_is_refused() -> None:
    tokenizer = load_text_encoder("tiny").tokenizer
    with pytest.raises(ConfigError, match="Linear is not a BERT-family"):
        TextModel(LABELS["re"], text=nn.Linear(2, 2), tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="2 mistake"):
        TextModel.build(LABELS["re"], pooling="mean", freeze_lower=-2)  # type: ignore[arg-type]
