"""The leaderboard, its numbers worked out by hand."""

from __future__ import annotations

from typing import Any

from mkgc_cl.results.leaderboard import leaderboard

FIRST, SECOND = "PER-LOC-ORG-MISC", "PER-ORG-LOC-MISC"


def record(system: str, A: list[float], *, order: str = FIRST, **more: Any) -> dict[str, Any]:
    stream = {"split": more.pop("split", "test")}
    config = {
        "encoders": {"text": more.pop("text", "minilm")},
        "options": more.pop("options", {}),
        "exemplars": more.pop("exemplars", None),
        "stream": stream,
    }
    return {
        "system": system,
        "scenario": more.pop("scenario", "imner"),
        "order": order,
        "seed": 0,
        "A": A,
        "seconds": more.pop("seconds", 600.0),
        "config": config,
        "provenance": {"git": {"commit": more.pop("commit", "0123456789")}, "cpus": 2},
    }


RECORDS = [
    record("Joint Training", [80.0, 60.0]),
    record("Joint Training", [70.0, 50.0], order=SECOND),
    record("Frozen + Gaussian", [80.0, 75.0], seconds=60.0),
    record("Frozen + Gaussian", [80.0, 70.0], order=SECOND, seconds=120.0, commit="abcdefghi"),
    record("Frozen + Gaussian", [90.0, 80.0], text="/a/mpnet"),
    record("EMR", [60.0, 20.0], scenario="imre", order="sep10", exemplars=6),
    record("EMR", [99.0, 99.0], split="valid"),
    record("EMR", [99.0, 99.0], order="sep10, first 2", scenario="imre"),
    record("EMR", [99.0, 99.0], order="sep7", scenario="imre"),
    record("EMR", [99.0, 99.0], order="seed:0"),
    record("EMR", [99.0, 99.0], scenario="demo-re"),
]


def rows(markdown: str) -> list[list[str]]:
    lines = markdown.splitlines()
    return [[run.strip() for run in line.strip("|").split("|")] for line in lines[4:]]


def test_by_hand() -> None:
    found = rows(leaderboard(RECORDS))
    assert [row[:3] for row in found] == [
        ["Frozen + Gaussian", "mpnet", "none"],
        ["Frozen + Gaussian", "minilm", "none"],
        ["Joint Training", "minilm", "all"],
        ["EMR", "minilm", "6"],
    ]
    # 77.5 and 75 in the mean; (75/60 + 70/50) / 2; 1 and 2 minutes
    assert found[1][3:8] == ["75.0, 70.0", "77.5, 75.0", "1.32", "1, 1", "2"]
    assert found[1][-1] == "0123456 abcdefg"
    # no joint run of that encoder, and none in the other order
    assert found[0][3:8] == ["80.0, -", "85.0, -", "", "1, 0", "10"]
    assert found[3][3:8] == [""] * 5
    assert found[3][8:13] == ["20.0", "40.0", "", "1", "10"]


def test_a_run_that_lies_in_two_folders_is_one() -> None:
    assert leaderboard([*RECORDS, *RECORDS]) == leaderboard(RECORDS)


def test_options_are_told_where_there_are_several() -> None:
    other = {"scenario": "imre", "order": "sep10", "exemplars": 6}
    more = [*RECORDS, record("EMR", [50.0, 30.0], options={"branch": 0.5}, **other)]
    found = [row[0] for row in rows(leaderboard(more))]
    assert "EMR (branch 0.5)" in found
    usual = {"options": {"shrinkage": 0.3}, "scenario": "imre", "order": "sep10"}
    both = rows(leaderboard([*RECORDS, record("Frozen + Gaussian", [90.0, 58.0], **usual)]))
    assert len(both) == len(rows(leaderboard(RECORDS)))  # each benchmark has its usual ones
    assert both[1][8:10] == ["58.0", "74.0"]


def test_what_changes_no_result_is_no_other_setting() -> None:
    again = {**RECORDS[2], "config": {**RECORDS[2]["config"], "options": {"cache": True}}}
    assert leaderboard([*RECORDS[:2], again, *RECORDS[3:]]) == leaderboard(RECORDS)
    assert leaderboard([*RECORDS, again]) == leaderboard(RECORDS)


def test_settings_that_all_share_are_not_told() -> None:
    found = [
        record("EMR", [50.0, 30.0], options={"lr": 0.1, "branch": branch}) for branch in (0.5, 0.6)
    ]
    assert [row[0] for row in rows(leaderboard(found))] == ["EMR (branch 0.5)", "EMR (branch 0.6)"]
