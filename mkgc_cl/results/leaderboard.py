"""One table of all systems on both benchmarks, out of the records of any number of folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mkgc_cl.results.escapes import markdown_row
from mkgc_cl.results.undefined import decimal, mean_defined
from mkgc_cl.systems import SYSTEMS, UPPER_BOUNDS

BENCHMARKS = {"imner": "IMNER", "imre": "IMRE"}
ORDERS = {"imner": ("PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC"), "imre": ("sep10",)}
"""Those of the paper. Numbers stand order by order: what was run in one is not compared in two."""
HEADER = ("system", "encoder", "exemplars")
Record = Mapping[str, Any]
Variant = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One system with one encoder and one set of options on one benchmark.

    Args:
        final: A after the last task in each order, mean over seeds, in per cent; ``None`` where
            there is no run.
        mean: mean of A over the tasks, likewise.
        share: final over that of joint training, over the orders that both have with the same
            encoder; ``None`` without any.
        n: runs in each order.
        minutes: mean wall time of a run.
        cores: of the machines that they ran on.
        commits: that made them, shortened.
    """

    final: tuple[float | None, ...]
    mean: tuple[float | None, ...]
    share: float | None
    n: tuple[int, ...]
    minutes: float
    cores: tuple[int, ...]
    commits: tuple[str, ...]


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
    rows = [
        (key, words, {name: _entry(runs, counted) for name, runs in found.items()})
        for key, benchmarks in groups.items()
        for words, found in _rows(benchmarks)
    ]
    rows.sort(key=lambda row: [-_final(row[2], name) for name in BENCHMARKS])
    heads = [f"{label}, {what}" for label in BENCHMARKS.values() for what in COLUMNS]
    names = [*HEADER, *heads, "commit"]
    shown = (f"{label} in {', '.join(ORDERS[name])}" for name, label in BENCHMARKS.items())
    lines = [f"{'; '.join(shown)}.", ""]
    lines += [markdown_row(names), markdown_row([":--", *["--:"] * (len(names) - 1)])]
    lines += [markdown_row(_cells(key, words, found)) for key, words, found in rows]
    return "\n".join(lines) + "\n"


def _rows(
    benchmarks: Mapping[str, Mapping[Variant, list[Record]]],
) -> Iterator[tuple[str, dict[str, list[Record]]]]:
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
    every = [set(variant) for variant in among]
    shared = set.intersection(*every)
    return ", ".join(f"{name} {value}" for name, value in own if (name, value) not in shared)


COLUMNS = ("last", "mean", "of joint", "n", "min")


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


def _entry(runs: Sequence[Record], every: Sequence[Record]) -> Entry:
    joint: dict[str, list[float | None]] = {}
    for record in every:
        same = record["scenario"], _encoder(record)
        if record["system"] in UPPER_BOUNDS and same == (runs[0]["scenario"], _encoder(runs[0])):
            joint.setdefault(record["order"], []).append(record["A"][-1])
    paired = [
        (record["A"][-1], mean_defined(joint[record["order"]]))
        for record in runs
        if record["order"] in joint
    ]
    shares = [own / bound for own, bound in paired if own is not None and bound]
    commits = {str((r["provenance"].get("git") or {}).get("commit", "?"))[:7] for r in runs}
    by_order = [[r for r in runs if r["order"] == o] for o in ORDERS[runs[0]["scenario"]]]
    return Entry(
        final=tuple(mean_defined([r["A"][-1] for r in same]) for same in by_order),
        mean=tuple(mean_defined([mean_defined(r["A"]) for r in same]) for same in by_order),
        share=mean_defined(shares),
        n=tuple(map(len, by_order)),
        minutes=sum(float(record["seconds"]) for record in runs) / len(runs) / 60,
        cores=tuple(sorted({int(record["provenance"].get("cpus", 0)) for record in runs})),
        commits=tuple(sorted(commits)),
    )


def _final(found: Mapping[str, Entry], name: str) -> float:
    entry = found.get(name)
    final = None if entry is None else mean_defined(entry.final)
    return -1.0 if final is None else final


def _cells(key: tuple[str, ...], words: str, found: Mapping[str, Entry]) -> list[str]:
    system, encoder, kept = key
    entries = [f"{system} ({words})" if words else system, encoder, kept]
    for name in BENCHMARKS:
        entry = found.get(name)
        if entry is None:
            entries += [""] * len(COLUMNS)
            continue
        share = "" if entry.share is None else f"{entry.share:.2f}"
        numbers = (", ".join(map(decimal, each)) for each in (entry.final, entry.mean))
        runs = ", ".join(map(str, entry.n))
        entries += [*numbers, share, runs, f"{entry.minutes:.0f}"]
    return [*entries, " ".join(sorted({c for entry in found.values() for c in entry.commits}))]
