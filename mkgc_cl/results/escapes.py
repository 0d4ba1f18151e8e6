"""Text as each form of a result takes it: names are shown as they are and never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Not allowed in HTML, or not in UTF-8 (lone surrogates, which JSON can carry).
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BREAKS = re.compile("[\t\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")

# What can begin a code span, emphasis, a tag, a link, a formula, an entity, a cell, a quotation or
# a heading. Text in brackets and a lone "<" cannot.
_MARKDOWN = re.compile(
    r"[\\`*|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|<(?=[A-Za-z/!?])|\](?=[(\[:])|&(?=#?\w+;)|^[>#]"
)

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "[": "{[}",
    "\N{REPLACEMENT CHARACTER}": "?",
    **{char: "\\" + char for char in "&%$#_{}"},
}

_FORMULA = ("=", "+", "-", "@", "'")


def without_controls(text: str) -> str:
    """Replace characters that neither HTML nor a file of text in UTF-8 may hold."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    r"""Return text for one line of a terminal or a file.

    >>> one_line("a\nb \x1b[2J")
    'a b �[2J'
    """
    return without_controls(_BREAKS.sub(" ", text))


def to_markdown(text: str) -> str:
    r"""Escape what Markdown would take for its own.

    >>> print(to_markdown("A_k of *x* | <b>, p < 0.05 [a](b)"))
    A_k of \*x\* \| \<b>, p < 0.05 [a\](b)
    """
    return _MARKDOWN.sub(lambda found: "\\" + found[0], one_line(text))


def markdown_row(cells: Iterable[str]) -> str:
    r"""Return a row of a table, whose cells are Markdown but for bars.

    >>> print(markdown_row(["a", "b | c"]))
    | a | b \| c |
    """
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_latex(text: str) -> str:
    r"""Spell out what LaTeX would take for its own.

    >>> print(to_latex("*50 % [a] --x"))
    {*}50 \% {[}a] -{}-x
    """
    spelled = "".join(_LATEX.get(char, char) for char in one_line(text)).replace("--", "-{}-")
    # Braces: at the start of a row "*" and "[" would belong to the end of the row before it.
    return "{*}" + spelled[1:] if spelled.startswith("*") else spelled


def in_words(text: str) -> str:
    r"""Spell out a sentence of ours, with its symbols in mathematics.

    >>> print(in_words("A_k, micro-F1 (%), of all 2^5"))
    $A_k$, micro-F1 (\%), of all $2^{5}$
    """
    text = re.sub(r"\b([AU])\\_k\b", r"$\1_k$", to_latex(text))
    return re.sub(r"\b2\\textasciicircum\{\}(\w+)", r"$2^{\1}$", text)


def to_csv(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula.

    >>> to_csv("=1+1"), to_csv("-1.5"), to_csv("w/o MM"), to_csv("'=1")
    ("'=1+1", '-1.5', 'w/o MM', "''=1")
    """
    text = one_line(text)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def slug(text: str, longest: int = 40) -> str:
    """Return a name of files and labels: letters, digits and hyphens.

    >>> slug("M-[R-Replay & EWC]")
    'M-R-Replay-EWC'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:longest].rstrip("-")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
