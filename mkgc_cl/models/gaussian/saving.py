"""A Gaussian readout as one file: safetensors, with its options and outputs as JSON in the header.

Nothing in it is code, and no sample is in it: two sites can exchange what they learnt.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from mkgc_cl._files import write_atomic
from mkgc_cl.errors import DataError
from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.readout import GaussianReadout
from mkgc_cl.regular_file import regular_size

FORMAT = "mkgc_cl.gaussian-readout/1"
LARGEST = 2**34
"""Bytes of a file: a thousand covariances of 1,400 features."""
_KEY = "mkgc_cl"


def save_readout(readout: GaussianReadout, path: str | Path) -> None:
    """Write a readout, with all that predicting, learning on and merging need.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    described = {
        "format": FORMAT,
        "outputs": readout.outputs,
        "width": readout.width,
        "options": asdict(readout.options),
    }
    tensors = {name: value.contiguous() for name, value in readout.state_dict().items()}
    write_atomic(Path(path), save(tensors, metadata={_KEY: json.dumps(described)}))


def load_readout(path: str | Path) -> GaussianReadout:
    """Read a readout that :func:`save_readout` wrote.

    Raises:
        DataError: the file is something else, or damaged.
    """
    try:
        regular_size(path, limit=LARGEST)
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY, "{}")
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        described: dict[str, Any] = json.loads(header)
        if not isinstance(described, dict) or described.get("format") != FORMAT:
            raise DataError(f"no Gaussian readout of format {FORMAT!r}", path=path)
        options = GaussianOptions(**described["options"])
        # before room is made for what is not there
        for name, shape in _shapes(described, options).items():
            if shapes.get(name) != shape:
                raise DataError(
                    f"its header, by which {name} has the shape {shape}, does not fit its {name} "
                    f"{shapes.get(name)}",
                    path=path,
                )
        readout = GaussianReadout(
            [str(name) for name in described["outputs"]],
            width=int(described["width"]),
            options=options,
        )
        readout.load_state_dict(load_file(path))
    except DataError:
        raise
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
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
