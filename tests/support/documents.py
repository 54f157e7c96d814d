"""The documents' own lines and files, so that tests type and read what a user does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = {
    "readme": ROOT / "README.md", "worst-day": ROOT / "docs/worst-day.md", "pipeline": ROOT / "docs/pipeline.md",
}  # fmt: skip


def text(document: str) -> str:
    """A whole document."""
    return DOCUMENTS[document].read_text(encoding="utf-8")


def block(document: str, mark: str, language: str = "sh") -> str:
    """The block behind ``<!-- run:mark -->`` or ``<!-- file:mark -->``, without the indentation of a list."""
    found = re.search(
        rf"^( *)<!-- (?:run|file):{re.escape(mark)} -->\n\1```{language}\n(.*?)^\1```$",
        text(document),
        re.DOTALL | re.MULTILINE,
    )
    assert found, f"{document}: {mark}"
    return re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)
