"""One table of all systems on both benchmarks, out of the records of any number of folders."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mkgc_cl.results.escapes import markdown_row
from mkgc_cl.results.undefined import decimal, mean_defined
from mkgc_cl.systems import SYSTEMS, UPPER_BOUNDS

BENCHMARKS = {"imner": "IMNER", "imre": "IMRE"}
ORDERS = {"imner": ("PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC"), "imre": ("sep10",)}
"""Those of the paper. Numbers stand order by order: what was run in one is not compared in two."""
HEADER = ("system", "encoder", "exemplars")
COLUMNS = ("last", "mean", "of joint", "n", "min")
Record = Mapping[str, Any]
Runs = Sequence[Record]
Variant = tuple[tuple[str, str], ...]


def leaderboard(records: Iterable[Record]) -> str:
    """Return the table as Markdown, the best at the end of IMNER first, then of IMRE.

    Validation, the synthetic stream, orders but :data:`ORDERS`, runs cut short, controls and other
    rules do not count.

    Args:
        records: as ``results.json`` has them under ``"records"``.
    """
    # a finished run is reused in the folders of other settings, and is still one run
    counted = list({_run(record): record for record in records if _counts(record)}.values())
    groups: dict[tuple[str, ...], dict[str, dict[Variant, list[Record]]]] = {}
    for record in counted:
        variants = groups.setdefault(_key(record), {}).setdefault(record["scenario"], {})
        variants.setdefault(_variant(record), []).append(record)
    rows = [(key, *row) for key, benchmarks in groups.items() for row in _rows(benchmarks)]
    rows.sort(key=lambda row: [-_final(row[2].get(name)) for name in BENCHMARKS])
    heads = [f"{label}, {what}" for label in BENCHMARKS.values() for what in COLUMNS]
    names = [*HEADER, *heads, "commit"]
    shown = (f"{label} in {', '.join(ORDERS[name])}" for name, label in BENCHMARKS.items())
    lines = [f"{'; '.join(shown)}.", ""]
    lines += [markdown_row(names), markdown_row([":--", *["--:"] * (len(names) - 1)])]
    for (system, encoder, kept), words, found in rows:
        numbers = [text for name in BENCHMARKS for text in _numbers(found.get(name), counted)]
        name = f"{system} ({words})" if words else system
        lines.append(markdown_row([name, encoder, kept, *numbers, _commits(found)]))
    return "\n".join(lines) + "\n"


def _rows(
    benchmarks: Mapping[str, Mapping[Variant, Runs]],
) -> Iterator[tuple[str, dict[str, Runs]]]:
    """Rows of one system: what has most runs on either benchmark, then what was set otherwise.

    Settings are told where several on a benchmark differ in them; usual ones differ between the
    two.
    """
    ranked = {
        name: sorted(variants.items(), key=lambda each: (-len(each[1]), each[0]))
        for name, variants in benchmarks.items()
    }
    for rank in range(max(map(len, ranked.values()))):
        there = {name: each[rank] for name, each in ranked.items() if rank < len(each)}
        told = [_told(own, benchmarks[name]) for name, (own, _) in there.items()]
        yield "; ".join(filter(None, told)), {name: runs for name, (_, runs) in there.items()}


def _told(own: Variant, among: Iterable[Variant]) -> str:
    shared = set.intersection(*map(set, among))
    return ", ".join(f"{name} {value}" for name, value in own if (name, value) not in shared)


def _counts(record: Record) -> bool:
    config = record["config"]
    if "encoders" not in config or "system" in config or "rates" in config:
        return False  # a row of an ablation is no system
    stream = config["stream"]
    whole = stream.get("split", "test") == "test" and not {"control", "rule"} & {*stream}
    return whole and record["order"] in ORDERS.get(record["scenario"], ())


def _run(record: Record) -> str:
    config = {**record["config"], "options": _options(record["config"])}
    names = ("system", "scenario", "order", "seed")
    return json.dumps([config, *(record[name] for name in names)], sort_keys=True)


def _key(record: Record) -> tuple[str, ...]:
    info = SYSTEMS.get(record["system"])
    budget = record["config"].get("exemplars")
    kept = "none" if info is None or not info.memory else str(budget or "its own")
    if record["system"] in UPPER_BOUNDS:
        kept = "all"
    return record["system"], _encoder(record), kept


def _variant(record: Record) -> Variant:
    """Options and training, by name."""
    config = record["config"]
    encoders = {name: v for name, v in config["encoders"].items() if name != "text"}
    given = {**_options(config), **config.get("training", {}), **encoders}
    return tuple(sorted((name, str(value)) for name, value in given.items()))


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """But for what changes no result."""
    return {name: value for name, value in config.get("options", {}).items() if name != "cache"}


def _encoder(record: Record) -> str:
    return PurePath(record["config"]["encoders"]["text"]).name


def _in_orders(runs: Runs) -> list[Runs]:
    """Return the runs of each order of the benchmark."""
    return [[r for r in runs if r["order"] == order] for order in ORDERS[runs[0]["scenario"]]]


def _last(runs: Runs) -> float | None:
    """Return A after the last task, mean over seeds."""
    return mean_defined(record["A"][-1] for record in runs)


def _final(runs: Runs | None) -> float:
    """Return what rows are sorted by: A after the last task, mean over orders."""
    final = mean_defined(map(_last, _in_orders(runs))) if runs else None
    return -1.0 if final is None else final


def _numbers(runs: Runs | None, every: Runs) -> list[str]:
    """Return the columns of a benchmark: means over seeds in each order, share, runs, minutes."""
    if runs is None:
        return [""] * len(COLUMNS)
    orders, share = _in_orders(runs), _share_of_joint(runs, every)
    means = [mean_defined(mean_defined(record["A"]) for record in same) for same in orders]
    minutes = statistics.fmean(float(record["seconds"]) for record in runs) / 60
    return [
        ", ".join(decimal(_last(same)) for same in orders),
        ", ".join(map(decimal, means)),
        "" if share is None else f"{share:.2f}",
        ", ".join(str(len(same)) for same in orders),
        f"{minutes:.0f}",
    ]


def _share_of_joint(runs: Runs, every: Runs) -> float | None:
    """Return the last A over that of joint training in the same order with the same encoder."""
    alike = runs[0]["scenario"], _encoder(runs[0])
    joint = [
        record
        for record in every
        if record["system"] in UPPER_BOUNDS and (record["scenario"], _encoder(record)) == alike
    ]
    bounds = {o: _last([r for r in joint if r["order"] == o]) for o in ORDERS[alike[0]]}
    pairs = [(record["A"][-1], bounds[record["order"]]) for record in runs]
    return mean_defined(own / bound for own, bound in pairs if own is not None and bound)


def _commits(found: Mapping[str, Runs]) -> str:
    states = [record["provenance"].get("git") or {} for runs in found.values() for record in runs]
    return " ".join(sorted({str(state.get("commit", "?"))[:7] for state in states}))
