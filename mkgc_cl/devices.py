"""The device that a model is computed on."""

from __future__ import annotations

import warnings

import torch

from mkgc_cl.errors import ConfigError


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of this name, after a computation on it.

    Raises:
        ConfigError: there is no such device, or nothing can be computed on it here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on drivers; what matters is whether it works
            device = torch.device(name)
            torch.ones(1, device=device).item()
    # what torch raises depends on how it was built
    except (RuntimeError, AssertionError, ImportError, ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        there = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        raise ConfigError(
            [
                f"'device' must be one that works here, got {str(name)!r} ({reason}); "
                f"give one of {', '.join(there)}"
            ]
        ) from error
    return device
