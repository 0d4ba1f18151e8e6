"""A Gaussian readout as one file: safetensors, with its options and outputs as JSON in the header.

Nothing in it is code, and no sample is in it: two sites can exchange what they learnt.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from mkgc_cl.errors import DataError
from mkgc_cl.models.gaussian.options import GaussianOptions
from mkgc_cl.models.gaussian.readout import GaussianReadout

FORMAT = "mkgc_cl.gaussian-readout/1"
_KEY = "mkgc_cl"


def save_readout(readout: GaussianReadout, path: str | Path) -> None:
    """Write a readout, with all that predicting, learning on and merging need."""
    described = {
        "format": FORMAT,
        "outputs": readout.outputs,
        "width": readout.width,
        "options": asdict(readout.options),
    }
    tensors = {name: value.contiguous() for name, value in readout.state_dict().items()}
    save_file(tensors, path, metadata={_KEY: json.dumps(described)})


def load_readout(path: str | Path) -> GaussianReadout:
    """Read a readout that :func:`save_readout` wrote.

    Raises:
        DataError: the file is something else, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY, "{}")
            names = set(file.keys())
            kept = file.get_slice("means").get_shape() if "means" in names else None
        described: dict[str, Any] = json.loads(header)
        if not isinstance(described, dict) or described.get("format") != FORMAT:
            raise DataError(f"no Gaussian readout of format {FORMAT!r}", path=path)
        options = GaussianOptions(**described["options"])
        wide = described["width"] if options.features == "raw" else options.random_features
        if kept != [len(described["outputs"]), wide]:  # before room is made for what is not there
            raise DataError(f"its header does not fit its means {kept}", path=path)
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
