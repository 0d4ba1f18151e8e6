"""The forms of a table: aligned text, Markdown, LaTeX and CSV; JSON is its own."""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from mkgc_cl.results.escapes import in_words, one_line, to_csv, to_latex, to_markdown
from mkgc_cl.results.table import COMPARED, PAPER, SHOWN, Row, Table
from mkgc_cl.results.undefined import decimal

BEST = "†"
"""Follows the best mean of a column in plain text; the other forms set it in bold."""


def write_table(table: Table, write: Callable[[str, str], object], *, stem: str) -> None:
    """Hand every form of ``table`` to ``write(file name, text)``."""
    for suffix, text in (
        ("txt", to_text(table)),
        ("md", to_markdown_table(table)),
        ("tex", to_latex_table(table, label=table.label or stem)),
        ("csv", to_csv_table(table)),
        ("json", table.to_json()),
    ):
        write(f"{stem}.{suffix}", text)


def to_text(table: Table) -> str:
    """Aligned plain text, caption and notes wrapped at 88 columns."""
    best, width = table.best(), len(table.columns)
    marks = [
        [(BEST if (row.system, n) in best else "") + row.mark(n) for n in range(width)]
        for row in table.rows
    ]
    # A column with marks is wider by them in all of its lines: the numbers stay aligned.
    space = [" " * max(map(len, column)) for column in zip(*marks, strict=True)]

    def spaced(cells: Iterable[str]) -> list[str]:
        return [cell + blank for cell, blank in zip(cells, space, strict=True)]

    lines = [["", *spaced(map(one_line, table.columns))]]
    for row, marked in zip(table.rows, marks, strict=True):
        cells = [
            stat.text() + mark.ljust(len(blank))
            for stat, mark, blank in zip(row.stats, marked, space, strict=True)
        ]
        lines.append([one_line(row.system), *cells])
        if row.paper is not None:
            lines.append([f"  {PAPER}", *spaced(map(decimal, row.paper))])
    widths = [max(len(line[column]) for line in lines) for column in range(width + 1)]
    body = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * width)
    legend = [f"{BEST} best of its column."] if best else []
    head = _wrapped([f"{table.caption} {table.setting}"])
    notes = _wrapped([*legend, *table.notes, *table.footnotes])
    return "\n".join([*head, rule, body[0], rule, *body[1:], rule, *notes]) + "\n"


def to_markdown_table(table: Table) -> str:
    """GitHub Markdown; the best mean of a column is bold."""
    best = table.best()
    lines = [
        "| System | " + " | ".join(map(to_markdown, table.columns)) + " |",
        "|:--|" + "--:|" * len(table.columns),
    ]
    for row in table.rows:
        cells = [
            (f"**{stat.text()}**" if (row.system, column) in best else stat.text())
            + to_markdown(row.mark(column))
            for column, stat in enumerate(row.stats)
        ]
        lines.append(f"| {to_markdown(row.system)} | " + " | ".join(cells) + " |")
        if row.paper is not None:
            lines.append(f"| *{PAPER}* | " + " | ".join(map(decimal, row.paper)) + " |")
    head = to_markdown(f"{table.caption} {table.setting}".rstrip())
    notes = [f"\n{to_markdown(note)}" for note in (*table.notes, *table.footnotes)]
    return "\n".join([head, "", *lines, *notes]) + "\n"


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
            "System & " + " & ".join(map(to_latex, table.columns)) + r" \\",
            r"\midrule",
            *_latex_rows(table),
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


def _latex_rows(table: Table) -> Iterator[str]:
    order = ("text", "multimodal", "", "upper bound")
    rows = sorted(table.rows, key=lambda row: order.index(row.group))
    groups = [(name, list(group)) for name, group in itertools.groupby(rows, key=_group)]
    for number, (name, group) in enumerate(groups):
        if len(groups) > 1:
            if number:
                yield r"\addlinespace"
            heading = (name or "other").capitalize()
            yield rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\textit{{{heading}}}}} \\"
        for row in group:
            yield from _latex_lines(table, row)


def _group(row: Row) -> str:
    return row.group


def _latex_lines(table: Table, row: Row) -> Iterator[str]:
    best = table.best()
    cells = []
    for column, stat in enumerate(row.stats):
        text, mark = stat.text(r"$\pm$"), row.mark(column)
        # \rlap takes no room: the numbers stay aligned.
        cells.append(
            (rf"\textbf{{{text}}}" if (row.system, column) in best else text)
            + (rf"\rlap{{$^{{{mark}}}$}}" if mark else "")
        )
    yield f"{to_latex(row.system)} & " + " & ".join(cells) + r" \\"
    if row.paper is not None:
        paper = [rf"\textit{{{decimal(value)}}}" for value in row.paper]
        yield rf"\quad\textit{{{PAPER}}} & " + " & ".join(paper) + r" \\"


def _wrapped(paragraphs: Sequence[str]) -> list[str]:
    return [
        line
        for text in paragraphs
        for line in textwrap.wrap(one_line(text), width=88, break_on_hyphens=False)
    ]
