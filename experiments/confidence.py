"""How sure a system is: temperature on validation, calibration error, abstention.

    python experiments/confidence.py --quick --systems "Frozen + Gaussian"
    python experiments/confidence.py --data DATA --config table-imner --systems "Frozen + Gaussian"

Trains each system over the whole stream, fits one temperature on validation samples, and writes
a table (Markdown), the numbers (JSON) and a figure of each. Systems that tag by a CRF have none.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from mkgc_cl._files import write_atomic
from mkgc_cl.experiments import imre
from mkgc_cl.experiments.pipeline.checks import device_of
from mkgc_cl.experiments.pipeline.cli import load_systems, parse
from mkgc_cl.experiments.pipeline.console import exit_code, teller
from mkgc_cl.experiments.pipeline.given import settings_of
from mkgc_cl.experiments.pipeline.plan import plan
from mkgc_cl.experiments.pipeline.runner import build_row
from mkgc_cl.experiments.pipeline.settings import Settings
from mkgc_cl.experiments.pipeline.streams import benchmark_of
from mkgc_cl.results.escapes import markdown_row
from mkgc_cl.results.figures import draw_confidence
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.writing import written_to


def _check(settings: Settings, arguments: argparse.Namespace, given: Set[str]) -> list[str]:
    """Say that systems are measured one after another, in this process."""
    if (arguments.jobs, arguments.launcher) == (1, "local"):
        return []
    return ["confidence.py measures one system at a time, here; leave out --jobs and --launcher"]


SCRIPT = replace(
    imre.SCRIPT,
    file="confidence.py",
    description=str(__doc__),
    default=("Frozen + Gaussian",),
    check=_check,
)
COVERAGES = (0.25, 0.5, 0.75, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; see :func:`mkgc_cl.experiments.pipeline.cli.main` for exit codes."""
    arguments = parse(SCRIPT, list(sys.argv[1:] if argv is None else argv))
    return exit_code(lambda: measure(arguments))


def measure(arguments: argparse.Namespace) -> int:
    """Train and measure every system, one after another."""
    from mkgc_cl.strategies.confidence import confidence

    load_systems(arguments, teller(quiet=arguments.quiet))
    settings, rows = settings_of(SCRIPT, arguments), SCRIPT.known()
    out = Path(arguments.out) / settings.name
    heads = [f"F1 at {coverage:.0%}" for coverage in COVERAGES]
    lines = [markdown_row(("system", "order", "seed", "T", "ECE", "ECE at T", *heads))]
    lines.append(markdown_row([":--"] * 2 + ["--:"] * (4 + len(COVERAGES))))
    plans = [plan(each, rows, Path(arguments.out)) for each in settings.of_each_order()]
    for each, run in ((one.settings, run) for one in plans for run in one.runs):
        benchmark = benchmark_of(each.stream, each.encoders.images)
        options, labels = run.config["options"], benchmark.stream.labels
        device = device_of(each.device)
        strategy = build_row(rows[run.system], options, labels, each, device, seed=run.seed)
        for experience in benchmark.train_stream:
            strategy.train(experience)
        found = confidence(strategy, benchmark.stream.tasks)
        shares = [_at(found.curve, coverage) for coverage in COVERAGES]
        words = [f"{100 * value:.1f}" for value in (*found.errors, *shares)]
        first = (run.system, run.order, str(run.seed), f"{found.temperature:.2f}")
        lines.append(markdown_row((*first, *words)))
        stem = out / f"confidence-{run.setting}-{run.key}"
        data = {
            "system": run.system,
            "config": run.config,
            "temperature": found.temperature,
            "ece": found.errors,
            "curve": [(c, None if math.isnan(v) else v) for c, v in found.curve],
        }
        with written_to(out):
            title = f"{run.system}, {run.order}"
            draw_confidence(found.before, found.after, found.curve, stem, title=title)
            write_atomic(stem.with_name(stem.name + ".json"), to_json(data))
    text = "\n".join(lines) + "\n"
    with written_to(out):
        write_atomic(out / "confidence.md", text)
    sys.stdout.write(text)
    return 0


def _at(curve: Sequence[tuple[float, float]], coverage: float) -> float:
    """F1 of the surest samples, at least so large a share of them."""
    return next(f1 for share, f1 in curve if share >= coverage - 1e-9)


if __name__ == "__main__":
    sys.exit(main())
