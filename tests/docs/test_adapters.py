"""Tests of docs/adapters.md: its snippets run, and its table names what there is."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import datasets
import pytest

from selector.adapters import sklearn as adapter

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
SECTIONS = {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}


@pytest.fixture
def folder(planted_policy: Path, planted_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page says: an artifact and the task it was trained on."""
    shutil.copytree(planted_policy, tmp_path / "policy")
    for file in (planted_task, planted_task.with_name("train.jsonl")):
        shutil.copy(file, tmp_path / file.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    adapter._language_model.cache_clear()
    return tmp_path


@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "OpenICL"])
@pytest.mark.usefixtures("folder")
def test_the_snippets_of_a_section_run(name: str) -> None:
    """Guards the page against names and parameters that no longer exist."""
    blocks = re.findall(r"^```python\n(.*?)^```", SECTIONS[name], flags=re.MULTILINE | re.DOTALL)
    assert blocks
    known: dict[str, object] = {"__name__": "snippet"}
    try:
        for block in blocks:
            exec(compile(block, f"docs/adapters.md, {name}", "exec"), known)
    finally:
        from lm_eval.api.samplers import SAMPLER_REGISTRY

        SAMPLER_REGISTRY.pop("shotsmith", None)
        adapter._language_model.cache_clear()


def test_the_table_names_what_there_is() -> None:
    """Guards the table of modules and names against a renaming."""
    found = re.findall(r"`selector\.adapters\.(\w+)\.(\w+)`(?:, `(\w+)`)?", PAGE)
    assert len(found) == 7
    for module, *names in found:
        if module != "openicl":
            made = importlib.import_module(f"selector.adapters.{module}")
            assert all(hasattr(made, name) for name in names if name)
