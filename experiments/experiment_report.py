"""What an experiment prints and writes: tables beside the paper's, figures, configuration."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkgc_cl._files import write_atomic
from mkgc_cl.config import dump
from mkgc_cl.experiments.experiment_settings import SYSTEMS, Settings, StreamSettings
from mkgc_cl.experiments.paper_rows import Paper
from mkgc_cl.experiments.setting_words import epochs_words
from mkgc_cl.results import About, RunRecord, write_about, write_results
from mkgc_cl.results.counted import counted
from mkgc_cl.results.figures import draw_gamma
from mkgc_cl.results.json_files import to_json
from mkgc_cl.results.writing import written_to

REPLAY = {
    "after": "a memory phase after each task",
    "mixed": "memory in every batch",
    "alternate": "memory after every batch",
    "round-robin": "the memory of one task or class before every batch",
}
WHOLE = "full"
"""The row that the others are compared with."""


def write_setup(
    out: Path,
    settings: Any,
    made_by: Mapping[str, object],
    about: About,
    *,
    command: Sequence[str],
) -> None:
    """Write the configuration, the environment and what tables say, before anything runs.

    Raises:
        OutputError: they cannot be written.
    """
    # a byte of the command line that is not UTF-8 is spelled out
    line = shlex.join(command).encode("utf-8", "backslashreplace").decode()
    with written_to(out):
        write_atomic(out / "config.yaml", f"# resolved from: {line}\n{dump(settings)}")
        write_atomic(out / "env.json", to_json({**made_by, "command": line}))
        write_about(out, about)


def write_report(out: Path, settings: Settings, records: Sequence[RunRecord], paper: Paper) -> str:
    """Write tables and figures of all finished runs and return the main table as text."""
    table = write_results(out, records, about(settings, {r.system for r in records}, paper))
    _draw_gamma(records, out / "figures")
    return table.text()


def about(settings: Settings, systems: Collection[str], paper: Paper) -> About:
    """Return what the tables of these systems say that their records do not."""
    rows, notes = paper.ablation_rows(systems)
    return About(
        systems=tuple(SYSTEMS),
        reference=WHOLE,
        words=tuple(conditions(settings)),
        paper=rows,
        paper_notes=notes,
    )


def conditions(settings: Settings) -> list[str]:
    """Words for the caption: what a reader must know before comparing."""
    words = [f"encoders {settings.model.text} + {settings.model.vision}"]
    words.append(f"interaction in the top {settings.model.interaction_layers}")
    method = settings.method
    words.append(f"{counted(method.memory_size, 'exemplar')} of every {method.memory_scope}")
    words.append(epochs_words(settings.training.epochs, settings.training.precision))
    words.append(REPLAY[method.replay_schedule])
    if not method.ad_center:
        words.append("attention distilled as in eq. (13)")
    return [*words, *control_words(settings.stream)]


def control_words(stream: StreamSettings) -> list[str]:
    """Words for the caption on what was taken away from the samples."""
    return [] if stream.control == "none" else [f"CONTROL: {stream.control.replace('-', ' ')}"]


def _draw_gamma(records: Sequence[RunRecord], figures: Path) -> None:
    """Draw Figure 4 for the first seed that has both curves, or any of them."""
    labels = {"full": "with modulation (full)", "w/o GM": "without modulation (w/o GM)"}
    traced = [r for r in records if r.system in labels and any(r.traces.get("gamma", ()))]
    if not traced:
        return
    curves = Counter(record.seed for record in traced)
    seed = max(curves, key=lambda candidate: (curves[candidate], -candidate))
    chosen = [record for record in traced if record.seed == seed]
    first = chosen[0]
    draw_gamma(
        {labels[record.system]: record.traces["gamma"] for record in chosen},
        figures / "gamma",
        boundaries=[int(step) for step in first.traces.get("boundaries", ())],
        title=f"{first.scenario}, {first.order}, seed {seed}",
    )
