"""MKGformer against its equations in plain loops, and what may not influence it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import MKGformerModel, build_optimizer
from mkgc_cl.models.encoders import load_text_encoder, load_vision_encoder
from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.models.prefix_fusion import correlate

MakeSample = Callable[..., Sample]
Stir = Callable[[nn.Module], nn.Module]
LABELS = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}
KINDS = ("re", "ner")


@pytest.fixture
def build(stir: Stir) -> Callable[..., MKGformerModel]:
    """Builds a stirred tiny model in evaluation mode that has seen every class."""

    def make(kind: str = "re", *, seen: bool = True, **options: Any) -> MKGformerModel:
        model = MKGformerModel.build(LABELS[kind], **{"fusion_layers": 2, **options})
        stir(model)
        if seen:
            model.observe(model.labels.classes)
        return model.eval()

    return make


Build = Callable[..., MKGformerModel]


def mixed(make_sample: MakeSample, kind: str, crops: int = 0) -> list[Sample]:
    """Four samples of different lengths over two images, "a" shared by three of them."""
    sizes = (("p", 7, "a"), ("q", 3, "b"), ("r", 5, "a"), ("s", 3, "a"))
    return [
        make_sample(uid, kind=kind, length=n, image=image, crops=crops) for uid, n, image in sizes
    ]


def attended(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention (T, D) one head and one query at a time."""
    size = query.shape[1] // heads
    rows = []
    for one in query:
        parts = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = torch.stack([one[own] @ other[own] for other in key]) / math.sqrt(size)
            weights = scores.exp() / scores.exp().sum()
            parts.append(sum(w * v[own] for w, v in zip(weights, value, strict=True)))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def looked_up(context: Tensor, seen: Tensor) -> Tensor:
    rows = []
    for one in context:
        scores = torch.stack([one @ other for other in seen])
        weights = (scores - scores.max()).exp()
        rows.append(sum(w * v for w, v in zip(weights / weights.sum(), seen, strict=True)))
    return torch.stack(rows)


def by_hand(model: Any, ids: Tensor, seen: Tensor, layers: int) -> Tensor:
    """States (T, D) of a sample without padding, whose visual tokens are all there."""
    states = model.text.embeddings(input_ids=ids[None])[0]
    texts, blocks = list(model.text.layers), list(model.vision.vit.blocks)
    for block in blocks[:-layers]:
        seen = block(seen[None])[0]
    key = value = None
    for depth, layer in enumerate(texts):
        level = depth - (len(texts) - layers)
        attention = layer.attention.self
        if level >= 0:
            block = blocks[len(blocks) - layers + level]
            bridge = model.fusion.bridges and model.fusion.bridges[level]
            if bridge:
                key = key @ bridge.key.weight.T + bridge.key.bias
                value = value @ bridge.value.weight.T + bridge.value.bias
            query, own_key, own_value = block.attn.qkv(block.norm1(seen)).chunk(3, dim=1)
            context = attended(
                query,
                torch.cat([key, own_key]),
                torch.cat([value, own_value]),
                block.attn.num_heads,
            )
            seen = seen + block.attn.proj(context)
            seen = seen + block.mlp(block.norm2(seen))
        key, value = attention.key(states), attention.value(states)
        context = attended(attention.query(states), key, value, attention.num_attention_heads)
        after = layer.attention.output(context, states)
        inner = layer.intermediate.dense(after)
        if level >= 0:
            left = seen @ bridge.to_text.weight.T + bridge.to_text.bias if bridge else seen
            inner = inner + looked_up(context, left) @ model.fusion.weights[level].T
        states = layer.output(nn.functional.gelu(inner), after)
    return states


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text_layers", "blocks", "fusion", "width", "heads"),
    [(3, 3, 2, 64, 4), (4, 2, 1, 64, 4), (2, 3, 1, 64, 4), (3, 2, 2, 64, 4), (3, 3, 2, 24, 3)],
)
@torch.no_grad()
def test_states_follow_the_equations_in_plain_loops(
    text_layers: int,
    blocks: int,
    fusion: int,
    width: int,
    heads: int,
    make_sample: MakeSample,
    stir: Stir,
) -> None:
    """Two text heads and other vision heads: the prefix is cut up as the vision block is."""
    tiny = load_text_encoder("tiny")
    config = BertConfig(
        vocab_size=tiny.tokenizer.vocabulary, hidden_size=64, num_hidden_layers=text_layers,
        num_attention_heads=2, intermediate_size=48, max_position_embeddings=128,
    )  # fmt: skip
    vit = VisionTransformer(
        img_size=32, patch_size=16, embed_dim=width, depth=blocks, num_heads=heads, num_classes=0
    )
    model: Any = MKGformerModel(
        LABELS["re"], text=BertModel(config, add_pooling_layer=False), tokenizer=tiny.tokenizer,
        vision=vit, fusion_layers=fusion, images="image+crops",
    )  # fmt: skip
    stir(model).eval()
    batch, _ = model.processor.collate(mixed(make_sample, "re", crops=2))
    crops = [batch[f"crop_{slot}"] for slot in range(6)]
    tokens = model.vision.embed(batch["images"], crops)
    there = model.vision.token_mask(batch["crops_present"])
    assert not there.all()
    states = model(batch).text_states
    for row, (index, mask) in enumerate(
        zip(batch["visual_index"], batch["attention_mask"], strict=True)
    ):
        expected = by_hand(
            model, batch["input_ids"][row][mask], tokens[index][there[index]], fusion
        )
        assert torch.allclose(states[row][mask], expected, rtol=0, atol=1e-9)


def test_correlation_is_one_unscaled_head_over_what_is_there() -> None:
    source = torch.Generator().manual_seed(0)
    context, seen = (torch.randn(2, n, 6, generator=source, dtype=torch.float64) for n in (4, 5))
    mask = torch.tensor([[True] * 5, [True, False, True, False, False]])
    found = correlate(context, seen, mask)
    for row in range(2):
        assert torch.allclose(found[row], looked_up(context[row], seen[row][mask[row]]), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_fusion_weights_the_text_is_the_encoders_own(
    kind: str, make_sample: MakeSample
) -> None:
    encoder = load_text_encoder("tiny", seed=3)
    own: Any = copy.deepcopy(encoder.module).eval()
    model = MKGformerModel(
        LABELS[kind], text=encoder.module, tokenizer=encoder.tokenizer,
        vision=load_vision_encoder("tiny"), fusion_layers=3, images="crops",
    ).eval()  # fmt: skip
    batch, _ = model.processor.collate(mixed(make_sample, kind, crops=2))
    mask = batch["attention_mask"]
    expected = own(batch["input_ids"], attention_mask=mask.long()).last_hidden_state
    assert not torch.allclose(model(batch).text_states[mask], expected[mask], atol=1e-5)
    for weight in model.fusion.weights:
        weight.zero_()
    assert torch.allclose(model(batch).text_states[mask], expected[mask], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", ["image", "crops", "image+crops"])
@torch.no_grad()
def test_a_sample_does_not_feel_its_batch(
    kind: str, images: str, build: Build, make_sample: MakeSample
) -> None:
    """RELEASED CODE lets images attend to padding."""
    model = build(kind, images=images)
    samples = mixed(make_sample, kind, crops=3)
    batch, targets = model.processor.collate(samples)
    together = model(batch)
    losses = model.loss(together, targets, reduction="none")
    decoded = model.decode(together)
    for row, sample in enumerate(samples):
        alone_batch, alone_targets = model.processor.collate([sample])
        alone = model(alone_batch)
        words = alone.logits.shape[1] if kind == "ner" else None
        assert torch.allclose(together.logits[row][:words], alone.logits[0], atol=1e-9)
        assert torch.allclose(together.features[row], alone.features[0], atol=1e-9)
        assert torch.allclose(losses[row], model.loss(alone, alone_targets), atol=1e-9)
        assert decoded[row] == model.decode(alone)[0]


@torch.no_grad()
def test_pixels_of_a_crop_that_is_not_there_change_nothing(
    build: Build, make_sample: MakeSample
) -> None:
    model = build(images="crops")
    batch, _ = model.processor.collate(
        [make_sample("p", crops=1), make_sample("q", image="b", crops=3)]
    )
    present = batch["crops_present"]
    logits = model(batch).logits
    for slot in range(6):
        pixels = batch[f"crop_{slot}"]
        there = present[:, slot, None, None, None]
        batch[f"crop_{slot}"] = torch.where(there, pixels, 255 - pixels)
    assert torch.equal(model(batch).logits, logits)
    batch["crop_0"] = 255 - batch["crop_0"]
    assert not torch.isclose(model(batch).logits, logits).all(dim=1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_images_encoded_once_act_as_if_repeated(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, images="image+crops")
    batch, targets = model.processor.collate(mixed(make_sample, kind, crops=2))
    index = batch["visual_index"]
    assert index.tolist() == [0, 1, 0, 0]
    each = {n: t[index] if n.startswith(("images", "crop")) else t for n, t in batch.items()}
    each["visual_index"] = torch.arange(4)
    repeated = MultimodalBatch(each, uids=batch.uids)
    trained = [p for p in model.parameters() if p.requires_grad]
    found = []
    for given in (batch, repeated):
        output = model(given)
        found.append((output.logits, torch.autograd.grad(model.loss(output, targets), trained)))
    (logits, gradients), (other_logits, other_gradients) = found
    assert torch.allclose(logits, other_logits, atol=1e-9)
    for gradient, other in zip(gradients, other_gradients, strict=True):
        assert torch.allclose(gradient, other, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_image_matters_to_every_sample(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind)
    samples = [make_sample("p", kind=kind, image=image) for image in ("a", "b")]
    one, other = model(model.processor.collate(samples)[0]).logits
    assert not torch.isclose(one, other).any()


@torch.no_grad()
def test_heads_read_what_is_documented(build: Build, make_sample: MakeSample) -> None:
    relations, tags = build("re"), build("ner")
    samples = mixed(make_sample, "re")
    batch, _ = relations.processor.collate(samples)
    output = relations(batch)
    markers = relations.processor.tokenizer.marker_ids
    for row in range(4):
        ids = batch["input_ids"][row].tolist()
        places = [ids.index(markers[0]), ids.index(markers[2])]
        read = torch.cat([output.text_states[row, place] for place in places])
        assert torch.equal(output.features[row], read)
        expected = relations.head.weight @ read + relations.head.bias
        assert torch.allclose(output.logits[row], expected, atol=1e-9)
    output = tags(tags.processor.collate(mixed(make_sample, "ner"))[0])
    assert output.word_features is not None
    assert torch.equal(output.word_features[0], output.text_states[0, 1:8])
    assert torch.equal(output.features, output.text_states[:, 0])
    assert torch.allclose(output.logits, tags.head(output.word_features), atol=1e-9)
    assert (relations.crf is None, tags.crf is None) == (True, False)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_classes_not_seen_yet_cannot_be_chosen(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, seen=False)
    model.observe(model.labels.classes[:1])
    hidden = (~model.seen).nonzero().flatten().tolist()
    model.head.bias[hidden] = 1000.0
    output = model(model.processor.collate(mixed(make_sample, kind))[0])
    assert bool((output.logits[..., hidden] == UNSEEN_LOGIT).all())
    assert not {i for row in model.decode(output) for i in row} & set(hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_learns(kind: str, build: Build, make_sample: MakeSample) -> None:
    model = build(kind, images="image+crops", fusion_layers=3)
    batch, targets = model.processor.collate(mixed(make_sample, kind, crops=3))
    model.loss(model(batch), targets).backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"vision.vit.norm.weight", "vision.vit.norm.bias"}
    assert idle == {n for n, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_dropout_is_for_training_and_on_tags_alone(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind)
    batch, _ = model.processor.collate(mixed(make_sample, kind))
    assert torch.equal(model(batch).logits, model(batch).logits)
    assert model.dropout.p == 0.1
    model.dropout.train()
    assert torch.equal(model(batch).logits, model(batch).logits) is (kind == "re")


@pytest.mark.parametrize("freeze", [1, 4])
def test_frozen_layers_get_no_gradient_and_all_others_do(
    freeze: int, build: Build, make_sample: MakeSample
) -> None:
    model = build(freeze_lower=freeze)
    batch, targets = model.processor.collate(mixed(make_sample, "re"))
    model.loss(model(batch), targets).backward()
    for layer in range(4):
        for part in (model.text.layers[layer], model.vision.vit.blocks[layer]):
            for parameter in part.parameters():
                assert (parameter.grad is None) is (layer < freeze)
    assert all(weight.grad is not None for weight in model.fusion.weights)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train_head", [True, False])
def test_a_few_steps_lower_the_loss(kind: str, train_head: bool, make_sample: MakeSample) -> None:
    """RELEASED CODE leaves its relation head as it was drawn; the encoders learn all the same."""
    model = MKGformerModel.build(LABELS[kind], train_head=train_head)
    model.observe(model.labels.classes)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    head = copy.deepcopy(model.head.state_dict())
    optimizer = build_optimizer(model, lr=1e-3)
    losses = []
    for _ in range(10):
        loss = model.loss(model(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    kept = [torch.equal(old, model.head.state_dict()[name]) for name, old in head.items()]
    assert kept == [not train_head] * 2


def test_a_seed_gives_the_weights_and_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    models = [MKGformerModel.build(LABELS["ner"], images="crops", seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], same[name]) for name in one)
    for name in ("fusion.weights.0", "vision.crop_positions", "head.weight"):
        assert not torch.equal(one[name], other[name])


@pytest.mark.slow
def test_a_third_of_the_layers_interacts_unless_said_otherwise() -> None:
    assert len(MKGformerModel.build(LABELS["re"]).fusion.weights) == 1
    small = MKGformerModel.build(LABELS["re"], text="minilm", vision="vit-384", pretrained=False)
    assert len(small.fusion.weights) == 2


WRONG: dict[str, dict[str, Any]] = {
    "images='all'; choose one of": {"images": "all"},
    "freeze_lower=-1; give 0 or more": {"freeze_lower": -1},
    "fusion_layers=0; these encoders allow 1 to 3": {"fusion_layers": 0},
    "fusion_layers=4; these encoders allow 1 to 3": {"fusion_layers": 4},
    "max_text_length=129 but the encoder has 128": {"max_text_length": 129},
    "ResNet is not a timm ViT": {"vision": "test_resnet", "pretrained": False},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_options_that_fit_nothing_are_refused(message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MKGformerModel.build(LABELS["re"], **WRONG[message])
