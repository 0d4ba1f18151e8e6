"""Measure the synthetic stream: ``python -m mkgc_cl.data.demo --seeds 0 1 --test-size 400``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mkgc_cl.data.demo.stream import demo_stream
from mkgc_cl.errors import MkgcError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a linear reader gets right from the words, the images, and both."""
    parser = argparse.ArgumentParser(prog="python -m mkgc_cl.data.demo", description=main.__doc__)
    parser.add_argument("--task", choices=("ner", "re"), nargs="+", default=["ner", "re"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--test-size", type=int, default=400)
    given = parser.parse_args(arguments)
    # Imported here because scikit-learn takes a second that --help does not need.
    from mkgc_cl.data.demo.probe import mean_readings, probe

    sys.stdout.write(f"{'task':<6}{'seed':<6}{'text':>8}{'image':>8}{'both':>8}\n")
    try:
        for task in given.task:
            readings = []
            for seed in given.seeds:
                stream = demo_stream(task, seed=seed, test_size=given.test_size)
                readings.append(probe(stream))
            rows = [*zip(given.seeds, readings, strict=True), ("mean", mean_readings(readings))]
            for name, found in rows:
                numbers = f"{found.text:8.3f}{found.image:8.3f}{found.both:8.3f}"
                sys.stdout.write(f"{task:<6}{name:<6}{numbers}\n")
    except MkgcError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
