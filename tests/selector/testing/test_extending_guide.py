"""Tests that docs/extending.md says what is so: its code runs, and it names every law."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from selector.testing import LANGUAGE_MODEL_LAWS, ORDERER_LAWS, SELECTOR_LAWS

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "extending.md").read_text(encoding="utf-8")


def test_the_code_of_the_guide_runs_and_keeps_the_laws() -> None:
    """Guards newcomers against a first example that does not work; the guide's own test is run too."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    names["test_longest_selector_keeps_the_laws"]()


def test_the_guide_names_every_law() -> None:
    """Guards against a law that nobody is told of, and against one that is gone."""
    laws = {law.__name__ for law in (*SELECTOR_LAWS, *ORDERER_LAWS, *LANGUAGE_MODEL_LAWS)}  # type: ignore[attr-defined]
    assert laws == {name for name in re.findall(r"`([a-z_]+)`", GUIDE) if name.count("_") >= 2} - {"count_tokens"}
