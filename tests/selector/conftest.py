"""The browser and the retriever that tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selector.strategies.retriever import RetrieverCard, write_retriever_card

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    with playwright.sync_playwright() as driver:
        # A container has no sandbox of its own to offer.
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def retriever(tiny_encoder: Path, tmp_path: Path) -> Path:
    """The folder of a retriever with the tiny encoder; it takes any pool."""
    folder = tmp_path / "retriever"
    shutil.copytree(tiny_encoder, folder)
    write_retriever_card(folder, RetrieverCard("tiny", "pool", "template", "lm"))
    return folder
