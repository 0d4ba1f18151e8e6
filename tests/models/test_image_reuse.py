"""Frozen encoders of images encode every image once, ever, and models cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mkgc_cl.data.images import BLANK
from mkgc_cl.data.samples import LabelSpace, RelationSample, Sample, VisualInput
from mkgc_cl.models import DualStreamModel, MEGAModel, TextModel, UMGFModel, UMTModel
from mkgc_cl.models.encoders import load_backbone
from mkgc_cl.models.feature_cache import FeatureCache, image_keys, structure
from mkgc_cl.models.images import ImageEncoder, keep_images
from mkgc_cl.models.token_source import TokenSource

MakeSample = Callable[..., Sample]
LABELS = LabelSpace("re", ("peer", "part_of", "held_on"), na="None")


def built(kind: str, folder: Path | None, **options: Any) -> Any:
    """A tiny model in evaluation mode, whose images are kept in a folder."""
    images = options.pop("images", "image")
    build: dict[str, Callable[[], Any]] = {
        "beside": lambda: TextModel.build(
            LABELS, layers=(1,), beside="tiny", images=images, **options
        ),
        "UMT": lambda: UMTModel.build(LABELS, images=images, **options),
        "UMGF": lambda: UMGFModel.build(
            LABELS, images=images, train_vision=False, width=16, layers=1, **options
        ),
        "MEGA": lambda: MEGAModel.build(LABELS, images=images, alignments="semantic", **options),
        "tokens": lambda: over_a_cnn(images=images, **options),
    }
    model = build[kind]()
    model.observe(model.labels.classes)
    if folder is not None:
        assert keep_images(model, FeatureCache(folder))
    return model.eval()


def over_a_cnn(**options: Any) -> Any:
    """The dual-stream model over the tokens of timm's smallest CNN, of 96 pixels."""
    from timm.models.vision_transformer import VisionTransformer

    from mkgc_cl.models.encoders import load_text_encoder

    torch.manual_seed(0)
    cnn: Any = load_backbone("test_efficientnet", pretrained=False)
    cnn.pretrained_cfg = {**cnn.pretrained_cfg, "input_size": (3, 96, 96)}
    vit: Any = VisionTransformer(
        img_size=96, patch_size=32, embed_dim=24, depth=3, num_heads=3, num_classes=0
    )
    vit.patch_embed = TokenSource(cnn, width=24)
    vit.pretrained_cfg = cnn.pretrained_cfg
    tiny = load_text_encoder("tiny")
    return DualStreamModel(
        LABELS, text=tiny.module, tokenizer=tiny.tokenizer, vision=vit, **options
    )


def cache_of(model: nn.Module) -> FeatureCache:
    (cache,) = {
        part.cache for part in model.modules() if isinstance(part, ImageEncoder | TokenSource)
    }
    assert cache is not None
    return cache


KINDS = [
    ("beside", "image"), ("UMT", "image"), ("UMGF", "image"), ("UMGF", "crops"),
    ("MEGA", "image"), ("tokens", "image"), ("tokens", "image+crops"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "images"), KINDS)
@torch.no_grad()
def test_the_second_run_encodes_nothing_and_says_the_same(
    kind: str, images: str, tmp_path: Path, make_sample: MakeSample
) -> None:
    crops = 2 if "crops" in images else 0
    samples = [make_sample(uid, image=uid[0], crops=crops) for uid in ("a", "b", "ab")]
    plain = built(kind, None, images=images)
    batch, _ = plain.processor.collate(samples)
    expected = plain(batch)
    first, second = (built(kind, tmp_path, images=images) for _ in range(2))
    outputs = [model(batch) for model in (first, first, second)]
    # three crops of each image; a ViT's slots without a crop hold blank ones of two sides
    new = {"crops": 6, "image": 2, "image+crops": 2 + 6 + 2}[images]
    assert cache_of(first).encoded_images == new
    assert cache_of(second).encoded_images == 0
    for output in outputs:
        assert torch.allclose(output.logits, expected.logits, atol=1e-5)
        assert torch.equal(output.logits, outputs[0].logits)
        if kind == "beside":
            assert torch.equal(output.layer_features, outputs[0].layer_features)


@torch.no_grad()
def test_an_image_is_its_pixels(tmp_path: Path) -> None:
    """Not its name, nor what stands beside it in a batch; another image is another."""
    seen = ImageEncoder(load_backbone("tiny"))
    seen.cache = FeatureCache(tmp_path)
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 32, 32), generator=source, dtype=torch.uint8)
    one, _ = seen.grid(images[[0, 1, 0]])
    assert seen.cache.encoded_images == 2
    assert torch.equal(one[0], one[2])
    two, _ = seen.grid(images[[1, 2]])
    assert seen.cache.encoded_images == 3
    assert torch.equal(two[0], one[1])
    changed = images[:1].clone()
    changed[0, 2, 31, 31] += 1
    seen.grid(changed)
    assert seen.cache.encoded_images == 4
    seen.objects(images[:1][:, None], torch.ones(1, 1, dtype=torch.bool))  # kept apart from grids
    assert seen.cache.encoded_images == 5


@torch.no_grad()
def test_weights_normalization_and_structure_are_part_of_the_key(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    images = torch.full((1, 3, 32, 32), 7, dtype=torch.uint8)
    seen = ImageEncoder(load_backbone("tiny"))
    seen.cache = cache
    grids = [seen.grid(images)[0]]
    seen.pixel_mean.add_(0.1)
    grids.append(seen.grid(images)[0])
    seen.backbone.blocks[0].mlp.fc1.weight.mul_(2)
    grids.append(seen.grid(images)[0])
    other = ImageEncoder(load_backbone("tiny", seed=1))
    other.cache = cache
    grids.append(other.grid(images)[0])
    assert cache.encoded_images == 4
    assert len({float(grid.sum()) for grid in grids}) == 4
    two, four = load_backbone("tiny"), load_backbone("tiny")
    four.blocks[0].attn.num_heads = 2  # type: ignore[index, union-attr]
    assert structure(two) != structure(four)  # no weight says so


def test_rows_of_another_shape_have_other_keys() -> None:
    wide, tall = torch.zeros(1, 2, 3, dtype=torch.uint8), torch.zeros(1, 3, 2, dtype=torch.uint8)
    assert image_keys(wide) != image_keys(tall) != image_keys(tall.bool())


@pytest.mark.parametrize("harm", ["cut", "changed"])
@torch.no_grad()
def test_what_is_damaged_is_encoded_again_and_said(
    harm: str, tmp_path: Path, make_sample: MakeSample, caplog: pytest.LogCaptureFixture
) -> None:
    model = built("beside", tmp_path)
    batch, _ = model.processor.collate([make_sample("p")])
    whole = model(batch).layer_features
    (path,) = tmp_path.rglob("vector/*.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-4] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    again = built("beside", tmp_path)
    assert torch.equal(again(batch).layer_features, whole)
    assert cache_of(again).encoded_images == 1
    assert str(path) in caplog.text
    assert path.read_bytes() == data


@torch.no_grad()
def test_the_blank_image_is_one(tmp_path: Path, make_sample: MakeSample) -> None:
    model = built("beside", tmp_path)
    tokens = make_sample("p").tokens
    blank = [
        RelationSample(uid, tokens, (0, 1), (2, 3), "None", VisualInput(BLANK)) for uid in "qr"
    ]
    for sample in blank:
        model(model.processor.collate([sample])[0])
    assert cache_of(model).encoded_images == 0  # nothing is shown, so nothing is encoded


@pytest.mark.slow
def test_an_encoder_that_trains_is_never_kept(tmp_path: Path, make_sample: MakeSample) -> None:
    trained = UMGFModel.build(LABELS, images="image", width=16, layers=1)
    assert not keep_images(trained, FeatureCache(tmp_path))
    assert not keep_images(TextModel.build(LABELS), FeatureCache(tmp_path))
    frozen = built("UMT", tmp_path).train()
    batch, targets = frozen.processor.collate([make_sample("p"), make_sample("q", image="b")])
    frozen.loss(frozen(batch), targets).backward()
    assert frozen.fusion.project.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.vision.parameters())


@torch.no_grad()
def test_captions_in_place_of_images_are_kept_too(tmp_path: Path, make_sample: MakeSample) -> None:
    samples = [
        RelationSample("p", make_sample("p").tokens, (0, 1), (2, 3), "None", VisualInput(caption=c))
        for c in ("a dog", "two cats", "a dog")
    ]
    first, second = (built("UMT", tmp_path, images="captions") for _ in range(2))
    batch, _ = first.processor.collate(samples)
    outputs = [model(batch).logits for model in (first, second)]
    assert first.vision.cache.encoded_images == 2
    assert second.vision.cache.encoded_images == 0
    assert torch.equal(*outputs)
    expected = built("UMT", None, images="captions")(batch).logits
    assert torch.allclose(outputs[0], expected, atol=1e-5)
