"""The model card: what a saved model is, in Markdown, from what was given and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What whoever saves a model knows of it; what is not known is left out of the card.

    Args:
        title: its name.
        data: what it was trained on, and where that came from.
        results: measured values by what they are of, as text or numbers.
        commands: what made it, to be run again.
        licences: of weights and data, by name.
        notes: limits, and whatever a user should know.
    """

    title: str = "mkgc_cl model"
    data: str = ""
    results: Mapping[str, object] = field(default_factory=dict)
    commands: Sequence[str] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""


def model_card(facts: CardFacts, *, described: Mapping[str, object], use: str) -> str:
    """Write the card.

    Args:
        facts: what is known.
        described: what the model itself says: classes, encoder, tasks.
        use: Python that loads and uses it.
    """
    parts = [
        "---\nlibrary_name: mkgc_cl\ntags:\n- continual-learning\n- information-extraction\n---",
        f"# {_line(facts.title)}",
        _table("What it is", described),
        f"## Use\n\n```python\n{use}\n```",
    ]
    if facts.data:
        parts.append(f"## Data\n\n{facts.data.strip()}")
    parts.append(_table("Results", facts.results))
    if facts.commands:
        lines = "\n".join(facts.commands)
        parts.append(f"## Made by\n\n```bash\n{lines}\n```")
    parts.append(_table("Licences", facts.licences))
    if facts.notes:
        parts.append(f"## Notes\n\n{facts.notes.strip()}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, rows: Mapping[str, object]) -> str:
    if not rows:
        return ""
    lines = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())
    return f"## {title}\n\n| | |\n|:--|:--|\n{lines}"


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return _line(str(value)).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
