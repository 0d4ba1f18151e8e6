"""The page around the sections: values in, HTML out; whatever is not markup of ours is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import mkgc_cl
from mkgc_cl.results.escapes import without_controls
from mkgc_cl.results.report.sections import Entry

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def page(title: str, entries: Sequence[Entry], remarks: Sequence[str]) -> str:
    """Build the whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def clean(value: object) -> object:
        return value if isinstance(value, Markup) else without_controls(str(value))

    made = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        finalize=clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["base64"] = lambda png: base64.b64encode(png).decode("ascii")
    return made.get_template(TEMPLATE.name).render(
        title=title, entries=entries, remarks=remarks, version=mkgc_cl.__version__
    )
