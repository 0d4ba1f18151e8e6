"""Weights that other packages carry, converted once.

The converted weights are a ``safetensors`` file in the cache that is named by its digest and
believed only where it has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from mkgc_cl._files import write_atomic
from mkgc_cl.data.cache_folder import cache_folder
from mkgc_cl.errors import ConfigError, DataError
from mkgc_cl.regular_file import read_regular

_MOST = 2**28


def converted_weights(
    preset: str, convert: Callable[[], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """Read the converted weights of an encoder, or convert them.

    Args:
        preset: name of the encoder.
        convert: makes the weights.

    Raises:
        ConfigError: of ``convert``.
    """
    from safetensors.torch import load, save

    folder = cache_folder() / "encoders"
    for path in sorted(folder.glob(f"{preset}-*.safetensors")):
        try:
            data = read_regular(path, limit=_MOST)
        except DataError:
            continue
        if path.name == _name(preset, data):
            return load(data)
    weights = dict(convert())
    data = save(weights)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _name(preset, data), data)
    except OSError:
        pass  # a cache that cannot be written costs a second every time
    return weights


def package_file(package: str, file: str, *, sha256: str, missing: str) -> bytes:
    """Read a file of an installed package, which is not imported for it.

    Args:
        package: its distribution and version, ``name==1.0``.
        file: path of the file in it.
        sha256: of the file.
        missing: what to say where it is not there.

    Raises:
        ConfigError: the package is not there, or carries another file.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    name, _, version = package.partition("==")
    try:
        path = Path(str(distribution(name).locate_file(file)))
        data = read_regular(path, limit=_MOST)
    except (PackageNotFoundError, DataError) as error:
        raise ConfigError([missing]) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ConfigError([f"{path} is not that of {name} {version}; install this version"])
    return data


def _name(preset: str, data: bytes) -> str:
    return f"{preset}-{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
