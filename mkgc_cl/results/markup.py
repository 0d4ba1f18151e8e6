"""HTML from plain values: whatever is not :class:`Markup` already is text, and is escaped."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

_VOID = frozenset({"br", "img", "meta"})
_PNG = b"\x89PNG\r\n\x1a\n"
# Not allowed in HTML, or not in UTF-8 (lone surrogates, which JSON can carry).
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML. Anything made of it by ``+`` or an f-string is plain text again."""

    __slots__ = ()


def escaped(value: object) -> str:
    """Return ``value`` as it may stand in an element or in a quoted attribute."""
    if isinstance(value, Markup):
        return value
    return html.escape(without_controls(str(value)))


def without_controls(text: str) -> str:
    """Replace characters that neither HTML nor a file of text in UTF-8 may hold."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Build one element.

    >>> element("p", "a < b ", element("b", "bold"), class_="note", hidden=None)
    '<p class="note">a &lt; b <b>bold</b></p>'

    Args:
        name: its tag.
        children: what it holds; all but :class:`Markup` is escaped, ``None`` is left out.
        attributes: a final ``_`` falls away, another becomes ``-``; ``None`` leaves one out.
    """
    start = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{start}>")
    return Markup(f"<{name}{start}>{joined(children)}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Put parts in a row; ``None`` is left out."""
    return Markup(escaped(between).join(escaped(part) for part in parts if part is not None))


def table(
    caption: object, header: Sequence[object], rows: Iterable[Markup], *, class_: str
) -> Markup:
    """Build a table that scrolls by itself where it is wider than the page."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = element("tbody", joined(rows, "\n"))
    whole = element(
        "table", element("caption", element("span", caption)), element("thead", head), body
    )
    # Focusable: a reader without a mouse scrolls it by the arrow keys.
    return element("div", whole, class_=f"wide {class_}", tabindex=0)


def row(name: object, cells: Iterable[object], *, class_: str | None = None) -> Markup:
    """Build a row of a table; a cell that is no element yet becomes one."""
    head = element("th", name, scope="row")
    return element("tr", head, *(element("td", cell) for cell in cells), class_=class_)


def folded(summary: object, *children: object) -> Markup:
    """Build a part that opens on a click."""
    return element("details", element("summary", summary), *children)


def data_image(png: bytes, alt: str, *, dpi: int) -> Markup:
    """Embed a PNG image at the size it was drawn for, so that its letters have theirs.

    Raises:
        ValueError: if it is no PNG image.
    """
    if not png.startswith(_PNG) or len(png) < 24:
        raise ValueError("not a PNG image")
    # CSS has 96 pixels an inch; the width stands behind the signature, the length and "IHDR".
    width = int.from_bytes(png[16:20], "big") * 96 // dpi
    data = base64.b64encode(png).decode("ascii")
    return element("img", src=f"data:image/png;base64,{data}", alt=alt, width=width)
