"""The forms of a table: aligned text, Markdown, LaTeX and CSV; JSON is its own."""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from mkgc_cl.results.escapes import in_words, one_line, to_csv, to_latex, to_markdown
from mkgc_cl.results.table import COMPARED, PAPER, SHOWN, Cell, Line, Table

BEST = "†"
"""Follows the best mean of a column in plain text; the other forms set it in bold."""


def write_table(table: Table, write: Callable[[str, str], object], *, stem: str) -> None:
    """Hand every form of ``table`` to ``write(file name, text)``."""
    write(f"{stem}.txt", to_text(table))
    write(f"{stem}.md", to_markdown_table(table))
    write(f"{stem}.tex", to_latex_table(table, label=table.label or stem))
    write(f"{stem}.csv", to_csv_table(table))
    write(f"{stem}.json", table.to_json())


def to_text(table: Table) -> str:
    """Aligned plain text, caption and notes wrapped at 88 columns."""
    lines = [("", tuple(Cell(one_line(name)) for name in table.columns))]
    for row, cells, paper in table.lines():
        lines.append((f"  {PAPER}" if paper else one_line(row.system), cells))
    flags = [[BEST * cell.best + cell.mark for cell in cells] for _, cells in lines]
    # A column with flags is wider by them in all of its lines: the numbers stay aligned.
    room = [max(map(len, column)) for column in zip(*flags, strict=True)]
    head, *body = aligned(
        [
            [name, *(c.text + f.ljust(r) for c, f, r in zip(cells, flagged, room, strict=True))]
            for (name, cells), flagged in zip(lines, flags, strict=True)
        ],
        right=True,
    )
    rule = "-" * max(map(len, (head, *body)))
    legend = [f"{BEST} best of its column."] if table.best() else []
    above = _wrapped([f"{table.caption} {table.setting}"])
    below = _wrapped([*legend, *table.notes, *table.footnotes])
    return "\n".join([*above, rule, head, rule, *body, rule, *below]) + "\n"


def aligned(lines: Sequence[Sequence[str]], *, right: bool = False) -> list[str]:
    """Set text in columns; with ``right`` all but the first are numbers and end together."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if right and column else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def to_markdown_table(table: Table) -> str:
    """GitHub Markdown; the best mean of a column is bold."""
    rows = [["System", *map(to_markdown, table.columns)]]
    for row, cells, paper in table.lines():
        shown = [(f"**{c.text}**" if c.best else c.text) + to_markdown(c.mark) for c in cells]
        rows.append([f"*{PAPER}*" if paper else to_markdown(row.system), *shown])
    head, *lines = [f"| {' | '.join(row)} |" for row in rows]
    above = to_markdown(f"{table.caption} {table.setting}".rstrip())
    notes = [f"\n{to_markdown(note)}" for note in (*table.notes, *table.footnotes)]
    rule = "|:--|" + "--:|" * len(table.columns)
    return "\n".join([above, "", head, rule, *lines, *notes]) + "\n"


def to_latex_table(table: Table, *, label: str) -> str:
    r"""A table environment whose first lines say what the preamble must load.

    Rows stand in groups: text, multimodal, upper bound. Best means are bold. A table that is wider
    than the page is scaled down to it. The settings and all notes stand below.
    """
    below = [table.setting, *table.notes, *table.footnotes]
    return "\n".join(
        [
            "% in the preamble:",
            r"% \usepackage{booktabs}",
            r"% \usepackage{graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{in_words(table.caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            _latex_row("System", map(to_latex, table.columns)),
            r"\midrule",
            *_latex_body(table),
            r"\bottomrule",
            r"\end{tabular}}",
            "",
            r"\smallskip",
            r"\parbox{\linewidth}{\footnotesize",
            *(rf"{in_words(note)}\par" for note in below if note),
            "}",
            r"\end{table}",
            "",
        ]
    )


def to_csv_table(table: Table) -> str:
    """One line per cell (:meth:`Table.cells`); empty where there is nothing.

    Text that a spreadsheet would take for a formula has an apostrophe before it. Columns of
    comparisons are there where something is compared.
    """
    file = io.StringIO()
    compared = any(row.comparisons for row in table.rows)
    head = [*SHOWN, *COMPARED] if compared else SHOWN
    writer = csv.DictWriter(file, head, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in table.cells():
        writer.writerow({k: to_csv(v) if isinstance(v, str) else v for k, v in cell.items()})
    return file.getvalue()


def _latex_body(table: Table) -> Iterator[str]:
    """Yield the lines in their groups, which have headings where there are several."""
    order = ("text", "multimodal", "", "upper bound")
    lines = sorted(table.lines(), key=lambda line: order.index(line.row.group))
    several = len({line.row.group for line in lines}) > 1
    for name, group in itertools.groupby(lines, key=lambda line: line.row.group):
        if several:
            if name != lines[0].row.group:
                yield r"\addlinespace"
            heading = (name or "other").capitalize()
            yield rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textit{{{heading}}}}} \\"
        yield from map(_latex_line, group)


def _latex_line(line: Line) -> str:
    if line.paper:
        shown = [rf"\textit{{{to_latex(cell.text)}}}" for cell in line.cells]
        return _latex_row(rf"\quad\textit{{{PAPER}}}", shown)
    # \rlap takes no room: the numbers stay aligned.
    shown = [
        (rf"\textbf{{{to_latex(cell.text)}}}" if cell.best else to_latex(cell.text))
        + (rf"\rlap{{$^{{{cell.mark}}}$}}" if cell.mark else "")
        for cell in line.cells
    ]
    return _latex_row(to_latex(line.row.system), shown)


def _latex_row(name: str, cells: Iterable[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def _wrapped(paragraphs: Sequence[str]) -> list[str]:
    shown = filter(None, map(one_line, paragraphs))
    return [textwrap.fill(text, width=88, break_on_hyphens=False) for text in shown]
