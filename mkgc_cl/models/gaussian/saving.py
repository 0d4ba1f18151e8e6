"""A Gaussian readout as one file: safetensors, with its options and outputs as JSON in the header.

Nothing in it is code, and no sample is in it: two sites can exchange what they learnt.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError
from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.readout import GaussianReadout
from mkgc_cl.regular_file import read_regular

FORMAT = "mkgc_cl.gaussian-readout/2"
LARGEST = 2**34
"""Bytes of a file: a thousand covariances of 1,400 features."""
_KEY = "mkgc_cl"


def save_readout(readout: GaussianReadout, path: str | Path) -> None:
    """Write a readout, with all that predicting, learning on and merging need.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    write_atomic(Path(path), readout_bytes(readout))


def load_readout(path: str | Path) -> GaussianReadout:
    """Read a readout that :func:`save_readout` wrote.

    Raises:
        DataError: the file is something else, or damaged.
    """
    try:
        return readout_of_bytes(read_regular(path, limit=LARGEST), path=path)
    except OSError as error:
        raise DataError(f"cannot be read as a Gaussian readout ({error})", path=path) from error


def readout_bytes(readout: GaussianReadout) -> bytes:
    """What :func:`save_readout` writes."""
    described = {
        "format": FORMAT,
        "outputs": readout.outputs,
        "width": readout.width,
        "options": asdict(readout.options),
    }
    tensors = {name: value.cpu().contiguous() for name, value in readout.state_dict().items()}
    return save(tensors, metadata={_KEY: json.dumps(described)})


def readout_of_bytes(data: bytes, *, path: str | Path) -> GaussianReadout:
    """Read what :func:`readout_bytes` returned.

    Args:
        data: the bytes.
        path: where they come from, for errors to name.

    Raises:
        DataError: they are something else, or damaged.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        described: dict[str, Any] = json.loads(header.get("__metadata__", {}).get(_KEY, "{}"))
        if not isinstance(described, dict) or described.get("format") != FORMAT:
            raise DataError(f"no Gaussian readout of format {FORMAT!r}", path=path)
        options = GaussianOptions(**described["options"])
        # before room is made for what is not there
        for name, shape in _shapes(described, options).items():
            found = header.get(name, {}).get("shape")
            if found != shape:
                raise DataError(
                    f"its header, by which {name} has the shape {shape}, does not fit its {name} "
                    f"{found}",
                    path=path,
                )
        readout = GaussianReadout(
            [str(name) for name in described["outputs"]],
            width=int(described["width"]),
            options=options,
        )
        readout.load_state_dict(load(data))
    except DataError:
        raise
    except (
        SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        AttributeError,
    ) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot be read as a Gaussian readout ({words})", path=path) from error
    return readout


def _shapes(described: dict[str, Any], options: GaussianOptions) -> dict[str, list[int]]:
    """Shapes of the large tensors of a readout that is described so."""
    outputs, width = len(described["outputs"]), described["width"]
    wide = width if options.features == "raw" else options.random_features
    scatters = outputs if options.covariance == "class" else 1
    found = {"means": [outputs, wide], "scatter": [scatters, wide, wide]}
    if options.features != "raw":
        found["lift.projection"] = [width, wide]
    return found
