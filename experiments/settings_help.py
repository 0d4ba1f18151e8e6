"""The end of ``--help``: every setting, what it means and its default."""

from __future__ import annotations

from typing import Any

from mkgc_cl.config import keys


def settings_help(schema: type[Any]) -> str:
    """List the settings of a schema, each with its help text and default.

    Args:
        schema: a frozen dataclass, as :func:`mkgc_cl.config.resolve` takes it.
    """
    lines = [
        f"  {key:<26}{field.metadata['help']}{_default(field.default)}"
        for key, field in keys(schema).items()
    ]
    return "settings, their meaning and default:\n" + "\n".join(lines)


def _default(value: object) -> str:
    """The default as the command line takes it; what is nothing is in the words of the help."""
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f" ({','.join(map(str, value))})"
    return f" ({str(value).lower() if isinstance(value, bool) else value})"
