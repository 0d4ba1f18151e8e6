"""The vision stream against timm's own forward pass, and what the crops add to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import Tensor, nn

from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models.attention import SharedKeyAttention
from mkgc_cl.models.feature_cache import FeatureCache
from mkgc_cl.models.images import keep_images
from mkgc_cl.models.vision import VisionStream

WHOLE = ViewPlan(image=32)
CROPS = ViewPlan(image=0, grounding=16, detected=8, crops=2)
BOTH = ViewPlan(image=32, grounding=16, detected=8, crops=2)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm_pre": {"pre_norm": True},  # CLIP's
    "registers": {"reg_tokens": 2},
    "class token without position": {"no_embed_class": True},
    "no positions": {"pos_embed": "none"},
    "layer scale": {"init_values": 0.3},
    "mean pooling": {"global_pool": "avg"},
    "no qkv bias": {"qkv_bias": False},
    "patch norm": {"embed_norm_layer": nn.LayerNorm},
}


def vit(**options: Any) -> Any:
    sizes: dict[str, Any] = {
        "img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3,
        "num_classes": 0,
    }  # fmt: skip
    return VisionTransformer(**(sizes | options)).eval()


def stream(
    encoder: nn.Module, *, plan: ViewPlan = WHOLE, shared: bool = False, layers: int = 2
) -> Any:
    source = torch.Generator().manual_seed(0)
    return VisionStream(
        encoder, plan=plan, interaction_layers=layers, shared_key=shared, generator=source
    ).eval()


def pixels(count: int, side: int) -> Tensor:
    source = torch.Generator().manual_seed(side)
    return torch.randint(0, 256, (count, 3, side, side), generator=source, dtype=torch.uint8)


def crop_pixels(count: int) -> list[Tensor]:
    return [pixels(count, side) for side in (16, 16, 8, 8)]


NO_CROPS = torch.ones(2, 0, dtype=torch.bool)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [0, 2, 4])
@torch.no_grad()
def test_self_keys_give_timms_own_output(
    kind: str, layers: int, stir: Callable[[nn.Module], nn.Module]
) -> None:
    encoder = stir(vit(**KINDS[kind]))
    images = pixels(2, 32)
    own = copy.deepcopy(encoder).forward_features((images.double() / 255 - 0.5) / 0.5)
    states, mask, maps = stream(encoder, layers=layers).double()(images, [], NO_CROPS, [])
    assert torch.allclose(states, own, atol=1e-5)
    assert mask.all()
    assert [tuple(scores.shape) for scores in maps] == [
        (2, 3, states.shape[1], states.shape[1])
    ] * (layers)


@torch.no_grad()
def test_timms_smallest_vit_runs_as_it_is() -> None:
    encoder: Any = timm.create_model("test_vit", num_classes=0).eval()
    images = pixels(2, 160)
    own = copy.deepcopy(encoder).forward_features((images / 255 - 0.5) / 0.5)
    states, _, _ = stream(encoder, plan=ViewPlan(image=160))(images, [], NO_CROPS, [])
    assert torch.allclose(states, own, atol=1e-5)


@torch.no_grad()
def test_pixels_are_normalized_as_the_weights_expect() -> None:
    mean, std = (0.48, 0.45, 0.4), (0.26, 0.25, 0.27)
    encoder = vit()
    encoder.pretrained_cfg = {"mean": mean, "std": std}
    images = pixels(1, 32)
    shifted = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    own = copy.deepcopy(encoder).forward_features(shifted)
    states, _, _ = stream(encoder)(images, [], NO_CROPS[:1], [])
    assert torch.allclose(states, own, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_query_and_value_rows_keep_their_weights(bias: bool) -> None:
    encoder = vit(qkv_bias=bias)
    before = copy.deepcopy(encoder.state_dict())
    seen = stream(encoder, shared=True)
    after = seen.vit.state_dict()
    for block in range(4):
        name = f"blocks.{block}.attn"
        if block < 2:
            assert torch.equal(after[f"{name}.qkv.weight"], before[f"{name}.qkv.weight"])
            continue
        shared = seen.vit.blocks[block].attn.shared
        assert isinstance(shared, SharedKeyAttention)
        assert not hasattr(seen.vit.blocks[block].attn, "qkv")
        for part, rows in ((shared.query, slice(0, 24)), (shared.value, slice(48, 72))):
            assert torch.equal(part.weight, before[f"{name}.qkv.weight"][rows])
            if bias:
                assert torch.equal(part.bias, before[f"{name}.qkv.bias"][rows])
            else:
                assert part.bias is None
    gone = {name for name in before if name not in after}
    assert all(".attn.qkv." in name for name in gone)
    assert all(torch.equal(after[name], before[name]) for name in before if name not in gone)


@pytest.mark.parametrize(
    ("plan", "tokens"), [(WHOLE, 1 + 16), (CROPS, 1 + 2 * 4 + 2 * 1), (BOTH, 1 + 16 + 10)]
)
@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_a_plan_gives_its_number_of_tokens(plan: ViewPlan, tokens: int, registers: int) -> None:
    seen = stream(vit(reg_tokens=registers), plan=plan, shared=True)
    crops = crop_pixels(2) if plan.crop_sides else []
    present = torch.ones(2, len(plan.crop_sides), dtype=torch.bool)
    keys = [torch.randn(seen.length, 24)] * 2
    states, mask, maps = seen(pixels(2, 32) if plan.image else None, crops, present, keys)
    tokens += registers
    assert seen.length == tokens
    assert states.shape == (2, tokens, 24)
    assert mask.shape == (2, tokens)
    assert maps[0].shape == (2, 3, tokens, tokens)


@torch.no_grad()
def test_a_crop_is_projected_like_the_image(stir: Callable[[nn.Module], nn.Module]) -> None:
    """Patches of a crop are those timm would make of it, plus the crop's own positions."""
    encoder = stir(vit(embed_norm_layer=nn.LayerNorm, pos_embed="none"))
    seen = stream(encoder, plan=CROPS).double()
    crops = crop_pixels(1)
    tokens = seen.embed(None, crops)
    assert torch.equal(tokens[0, 0], encoder.cls_token[0, 0])
    place = 1
    for crop in crops:
        own = encoder.patch_embed
        patches = own.norm(own.proj((crop.double() / 255 - 0.5) / 0.5).flatten(2).transpose(1, 2))
        count = patches.shape[1]
        placed = patches[0] + seen.crop_positions[place - 1 : place - 1 + count]
        assert torch.allclose(tokens[0, place : place + count], placed, atol=1e-5)
        place += count


@pytest.mark.parametrize("plan", [CROPS, BOTH])
@pytest.mark.parametrize("shared", [True, False])
def test_slots_without_a_crop_change_nothing(plan: ViewPlan, shared: bool) -> None:
    seen = stream(vit(), plan=plan, shared=shared)
    present = torch.tensor([[True, False, True, False], [False, False, False, True]])
    crops = [crop.float().requires_grad_() for crop in crop_pixels(2)]
    images = pixels(2, 32) if plan.image else None
    keys = [torch.randn(seen.length, 24)] * 2
    states, mask, _ = seen(images, crops, present, keys)
    prefix = 17 if plan.image else 1
    assert mask[:, :prefix].all()
    assert mask[0, prefix:].tolist() == [*[True] * 4, *[False] * 4, True, False]
    assert mask[1, prefix:].tolist() == [*[False] * 8, False, True]
    states[mask].square().sum().backward()
    for slot, crop in enumerate(crops):
        assert crop.grad is not None
        for row in range(2):
            assert bool(crop.grad[row].any()) is bool(present[row, slot])


REFUSED: dict[str, tuple[Callable[[], nn.Module], ViewPlan]] = {
    "Linear is not a timm ViT": (lambda: nn.Linear(2, 2), WHOLE),
    "is not a timm ViT with a class token": (
        lambda: vit(class_token=False, global_pool="avg"), WHOLE,
    ),
    "ResPostBlock in the ViT is not supported": (lambda: vit(block_fn=ResPostBlock), WHOLE),
    "query normalization": (lambda: vit(qk_norm=True), WHOLE),
    "has a distillation token": (
        lambda: VisionTransformerDistilled(
            img_size=32, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=0
        ), WHOLE,
    ),
    "crop side 20 is not a multiple of the patch side 8": (vit, ViewPlan(image=32, grounding=20)),
    "4 blocks, fewer than 5": (vit, WHOLE),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_models_that_would_run_wrong_are_refused(message: str) -> None:
    make, plan = REFUSED[message]
    with pytest.raises(ConfigError, match=message):
        stream(make(), plan=plan, layers=5 if "fewer" in message else 2)


def test_freezing_stops_patches_tokens_and_lower_blocks() -> None:
    seen = stream(vit(reg_tokens=1, pre_norm=True), plan=BOTH, shared=True)
    seen.freeze_lower(2)
    frozen = {name for name, p in seen.named_parameters() if not p.requires_grad}
    lower = ("vit.blocks.0.", "vit.blocks.1.", "vit.patch_embed.", "vit.norm_pre.")
    tokens = {"vit.cls_token", "vit.reg_token", "vit.pos_embed"}
    names = {name for name, _ in seen.named_parameters()}
    assert frozen == {name for name in names if name.startswith(lower)} | tokens
    depth = len(seen.vit.blocks)
    with pytest.raises(
        ConfigError, match=f"freeze_lower=99; the vision encoder has {depth} blocks"
    ):
        seen.freeze_lower(99)


@pytest.mark.parametrize("shared", [False, True])
def test_frozen_blocks_read_an_image_once(shared: bool, tmp_path: Path) -> None:
    """Whatever trains above them; another weight below makes another image of it."""
    plain = stream(vit(proj_drop_rate=0.5), shared=shared)
    kept = copy.deepcopy(plain)
    for seen in (plain, kept):
        seen.freeze_lower(3)  # the third interacts: it is frozen, and run every time
    assert keep_images(kept, FeatureCache(tmp_path))
    images = pixels(3, 32)
    keys = [torch.full((17, 24), 0.1)] * 2 if shared else []
    for rows, encoded in (([0, 1, 0], 2), ([0, 1, 0], 2), ([2, 1, 0], 3)):
        some = images[rows]
        out, mask, maps = kept(some, [], torch.ones(3, 0, dtype=torch.bool), keys)
        expected, _, own = plain(some, [], torch.ones(3, 0, dtype=torch.bool), keys)
        assert torch.allclose(out, expected, atol=1e-5)
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(maps, own, strict=True))
        assert mask.shape == out.shape[:2]
        assert kept.cache.encoded_images == encoded
        out.sum().backward()
        with torch.no_grad():
            for seen in (plain, kept):  # above, a step
                seen.vit.blocks[3].mlp.fc1.weight += 0.01
    with torch.no_grad():
        kept.vit.blocks[1].mlp.fc1.weight += 0.01
    kept(images, [], torch.ones(3, 0, dtype=torch.bool), keys)
    assert kept.cache.encoded_images == 6
    kept.train()
    dropping = [block.mlp.drop1.training for block in kept.vit.blocks]
    assert dropping == [False, False, True, True]


def test_a_stream_with_trained_positions_keeps_nothing(tmp_path: Path) -> None:
    for plan, layers in ((WHOLE, 0), (BOTH, 2), (CROPS, 2)):
        seen = stream(vit(), plan=plan)
        seen.freeze_lower(layers)
        assert not keep_images(seen, FeatureCache(tmp_path))


@pytest.mark.parametrize("plan", [WHOLE, CROPS, BOTH])
def test_no_parameter_is_empty(plan: ViewPlan) -> None:
    """There are methods that ask every parameter for its largest element."""
    assert all(parameter.numel() for parameter in stream(vit(), plan=plan).parameters())
