"""The page around the sections of a report: head, style, contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mkgc_cl
from mkgc_cl.results.markup import Markup, element, joined

# The browser itself keeps the page from loading or running anything, whatever a file made it hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #c8c8c8; --soft: #f3f3f3;
  --link: #0b57a4; --warn: #7a4b00; --warn-back: #fff1d6; --bad: #9b1c1c; --bad-back: #fde8e8; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --line: #454a50; --soft: #22262b; --link: #8ab8f0;
    --warn: #ffd28a; --warn-back: #43320f; --bad: #ffb4b4; --bad-back: #4a1f1f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 3rem; padding-top: 1rem; border-top: 2px solid var(--line); }
h3 { margin: 2rem 0 .5rem; }
a { color: var(--link); }
nav li { margin-bottom: .6rem; }
nav p { margin: 0; font-size: .9rem; }
.badges { display: flex; flex-wrap: wrap; gap: .4rem; margin: .3rem 0; padding: 0;
  list-style: none; }
.badges li { margin: 0; padding: .05rem .5rem; border: 1px solid; border-radius: .3rem;
  font-size: .8rem; font-weight: 600; }
.warn { color: var(--warn); }
.bad, .problem { color: var(--bad); }
.badges .warn { background: var(--warn-back); }
.badges .bad { background: var(--bad-back); }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .5rem; text-align: left; font-size: .9rem; }
/* A table may be wider than the window, a sentence must not; it may be wider than a small table. */
caption span { display: block; margin-right: -40rem; max-width: min(72rem, calc(100vw - 4rem)); }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: normal; }
tbody th { font-weight: 500; white-space: nowrap; }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
.numbers td, .numbers thead th + th { text-align: right; white-space: nowrap; }
/* No room of its own: the numbers stay aligned. */
.mark { display: inline-block; width: 0; }
.notes { margin: .3rem 0; font-size: .9rem; }
.paper th, .paper td { font-style: italic; }
.paper th { padding-left: 1.6rem; }
.runs { font-size: .85rem; }
.runs td { white-space: nowrap; }
.runs th, .runs td { padding: .25rem .45rem; }
pre { padding: .8rem; overflow-x: auto; background: var(--soft); font-size: .85rem;
  overflow-wrap: normal; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
.figures { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 1rem;
  margin: .8rem 0 1rem; }
figure { max-width: 100%; margin: 0; }
figure img { display: block; max-width: 100%; height: auto; padding: .4rem; background: #fff;
  border: 1px solid var(--line); }
figcaption { font-size: .9rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide, pre { overflow: visible; white-space: pre-wrap; }
  .wide, .wide td, .wide th { white-space: normal; }
  .numbers, .runs { font-size: 7.5pt; }
  caption { font-size: 9pt; }
  .maps figure { max-width: 48%; }
  th, td { padding: .15rem .3rem; }
  figure, tr, summary { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; }
}
"""


@dataclass(frozen=True)
class Entry:
    """A section, and its line in the contents.

    Args:
        name: its heading.
        summary: what is in it, in a sentence.
        badges: marks of what a reader must know first.
        section: itself, its heading with the id that :func:`anchor` gives.
    """

    name: str
    summary: str
    badges: Markup | None
    section: Markup


def page(
    title: str,
    entries: Sequence[Entry],
    remarks: Sequence[str],
) -> str:
    """Build the whole page.

    Args:
        title: its heading.
        entries: its sections.
        remarks: lines on folders that hold no experiment.
    """
    lines = [
        element(
            "li",
            element("a", entry.name, href=f"#{anchor(number)}"),
            element("p", entry.summary),
            entry.badges,
        )
        for number, entry in enumerate(entries)
    ]
    nav = element("nav", element("h2", "Contents"), element("ol", *lines), aria_label="Contents")
    foreign = None
    if remarks:
        others = element("ul", *(element("li", remark) for remark in remarks))
        foreign = element("section", element("h2", "Other folders"), others)
    made = (
        f"Made by mkgc_cl {mkgc_cl.__version__} from the records under each folder and the written "
        "tables of sweeps; nothing else."
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_STYLE)),
    )
    body = [
        element("h1", title),
        nav,
        element("main", *(entry.section for entry in entries), foreign),
    ]
    body.append(element("footer", element("p", made)))
    whole = element("html", head, element("body", joined(body, "\n")), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def anchor(number: int) -> str:
    """Return the id of the heading of a section."""
    return f"section-{number + 1}"
