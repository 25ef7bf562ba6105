"""Sections of docs/benchmarks.md that a benchmark writes itself: tables, bars, and where they go."""

import dataclasses
import pathlib
import re
import textwrap
from collections.abc import Iterable

import harness

ENVIRONMENT = "python3 -m venv /tmp/peers && /tmp/peers/bin/pip install -r benches/requirements.txt"
PAGE = harness.ROOT / "docs" / "benchmarks.md"


@dataclasses.dataclass(frozen=True)
class Bar:
    text: str
    """What is measured and its limit."""
    measured: str
    passed: bool


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def bar_table(bars: list[Bar]) -> str:
    return table(["bar", "measured", ""], ([bar.text, bar.measured, verdict(bar)] for bar in bars))


def verdict(bar: Bar) -> str:
    return "passed" if bar.passed else "**missed**"


def section(parts: Iterable[str]) -> str:
    """Headings, tables and code as they are, paragraphs wrapped."""
    return "\n\n".join(part if part[0] in "#`|" else textwrap.fill(part, 105, break_on_hyphens=False) for part in parts)


def replace_section(page: pathlib.Path, text: str) -> None:
    """Puts a section where one of its heading was, or at the end of the page."""
    heading = text.split("\n", 1)[0]
    old = page.read_text(encoding="utf-8")
    there = re.search(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", old, re.MULTILINE | re.DOTALL)
    start, end = there.span() if there else (len(old), len(old))
    new = "\n\n".join(part for part in (old[:start].rstrip(), text, old[end:].rstrip()) if part)
    page.write_text(f"{new}\n", encoding="utf-8")
