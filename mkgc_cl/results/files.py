"""How results are written: whole files or none, and JSON of which equal data gives equal bytes."""

from __future__ import annotations

import json

from mkgc_cl._files import write_atomic

__all__ = ["to_json", "write_atomic"]


def to_json(data: object) -> str:
    """Return JSON with sorted keys and a final newline; the same data gives the same bytes.

    A lone surrogate, which UTF-8 has no bytes for, stands there as JSON spells it.

    Raises:
        ValueError: if ``data`` holds a NaN or an infinity, which JSON has no word for.
    """
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()
