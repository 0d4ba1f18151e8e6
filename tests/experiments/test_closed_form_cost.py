"""The cost of learning in closed form is measured on the readout itself."""

from __future__ import annotations

from mkgc_cl.experiments.speed.closed_form import measure_closed_form


def test_every_size_is_measured() -> None:
    report, text = measure_closed_form([(5, 16)])
    (found,) = report["closed_form"]
    assert found["statistics_mb"] == (5 + 5 * 16 + 16 * 16) * 8 / 1e6
    assert all(found[name] > 0 for name in found if name.endswith("_s"))
    assert len(text.splitlines()) == 3
