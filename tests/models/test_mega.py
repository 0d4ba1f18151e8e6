"""MEGA against its equations in plain loops, and what may not influence it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mkgc_cl.data.batch import MultimodalBatch
from mkgc_cl.data.samples import LabelSpace, Sample
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.models import MEGAModel, build_optimizer
from mkgc_cl.models.encoders import load_text_encoder, load_vision_encoder
from mkgc_cl.models.heads import UNSEEN_LOGIT
from mkgc_cl.models.images import slot_pixels
from mkgc_cl.models.object_fusion import ObjectFusion

MakeSample = Callable[..., Sample]
Stir = Callable[[nn.Module], nn.Module]
LABELS = {
    "re": LabelSpace("re", ("peer", "part_of", "held_on"), na="None"),
    "ner": LabelSpace("ner", ("PER", "LOC")),
}
KINDS = ("re", "ner")


@pytest.fixture
def build(stir: Stir) -> Callable[..., MEGAModel]:
    """Builds a stirred tiny model in evaluation mode that has seen every class.

    By meaning alone unless told: batches have no alignment of their own.
    """

    def make(kind: str = "re", *, seen: bool = True, **options: Any) -> MEGAModel:
        model = MEGAModel.build(LABELS[kind], **{"alignments": "semantic", **options})
        stir(model)
        if seen:
            model.observe(model.labels.classes)
        return model.eval()

    return make


Build = Callable[..., MEGAModel]


def mixed(make_sample: MakeSample, kind: str, crops: int = 2) -> list[Sample]:
    """Four samples of different lengths; three share image "a", the last one has no crop."""
    sizes = (("p", 7, "a", crops), ("q", 3, "b", 1), ("r", 5, "a", crops), ("s", 3, "c", 0))
    return [
        make_sample(uid, kind=kind, length=n, image=image, crops=count)
        for uid, n, image, count in sizes
    ]


def align(batch: MultimodalBatch) -> MultimodalBatch:
    """The batch with an alignment of random numbers, at padding too."""
    rows, slots = batch["input_ids"], batch["crops_present"].shape[1]
    source = torch.Generator().manual_seed(7)
    batch["alignment"] = torch.rand(*rows.shape, max(slots, 1), generator=source)
    return batch


def objects_of(model: MEGAModel, batch: MultimodalBatch) -> tuple[Tensor, Tensor]:
    pixels, present = slot_pixels(batch, model.processor.views)
    return model.vision.objects(pixels, present), present


def by_hand(
    fusion: ObjectFusion,
    states: Tensor,
    objects: Tensor,
    alignment: Tensor | None,
) -> Tensor:
    """Sum (d,) over objects (N, D_v) that are there, for tokens (T, D) without padding."""
    words = [fusion.words(one) for one in states]
    total = torch.zeros(len(words[0]), dtype=states.dtype)
    for slot, vector in enumerate(objects):
        query = fusion.query(fusion.objects(vector))
        scores = torch.stack([query @ fusion.key(word) for word in words]) / math.sqrt(len(query))
        weights = scores.softmax(dim=0)
        read = sum(w * fusion.value(word) for w, word in zip(weights, words, strict=True))
        part = [torch.sigmoid(read)]
        weight = fusion.semantic.weight
        if alignment is not None:
            # column j of A belongs to object j
            part.append(sum(alignment[i, slot] * word for i, word in enumerate(words)))
            weight = torch.cat([weight, fusion.structural.weight], dim=1)
        total = total + weight @ torch.cat(part) + fusion.semantic.bias
    return total


@pytest.mark.parametrize("structural", [True, False])
@torch.no_grad()
def test_fusion_follows_the_equations_in_plain_loops(structural: bool, stir: Stir) -> None:
    widths = {"text_width": 6, "object_width": 4, "width": 10}
    fusion: Any = stir(ObjectFusion(**widths, structural=structural, seed=0))
    source = torch.Generator().manual_seed(1)
    states, objects, alignment = (
        torch.randn(2, *shape, generator=source, dtype=torch.float64)
        for shape in ((5, 6), (3, 4), (5, 3))
    )
    mask = torch.arange(5)[None] < torch.tensor([5, 2])[:, None]
    present = torch.tensor([[True, True, True], [False, True, False]])
    found = fusion(states, mask, objects, present, alignment)
    for row in range(2):
        own = alignment[row][mask[row]][:, present[row]] if structural else None
        expected = by_hand(fusion, states[row][mask[row]], objects[row][present[row]], own)
        assert torch.allclose(found[row], expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_an_objects_weights_are_its_column(stir: Stir) -> None:
    """RELEASED CODE views (L, N) as (N, L): object 0 gets word 0's weights of several objects."""
    fusion: Any = stir(ObjectFusion(text_width=6, object_width=4, width=10, seed=0))
    states, objects = torch.randn(1, 4, 6).double(), torch.randn(1, 3, 4).double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    alone = torch.tensor([[False, True, False]])
    without = fusion(states, mask, objects, alone, torch.zeros(1, 4, 3))
    for word in range(4):
        for slot in range(3):
            one = torch.zeros(1, 4, 3)
            one[0, word, slot] = 1.0
            added = fusion(states, mask, objects, alone, one) - without
            expected = fusion.structural(fusion.words(states[:, word]))
            assert torch.allclose(added, expected * (slot == 1), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_heads_read_what_is_documented(kind: str, build: Build, make_sample: MakeSample) -> None:
    model: Any = build(kind, alignments="both")
    batch = align(model.processor.collate(mixed(make_sample, kind))[0])
    output = model(batch)
    vectors, present = objects_of(model, batch)
    for row, index in enumerate(batch["visual_index"]):
        mask = batch["attention_mask"][row]
        states = output.text_states[row]
        own = batch["alignment"][row][mask][:, present[index]]
        objects = by_hand(
            model.fusion["objects"], states[mask], vectors[index][present[index]], own
        )
        if kind == "re":
            entities = states[batch["marker_positions"][row]].flatten()
            read = model.fusion["merge"](torch.cat([entities, objects]))
            assert torch.allclose(output.features[row], read, atol=1e-9)
            assert torch.allclose(output.logits[row], model.head(read), atol=1e-9)
        else:
            assert torch.allclose(output.features[row], torch.cat([states[0], objects]), atol=1e-9)
            for word in range(int(batch["word_mask"][row].sum())):
                read = torch.cat([states[word + 1], objects])
                assert torch.allclose(output.word_features[row, word], read, atol=1e-9)
                assert torch.allclose(output.logits[row, word], model.head(read), atol=1e-9)
    assert (model.crf is None) is (kind == "re")


@torch.no_grad()
def test_objects_are_class_tokens_grounding_first() -> None:
    vit: Any = load_vision_encoder("tiny").eval()
    own = copy.deepcopy(vit)
    text = load_text_encoder("tiny")
    model = MEGAModel(LABELS["re"], text=text.module, tokenizer=text.tokenizer, vision=vit)
    views = model.processor.views
    assert (views.image, views.grounding, views.detected) == (0, 32, 32)
    source = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (6, 2, 3, 32, 32), generator=source, dtype=torch.uint8)
    present = torch.tensor([[True, False, True, False, True, False], [False] * 6])
    batch = MultimodalBatch({f"crop_{i}": c for i, c in enumerate(crops)}, uids=("a", "b"))
    batch["crops_present"] = present
    vectors, there = objects_of(model, batch)
    assert torch.equal(there, present)
    for row in range(2):
        for slot in range(6):
            expected = own.forward_features((crops[slot, row][None] / 255 - 0.5) / 0.5)[0, 0]
            expected = expected * present[row, slot]
            assert torch.allclose(vectors[row, slot], expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", ["crops", "image"])
@torch.no_grad()
def test_a_sample_does_not_feel_its_batch(
    kind: str, images: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, images=images, alignments="both")
    samples = mixed(make_sample, kind)
    batch, targets = model.processor.collate(samples)
    together = model(align(batch))
    losses = model.loss(together, targets, reduction="none")
    decoded = model.decode(together)
    for row, sample in enumerate(samples):
        alone_batch, alone_targets = model.processor.collate([sample])
        alone_batch["alignment"] = batch["alignment"][row, None, : alone_batch.size(1)]
        alone = model(alone_batch)
        words = alone.logits.shape[1] if kind == "ner" else None
        assert torch.allclose(together.logits[row][:words], alone.logits[0], atol=1e-9)
        assert torch.allclose(together.features[row], alone.features[0], atol=1e-9)
        assert torch.allclose(losses[row], model.loss(alone, alone_targets), atol=1e-9)
        assert decoded[row] == model.decode(alone)[0]


@torch.no_grad()
def test_samples_without_objects_have_none(build: Build, make_sample: MakeSample) -> None:
    """A whole batch without any, and one sample among others: o = 0."""
    model: Any = build("ner", alignments="both")
    bare = make_sample("p", kind="ner", crops=0)
    for samples in ([bare], [make_sample("q", kind="ner", image="b", crops=2), bare]):
        output = model(align(model.processor.collate(samples)[0]))
        assert bool((output.features[-1, 64:] == 0).all())
        assert bool(torch.isfinite(output.logits).all())


@pytest.mark.parametrize("train_vision", [True, False])
def test_absent_objects_change_nothing(
    train_vision: bool, build: Build, make_sample: MakeSample
) -> None:
    model = build(train_vision=train_vision, alignments="both")
    batch, _ = model.processor.collate(mixed(make_sample, "re"))
    present = batch["crops_present"]
    align(batch)
    logits = model(batch).logits
    assert not present.all()
    there = present[batch["visual_index"]][:, None]
    batch["alignment"] = torch.where(there, batch["alignment"], 9.0)
    for slot in range(6):
        kept = present[:, slot, None, None, None]
        batch[f"crop_{slot}"] = torch.where(kept, batch[f"crop_{slot}"], 255)
    assert torch.allclose(model(batch).logits, logits, atol=1e-12)
    batch["crop_0"] = 255 - batch["crop_0"]
    changed = ~torch.isclose(model(batch).logits, logits, rtol=0, atol=1e-9).all(dim=1)
    assert changed.tolist() == [True, True, True, False]  # the last sample has no crop


@pytest.mark.parametrize("kind", KINDS)
def test_images_encoded_once_act_as_if_repeated(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, train_vision=True)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    index = batch["visual_index"]
    assert index.tolist() == [0, 1, 0, 2]
    each = {n: t[index] if n.startswith(("images", "crop")) else t for n, t in batch.items()}
    each["visual_index"] = torch.arange(4)
    found = []
    for given in (batch, MultimodalBatch(each, uids=batch.uids)):
        output = model(given)
        model.zero_grad()
        model.loss(output, targets).backward()
        gradient = model.vision.backbone.patch_embed.proj.weight.grad
        found.append((output.logits, gradient.clone()))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", ["crops", "image"])
@torch.no_grad()
def test_the_image_matters_to_every_sample(
    kind: str, images: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind, images=images)
    samples = [make_sample("p", kind=kind, image=image, crops=2) for image in ("a", "b")]
    one, other = model(model.processor.collate(samples)[0]).logits
    # objects choose among words, and words of so small an encoder are much alike
    assert not torch.isclose(one, other, rtol=0, atol=1e-11).any()


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
@pytest.mark.parametrize("structural", [True, False])
@pytest.mark.parametrize("freeze", [True, False])
def test_every_part_learns_that_should(
    kind: str, structural: bool, freeze: bool, build: Build, make_sample: MakeSample
) -> None:
    how = "both" if structural else "semantic"
    model = build(kind, alignments=how, train_vision=not freeze, freeze_lower=1)
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    align(batch)
    model.loss(model(batch), targets).backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    lower = ("text.embeddings.", "text.layers.0.", *(["vision."] if freeze else []))
    expected = {n for n, _ in model.named_parameters() if n.startswith(lower)}
    assert all(p.requires_grad != n.startswith(lower) for n, p in model.named_parameters())
    assert idle == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_lower_the_loss_and_leave_the_backbone(
    kind: str, make_sample: MakeSample
) -> None:
    model = MEGAModel.build(LABELS[kind], alignments="semantic")
    model.observe(model.labels.classes)
    model.eval().train()
    assert not any(module.training for module in model.vision.modules())
    assert model.text.training
    batch, targets = model.processor.collate(mixed(make_sample, kind))
    before = copy.deepcopy(model.vision.state_dict())
    optimizer = build_optimizer(model, lr=1e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(model(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(t, model.vision.state_dict()[n]) for n, t in before.items())
    model.requires_grad_(True)  # frozen is frozen
    vectors, _ = objects_of(model, batch)
    assert not vectors.requires_grad


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_dropout_is_for_training_and_on_what_the_head_reads(
    kind: str, build: Build, make_sample: MakeSample
) -> None:
    model = build(kind)
    batch, _ = model.processor.collate(mixed(make_sample, kind))
    assert torch.equal(model(batch).logits, model(batch).logits)
    assert model.dropout.p == 0.5
    model.dropout.train()
    one, other = model(batch), model(batch)
    assert torch.equal(one.features, other.features)
    assert not torch.isclose(one.logits, other.logits).any()


def test_a_seed_gives_the_weights_and_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    models = [MEGAModel.build(LABELS["re"], seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], same[name]) for name in one)
    for name in ("fusion.objects.query.weight", "fusion.merge.weight", "head.weight"):
        assert not torch.equal(one[name], other[name])


def test_an_alignment_that_is_not_there_is_asked_for(build: Build, make_sample: MakeSample) -> None:
    model = build(alignments="both")
    batch, _ = model.processor.collate(mixed(make_sample, "re"))
    with pytest.raises(DataError, match=r"no 'alignment' of shape \(4, .*or choose alignments="):
        model(batch)


def test_an_alignment_of_another_shape_is_refused(build: Build, make_sample: MakeSample) -> None:
    model = build(alignments="both")
    batch = align(model.processor.collate(mixed(make_sample, "re"))[0])
    batch["alignment"] = batch["alignment"].transpose(1, 2)
    with pytest.raises(DataError, match=r"alignment has shape .* give \(4, .*, 6\)"):
        model(batch)


WRONG: dict[str, dict[str, Any]] = {
    r"images='all'; choose one of \['crops', 'image', 'captions'\]": {"images": "all"},
    r"alignments='none'; choose one of \['both', 'semantic'\]": {"alignments": "none"},
    "freeze_lower=-1; give 0 or more": {"freeze_lower": -1},
    "max_text_length=129 but the encoder has 128": {"max_text_length": 129},
}


@pytest.mark.parametrize("message", WRONG)
def test_options_that_fit_nothing_are_refused(message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MEGAModel.build(LABELS["re"], **WRONG[message])
