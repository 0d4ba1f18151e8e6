"""Images for fusion models: frozen for good, encoded once, absent where they are absent."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.processor import Processor
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, VisualInput
from mkgc_cl.data.tokenizer import HashTokenizer
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.encoders import image_side, load_backbone, load_vision_encoder
from mkgc_cl.models.images import ImageEncoder, object_pixels, object_plan, shown

MakeSample = Callable[..., Sample]
LABELS = LabelSpace("re", ("peer", "part_of", "held_on"), na="None")
# name: (tokens or cells per image, width)
BACKBONES = {
    "tiny": (16, 64), "test_vit": (100, 64), "test_resnet": (25, 96), "test_mambaout": (25, 64),
    "test_efficientnet": (25, 256),
}  # fmt: skip


def encoder(name: str = "tiny", **options: Any) -> Any:
    return ImageEncoder(load_backbone(name, pretrained=False), **options)


def pixels(side: int, *count: int) -> Tensor:
    source = torch.Generator().manual_seed(side)
    shape = (*count, 3, side, side)
    return torch.randint(0, 256, shape, generator=source, dtype=torch.uint8)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_any_backbone_gives_a_grid_and_a_vector(name: str) -> None:
    cells, width = BACKBONES[name]
    seen = encoder(name)
    images = pixels(seen.side, 2)
    grid, mask = seen.grid(images)
    assert grid.shape == (2, cells, seen.width) == (2, cells, width)
    assert mask.all()
    normal = (images / 255 - seen.pixel_mean) / seen.pixel_std
    own = seen.backbone.forward_features(normal)
    if name in ("tiny", "test_vit"):
        expected, vector = own[:, 1:], own[:, 0]
    else:
        channels = own.permute(0, 3, 1, 2) if name == "test_mambaout" else own
        expected, vector = channels.flatten(2).transpose(1, 2), channels.mean(dim=(2, 3))
    assert torch.equal(grid, expected)
    found = seen.objects(images[:, None], torch.ones(2, 1, dtype=torch.bool))
    assert torch.allclose(found[:, 0], vector, atol=1e-6)


@pytest.mark.slow
def test_the_offline_presets_are_backbones_too() -> None:
    assert isinstance(load_backbone("vit-384"), type(load_vision_encoder("tiny")))
    assert encoder("vit-384").width == 384
    assert image_side(load_backbone("test_resnet", pretrained=False)) == 160
    with pytest.raises(ConfigError, match=r"cannot be loaded .*Unknown model"):
        load_backbone("no_such_net")


@pytest.mark.parametrize("name", ["tiny", "test_resnet"])
def test_a_frozen_backbone_never_changes(name: str) -> None:
    """RELEASED CODE of UMT: train() reaches the frozen ResNet and BatchNorm's statistics drift."""
    seen = encoder(name)
    before = copy.deepcopy(seen.backbone.state_dict())
    images = pixels(seen.side, 3)
    for _ in range(2):
        seen.train()
        grid, _ = seen.grid(images)
        found = seen.objects(images[:, None], torch.ones(3, 1, dtype=torch.bool))
        assert not grid.requires_grad
        assert not found.requires_grad
    after = seen.backbone.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(module.training for module in seen.backbone.modules())
    assert not any(parameter.requires_grad for parameter in seen.parameters())
    drifting = load_backbone(name, pretrained=False).train()
    drifting.forward_features((images / 255 - 0.5) / 0.5)  # type: ignore[operator]
    drifted = any(
        not torch.equal(tensor, before[key]) for key, tensor in drifting.state_dict().items()
    )
    assert drifted is (name == "test_resnet"), "the check above would see a drift"


def test_a_trained_backbone_learns_but_its_statistics_stand_still() -> None:
    seen = encoder("test_resnet", train_backbone=True)
    assert seen.training
    buffers = copy.deepcopy(dict(seen.backbone.named_buffers()))
    grid, _ = seen.grid(pixels(seen.side, 2))
    grid.square().mean().backward()
    assert all(parameter.grad is not None for parameter in seen.parameters())
    assert all(torch.equal(b, buffers[key]) for key, b in seen.backbone.named_buffers())
    assert not seen.eval().backbone.training


@torch.no_grad()
def test_objects_that_are_absent_are_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = encoder()
    crops = pixels(seen.side, 3, 2)
    present = torch.tensor([[True, True], [False, True], [False, False]])
    ran: list[int] = []
    own = seen.backbone.forward_features

    def counted(images: Tensor) -> Tensor:
        ran.append(len(images))
        return own(images)  # type: ignore[no-any-return]

    monkeypatch.setattr(seen.backbone, "forward_features", counted)
    found = seen.objects(crops, present)
    assert ran == [3]
    assert not found[~present].any()
    for row, slot in present.nonzero().tolist():
        alone = seen.objects(crops[row : row + 1, slot : slot + 1], torch.ones(1, 1).bool())
        assert torch.allclose(found[row, slot], alone[0, 0], atol=1e-6)
    ran.clear()
    nothing = seen.objects(crops, torch.zeros_like(present))
    assert nothing.shape == (3, 2, 64)
    assert not nothing.any()
    assert not ran


def test_the_blank_image_is_known_through_the_processor(make_sample: MakeSample) -> None:
    some = make_sample("p")
    none = RelationSample("q", some.tokens, (0, 1), (2, 3), "None", VisualInput(BLANK))
    reader = _reader(object_plan("image", side=32, most=1))
    batch, _ = reader.collate([some, none])
    assert shown(batch["images"]).tolist() == [True, False]
    _, mask = encoder().grid(batch["images"])
    assert mask.shape == (2, 16)
    assert mask.all(dim=1).tolist() == [True, False]
    assert mask.any(dim=1).tolist() == [True, False]


def test_objects_are_grounding_crops_then_detected_ones(make_sample: MakeSample) -> None:
    """A sample with n crops has n grounding and n - 1 detected ones here."""
    samples = [make_sample(f"p{n}", image=f"c{n}", crops=n) for n in (3, 1, 0, 2)]
    for most, counts in ((4, [4, 1, 0, 3]), (2, [2, 1, 0, 2]), (9, [5, 1, 0, 3])):
        plan = object_plan("crops", side=32, most=most)
        batch, _ = _reader(plan).collate(samples)
        crops, present = object_pixels(batch, plan, most)
        assert crops.shape == (4, most, 3, 32, 32)
        assert present.sum(dim=1).tolist() == counts
        slots = [f"crop_{i}" for i in range(most)] + [f"crop_{most + i}" for i in range(most)]
        for row in range(4):
            there = [
                batch[slot][row] for i, slot in enumerate(slots) if batch["crops_present"][row, i]
            ][:most]
            assert torch.equal(
                crops[row][present[row]], torch.stack(there) if there else crops[row, :0]
            )
            # those that are there stand in front
            assert present[row].tolist() == sorted(present[row].tolist(), reverse=True)


def test_the_whole_image_is_the_only_object_where_asked(make_sample: MakeSample) -> None:
    plan = object_plan("image", side=32, most=4)
    batch, _ = _reader(plan).collate([make_sample("p", crops=2), make_sample("q", image="b")])
    images, present = object_pixels(batch, plan, 4)
    assert images.shape == (2, 1, 3, 32, 32)
    assert torch.equal(images[:, 0], batch["images"])
    assert present.all()


def test_modules_that_are_no_backbones_are_refused() -> None:
    with pytest.raises(ConfigError, match="Linear is not a timm model with a known image side"):
        ImageEncoder(nn.Linear(2, 2))

    class Flat(nn.Module):
        pretrained_cfg = {"input_size": (3, 8, 8)}  # noqa: RUF012

        def forward_features(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    with pytest.raises(ConfigError, match="Flat gives neither tokens nor a map"):
        ImageEncoder(Flat())


def test_registers_and_class_tokens_are_no_patches() -> None:
    vit = timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=1, num_classes=0, reg_tokens=2
    )
    seen = ImageEncoder(vit)
    assert seen.grid(pixels(16, 1))[0].shape == (1, 4, 8)
    mean = timm.models.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=1, num_classes=0,
        class_token=False, global_pool="avg",
    )  # fmt: skip
    seen = ImageEncoder(mean)
    images = pixels(16, 1)
    grid, _ = seen.grid(images)
    assert grid.shape == (1, 4, 8)
    found = seen.objects(images[:, None], torch.ones(1, 1).bool())
    assert torch.allclose(found[:, 0], grid.mean(dim=1))


def _reader(plan: Any) -> Processor:
    return Processor(LABELS, tokenizer=HashTokenizer(buckets=64), max_text_length=64, views=plan)
