"""``mkgc doctor``: what is here, what is missing, what to do about it, and whether it works.

Looks from what is quick to what is slow: PyTorch is imported last, so that most is told at once.
Every look imports for itself: one that fails for want of a package must not take the others along.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from mkgc_cl._cores import usable_cores
from mkgc_cl.errors import ConfigError, MissingDataError, MkgcError


class Found(NamedTuple):
    """One thing that was looked at.

    Args:
        words: what was found.
        advice: what to do where something is missing; empty where all is well.
    """

    words: str
    advice: str = ""


def main(arguments: list[str]) -> int:
    """Look at everything; return 0 if the synthetic stream can run, 1 if it cannot."""
    parser = argparse.ArgumentParser(
        prog="mkgc doctor",
        description="Say what is installed, what is missing, and what to do about it.",
        epilog="exit codes: 0 the synthetic stream can run, 1 it cannot",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="folder with MRE/ and MNER/ (default: $MKGC_DATA)"
    )
    data = parser.parse_args(arguments).data
    sections: dict[str, Callable[[], Iterator[Found]]] = {
        "Python": python,
        "packages": packages,
        "data": lambda: downloads(data),
        "cache of decoded images": cache,
        "devices": devices,
        "encoders that load without a network": encoders,
        "synthetic stream": trial,
    }
    good = True
    for title, look in sections.items():
        sys.stdout.write(f"{title}\n")
        good = show(look)  # the last decides: nothing runs without what it needs
    return 0 if good else 1


def show(look: Callable[[], Iterator[Found]]) -> bool:
    """Print what a look finds as it is found; return whether nothing is missing."""
    good = True
    try:
        for found in look():
            good = good and not found.advice
            sys.stdout.write(f"  {'!' if found.advice else ' '} {found.words}\n")
            if found.advice:
                sys.stdout.write(f"    -> {found.advice}\n")
            sys.stdout.flush()
    except Exception as error:  # whatever is broken here is what the doctor is asked about
        first = (str(error).strip() or "no reason given").splitlines()[0]
        advice = "install the packages that are missing (pip install -e . in the checkout)"
        if not isinstance(error, ImportError):
            advice = "mend what is marked above; send this report with a question if nothing is"
        sys.stdout.write(f"  ! {type(error).__name__}: {first}\n    -> {advice}\n")
        return False
    return good


def python() -> Iterator[Found]:
    """The interpreter."""
    yield Found(f"{platform.python_version()}, {sys.executable}, {platform.platform()}")


def packages() -> Iterator[Found]:
    """What is required, in which version it is here; of what is optional, what is not here."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("mkgc_cl") or []
    except metadata.PackageNotFoundError:
        yield Found("mkgc_cl is not installed", "pip install -e . in the checkout")
        return
    yield Found(f"mkgc_cl {metadata.version('mkgc_cl')}")
    for needed in map(Requirement, lines):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            version = None
        wanted = f"'{needed.name}{needed.specifier}'"
        if version is None:
            yield Found(f"{needed.name} is not installed", f"pip install {wanted}")
        elif not needed.specifier.contains(version, prereleases=True):
            yield Found(f"{needed.name} {version}", f"pip install {wanted}")
        else:
            yield Found(f"{needed.name} {version}")


def downloads(given: str | None) -> Iterator[Found]:
    """The data folder, and what it can run."""
    from mkgc_cl.data.check import check_data
    from mkgc_cl.data.locate import data_root

    try:
        root = data_root(given)
    except MissingDataError as error:
        yield Found(str(error), "the synthetic stream runs without; README.md says how to get data")
        return
    found = check_data(root)
    many = len(found.problems)
    advice = f"mkgc data check {root}" if found.exit_code else ""
    words = f"{many:,} malformed" if many else "nothing malformed"
    yield Found(f"{root}: {words}, {len(found.missing):,} missing", advice)
    for code, remark in found.run:
        yield Found(f"{code}  # {remark}" if remark else code)


def cache() -> Iterator[Found]:
    """Where decoded images are kept."""
    from mkgc_cl.data.cache_folder import cache_folder

    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (MkgcError, OSError) as error:
        yield Found(str(error), "set MKGC_CACHE to a folder of yours")
        return
    room = f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free"
    writable = os.access(folder, os.W_OK)
    advice = "" if writable else "set MKGC_CACHE to a folder that you can write"
    yield Found(f"{folder}, {room}" + ("" if writable else ", cannot be written"), advice)


def devices() -> Iterator[Found]:
    """Devices that something was computed on."""
    import torch

    from mkgc_cl.devices import usable_device

    yield Found(f"cpu, {usable_cores()} cores, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        name = f"cuda:{number}"
        try:
            usable_device(name)
        except ConfigError as error:
            yield Found(error.problems[0], "update the driver, or give --device cpu")
        else:
            about = torch.cuda.get_device_properties(number)
            yield Found(f"{name}, {about.name}, {about.total_memory / 1e9:.0f} GB")


def encoders() -> Iterator[Found]:
    """The encoders of a short name, each loaded, and models in the cache of the hub."""
    from mkgc_cl.listing import EXTRAS, TEXT_ENCODERS, VISION_ENCODERS
    from mkgc_cl.models.encoders import load_text_encoder, load_vision_encoder

    loaders: list[tuple[str, str, Callable[[str], object]]]
    loaders = [(name, "text", load_text_encoder) for name in TEXT_ENCODERS]
    loaders += [(name, "vision", load_vision_encoder) for name in VISION_ENCODERS]
    for name, kind, load in loaders:
        try:
            load(name)
        except ConfigError as error:
            advice = f"pip install 'mkgc_cl[{EXTRAS[name]}]'" if name in EXTRAS else "see above"
            yield Found(f"{name} ({kind}): {error.problems[0]}", advice)
        else:
            yield Found(f"{name} ({kind})")
    for name in hub_models():
        yield Found(f"{name}, in the cache of the hub; not tried")


def hub_models() -> list[str]:
    """Names of the models whose weights are in the cache of the Hugging Face hub."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    suffixes = (".safetensors", ".bin")
    return sorted(
        repository.repo_id
        for repository in repositories
        if repository.repo_type == "model"
        and any(
            Path(file.file_name).suffix in suffixes
            for revision in repository.revisions
            for file in revision.files
        )
    )


def trial() -> Iterator[Found]:
    """One small task of the synthetic stream, trained on and measured with every part of MSPT."""
    began = time.monotonic()
    from mkgc_cl import DualStreamModel, Training, demo, mspt

    benchmark = demo("re", train_per_task=12, valid_per_task=10, test_size=20)
    model = DualStreamModel.build(benchmark.labels, text="tiny", vision="tiny", seed=0)
    strategy = mspt(model, training=Training(epochs=1))
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream[0])
    yield Found(f"one small task learnt and measured in {time.monotonic() - began:.1f} s")
