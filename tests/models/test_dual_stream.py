"""The whole model: what it returns, what may not influence it, and what it cannot know."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, TaggingSample
from mkgc_cl.models import DualStreamModel, ModelOutput
from mkgc_cl.models.heads import UNSEEN_LOGIT

Build = Callable[..., DualStreamModel]
MakeSample = Callable[..., Sample]
KINDS = ("re", "ner")


def mixed(make_sample: MakeSample, kind: str, crops: int = 0) -> list[Sample]:
    """Four samples of different lengths over two images, "a" shared by three of them."""
    sizes = (("p", 7, "a"), ("q", 3, "b"), ("r", 5, "a"), ("s", 3, "a"))
    return [
        make_sample(uid, kind=kind, length=n, image=image, crops=crops) for uid, n, image in sizes
    ]


def gradients(model: DualStreamModel, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def repeated(batch: MultimodalBatch) -> MultimodalBatch:
    """The same samples with one visual row per sample."""
    index = batch["visual_index"]
    tensors = {
        name: tensor[index] if name.startswith(("images", "crop")) else tensor
        for name, tensor in batch.items()
    }
    tensors["visual_index"] = torch.arange(len(index))
    return MultimodalBatch(tensors, uids=batch.uids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interaction", ["shared-key", "self"])
@pytest.mark.parametrize("images", ["image", "image+crops"])
def test_images_encoded_once_act_as_if_repeated(
    kind: str, interaction: str, images: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, interaction=interaction, images=images)
    batch, targets = model.processor.collate(mixed(make_sample, kind, crops=2))
    assert batch["visual_index"].tolist() == [0, 1, 0, 0]

    def both(batch: MultimodalBatch) -> tuple[ModelOutput, dict[str, Tensor]]:
        output = model(batch)
        maps = torch.stack([scores[output.visual_index].square().mean() for scores in
                            output.vision_maps])  # fmt: skip
        return output, gradients(model, model.loss(output, targets) + maps.mean())

    once, once_gradients = both(batch)
    each, each_gradients = both(repeated(batch))
    assert once.vision_states.shape[0] == 2
    assert each.vision_states.shape[0] == 4
    for name in ("logits", "text_logits", "vision_logits", "features", "text_states", "visual"):
        assert torch.allclose(getattr(once, name), getattr(each, name), atol=1e-9), name
    assert once_gradients.keys() == each_gradients.keys()
    for name, gradient in once_gradients.items():
        assert torch.allclose(gradient, each_gradients[name], atol=1e-8), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interaction", ["shared-key", "self"])
@pytest.mark.parametrize("images", ["image", "crops", "image+crops"])
@pytest.mark.parametrize("pooling", ["cls", "entity-markers"])
@torch.no_grad()
def test_a_sample_does_not_feel_its_batch(
    kind: str, interaction: str, images: str, pooling: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, interaction=interaction, images=images, pooling=pooling)
    samples = mixed(make_sample, kind, crops=3)
    batch, targets = model.processor.collate(samples)
    together = model(batch)
    losses = model.loss(together, targets, reduction="none")
    decoded = model.decode(together)
    for row, sample in enumerate(samples):
        alone_batch, alone_targets = model.processor.collate([sample])
        alone = model(alone_batch)
        words = alone.logits.shape[1] if kind == "ner" else None
        for name in ("logits", "text_logits", "vision_logits"):
            ours = getattr(together, name)[row]
            assert torch.allclose(ours[:words], getattr(alone, name)[0], atol=1e-9), name
        assert torch.allclose(together.features[row], alone.features[0], atol=1e-9)
        assert torch.allclose(losses[row], model.loss(alone, alone_targets), atol=1e-9)
        assert decoded[row] == model.decode(alone)[0]
    assert torch.allclose(model.loss(together, targets), losses.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_have_the_documented_shapes(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, images="image+crops", interaction_layers=2)
    samples = mixed(make_sample, kind, crops=3)
    batch, _ = model.processor.collate(samples)
    output = model(batch)
    length, words = batch.size(1), max(len(sample.tokens) for sample in samples)
    visual = model.vision.length
    classes = (len(model.labels.outputs),)
    scores = (4, words, *classes) if kind == "ner" else (4, *classes)
    expected = {
        "logits": scores, "text_logits": scores, "vision_logits": scores,
        "features": (4, 128), "text_states": (4, length, 64), "text_mask": (4, length),
        "vision_states": (2, visual, 64), "visual": (4, 64), "vision_mask": (2, visual),
        "visual_index": (4,),
    }  # fmt: skip
    assert {name: tuple(getattr(output, name).shape) for name in expected} == expected
    assert [tuple(m.shape) for m in output.text_maps] == [(4, 4, length, length)] * 2
    assert [tuple(m.shape) for m in output.vision_maps] == [(2, 4, visual, visual)] * 2
    assert (output.word_mask is None) is (kind == "re")
    assert torch.equal(output.visual, output.vision_states[:, 0][output.visual_index])
    kept = output.scores_only()
    assert torch.equal(kept.logits, output.logits)
    assert kept.text_states.numel() == kept.features.numel() == 0
    assert model.decode(kept) == model.decode(output)


@pytest.mark.parametrize("interaction", ["shared-key", "self"])
@torch.no_grad()
def test_pixels_of_a_crop_that_is_not_there_change_nothing(
    interaction: str, build: Build, make_sample: MakeSample
) -> None:
    """RELEASED CODE attends to zero images where a sample has fewer crops than slots."""
    model = build("re", interaction=interaction, images="image+crops")
    batch, _ = model.processor.collate(
        [make_sample("p", crops=1), make_sample("q", image="b", crops=3)]
    )
    present = batch["crops_present"]
    assert present.tolist() == [[True, *[False] * 5], [*[True] * 5, False]]
    logits = model(batch).logits
    for slot in range(6):
        pixels = batch[f"crop_{slot}"]
        batch[f"crop_{slot}"] = torch.where(
            present[:, slot, None, None, None], pixels, 255 - pixels
        )
    assert torch.equal(model(batch).logits, logits)
    batch["crop_0"] = 255 - batch["crop_0"]
    assert not torch.isclose(model(batch).logits, logits).any()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_logits_are_the_sum_of_both_streams(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, seen=False)
    seen = model.labels.classes[:1]
    model.observe(seen)
    output = model(model.processor.collate(mixed(make_sample, kind))[0])
    ids = list(model.labels.output_ids(seen))
    both = output.text_logits + output.vision_logits
    assert torch.allclose(both[..., ids], output.logits[..., ids], atol=1e-12)
    half = model.head.bias / 2
    own = output.visual if kind == "re" else None
    if own is not None:
        expected = own @ model.head.vision_weight.T + half
        assert torch.allclose(output.vision_logits[..., ids], expected[..., ids], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_not_seen_yet_cannot_be_chosen_or_learned(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    """The unseen outputs are made as attractive as they can be; the mask must hold all the same."""
    model = build(kind, seen=False)
    seen = model.labels.classes[:1]
    model.observe(seen)
    allowed = set(model.labels.output_ids(seen))
    hidden = [i for i in range(len(model.labels.outputs)) if i not in allowed]
    with torch.no_grad():
        model.head.bias[hidden] = 1000.0
        if model.crf is not None:
            model.crf.transitions[:, hidden] = 5.0
            model.crf.start_transitions[hidden] = model.crf.end_transitions[hidden] = 5.0
    samples = mixed(make_sample, kind)
    batch, _ = model.processor.collate(samples)
    output = model(batch)
    for logits in (output.logits, output.text_logits, output.vision_logits):
        assert bool((logits[..., hidden] == UNSEEN_LOGIT).all())
        assert bool((logits[..., sorted(allowed)] > UNSEEN_LOGIT).all())
    decoded = model.decode(output)
    assert {i for row in decoded for i in row} <= allowed
    targets = torch.zeros(4, dtype=torch.long) if kind == "re" else torch.zeros(4, 7).long()
    if kind == "ner":
        targets.masked_fill_(~batch["word_mask"], -100)
    loss = model.loss(output, targets)
    assert bool(torch.isfinite(loss))
    found = gradients(model, loss)
    for name in ("head.text_weight", "head.vision_weight", "head.bias"):
        assert not found[name][hidden].any()
        assert found[name][sorted(allowed)].any()
    if model.crf is not None:
        assert not found["crf.transitions"][hidden].any()
        assert not found["crf.transitions"][:, hidden].any()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_loss_stays_finite_before_anything_is_seen(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, seen=False)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    assert bool(torch.isfinite(model.loss(model(batch), targets)))


@torch.no_grad()
def test_relations_are_read_from_start_markers(build: Build, make_sample: MakeSample) -> None:
    model = build("re", pooling="entity-markers")
    samples = mixed(make_sample, "re")
    batch, _ = model.processor.collate(samples)
    output = model(batch)
    head_open, _, tail_open, _ = model.processor.tokenizer.marker_ids
    for row in range(4):
        ids = batch["input_ids"][row].tolist()
        places = [ids.index(head_open), ids.index(tail_open)]
        parts = [*(output.text_states[row, place] for place in places), output.visual[row]]
        features = torch.cat(parts)
        assert torch.equal(output.features[row], features)
        weight = torch.cat([model.head.text_weight, model.head.vision_weight], dim=1)
        expected = weight @ features + model.head.bias
        assert torch.allclose(output.logits[row], expected, atol=1e-9)


@torch.no_grad()
def test_relations_are_read_from_class_tokens(build: Build, make_sample: MakeSample) -> None:
    model = build("re")
    output = model(model.processor.collate(mixed(make_sample, "re"))[0])
    features = torch.cat([output.text_states[:, 0], output.visual], dim=1)
    assert torch.equal(output.features, features)
    weight = torch.cat([model.head.text_weight, model.head.vision_weight], dim=1)
    assert torch.allclose(output.logits, features @ weight.T + model.head.bias, atol=1e-9)


@torch.no_grad()
def test_tags_follow_equation_3_worked_by_hand(build: Build, make_sample: MakeSample) -> None:
    """``W [h_i ; h_cls^v + E_pos,i] + b`` for the first token of every word."""
    model = build("ner")
    samples = mixed(make_sample, "ner")
    output = model(model.processor.collate(samples)[0])
    weight = torch.cat([model.head.text_weight, model.head.vision_weight], dim=1)
    table = model.text.embeddings.position_embeddings.weight
    for row, sample in enumerate(samples):
        for word in range(len(sample.tokens)):
            place = word + 1  # the class token stands first, and a hashed word is one token
            visual = output.visual[row] + table[place]
            expected = (
                weight @ torch.cat([output.text_states[row, place], visual]) + model.head.bias
            )
            assert torch.allclose(output.logits[row, word], expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_both_streams_read_one_key_and_every_part_learns(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, images="image+crops")
    batch, targets = model.processor.collate(mixed(make_sample, kind, crops=3))
    found = gradients(model, model.loss(model(batch), targets))
    idle = {n for n, p in model.named_parameters() if n not in found or not found[n].any()}
    assert idle == set(), "parameters that no loss reaches"
    output = model(batch)
    for maps in (output.text_maps, output.vision_maps):
        for layer, scores in enumerate(maps):
            parts = torch.autograd.grad(
                scores.sum(), list(model.shared_keys), retain_graph=True, allow_unused=True
            )
            assert parts[layer] is not None
            assert parts[layer].any()
            assert all(part is None for part in parts[layer + 1 :])


@pytest.mark.slow
def test_single_key_has_one_row_and_learns_nothing(build: Build, make_sample: MakeSample) -> None:
    model = build("re", key_shape="single")
    assert [tuple(key.shape) for key in model.shared_keys] == [(1, 64)] * 3
    batch, targets = model.processor.collate(mixed(make_sample, "re"))
    found = gradients(model, model.loss(model(batch), targets))
    for name in ("shared_keys.2", "text.layers.3.attention.self.query.weight"):
        assert float(found[name].abs().max()) < 1e-10
    working = build("re")
    found = gradients(working, working.loss(working(batch), targets))
    for name in ("shared_keys.2", "text.layers.3.attention.self.query.weight"):
        assert float(found[name].abs().max()) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_aliases_that_see_losses_on_maps_alone(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    output = model(batch)
    heard: list[Tensor] = []
    for scores in (*output.text_maps, *output.vision_maps):
        scores.register_hook(heard.append)
    (model.loss(output, targets) + 3.0 * output.text_maps[1].sum()).backward()
    assert len(heard) == 1
    assert bool((heard[0] == 3.0).all())


@pytest.mark.parametrize("interaction", ["shared-key", "self"])
def test_plain_attention_has_no_key_to_share(
    interaction: str, build: Build, make_sample: MakeSample
) -> None:
    model = build("re", interaction=interaction)
    assert len(model.shared_keys) == (3 if interaction == "shared-key" else 0)
    output = model(model.processor.collate(mixed(make_sample, "re"))[0])
    assert len(output.text_maps) == len(output.vision_maps) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("freeze", [0, 1, 3])
def test_frozen_layers_get_no_gradient_and_all_others_do(
    kind: str, freeze: int, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, freeze_lower=freeze, images="image+crops")
    batch, targets = model.processor.collate(mixed(make_sample, kind, crops=3))
    model.loss(model(batch), targets).backward()
    lower = tuple(
        f"{start}.{layer}." for layer in range(freeze) for start in ("text.layers",
                                                                     "vision.vit.blocks")
    )  # fmt: skip
    if freeze:
        lower += ("text.embeddings.", "vision.vit.patch_embed.", "vision.vit.cls_token",
                  "vision.vit.pos_embed")  # fmt: skip
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) is name.startswith(lower), name
        assert parameter.requires_grad is not name.startswith(lower), name


def test_a_copy_shares_the_processor_and_nothing_else(
    build: Build, make_sample: MakeSample
) -> None:
    model = build("re")
    frozen = copy.deepcopy(model)
    assert frozen.processor is model.processor
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    batch, _ = model.processor.collate(mixed(make_sample, "re"))
    assert not torch.allclose(model(batch).features, frozen(batch).features)
    own = {parameter.data_ptr() for parameter in model.parameters() if parameter.numel()}
    assert own.isdisjoint(p.data_ptr() for p in frozen.parameters() if p.numel())


@pytest.mark.slow
def test_dropout_is_for_training_on_tags(build: Build, make_sample: MakeSample) -> None:
    for kind in KINDS:
        model = build(kind)
        batch, _ = model.processor.collate(mixed(make_sample, kind))
        with torch.no_grad():
            assert torch.equal(model(batch).logits, model(batch).logits)
            model.train()
            assert not torch.equal(model(batch).logits, model(batch).logits)
        assert model.dropout.p == (0.1 if kind == "ner" else 0.0)


def labels_of(samples: Sequence[Sample]) -> list[str]:
    found: list[str] = []
    for sample in samples:
        if isinstance(sample, RelationSample):
            found.append(sample.relation)
        elif isinstance(sample, TaggingSample):
            found.extend(sample.tags)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_fit_a_few_samples(kind: str, make_sample: MakeSample) -> None:
    """The least one may ask of a model: it learns four samples by heart."""
    labels = LabelSpace("re", ("peer", "part_of", "held_on"), na="None")
    model = DualStreamModel.build(labels if kind == "re" else LabelSpace("ner", ("PER", "LOC")))
    model.observe(model.labels.classes)
    samples = mixed(make_sample, kind)
    assert len(set(labels_of(samples))) > 1
    batch, targets = model.processor.collate(samples)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        loss = model.loss(model(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    decoded = model.eval().decode(model(batch))
    assert decoded == [
        [i for i in (row if kind == "ner" else [row]) if i != -100] for row in targets.tolist()
    ]
