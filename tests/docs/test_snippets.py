"""Tests of the documentation: the Python of each page runs, and what pages list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policies.cli.configuration import command_names
from selector import errors
from selector.learned.manifest import Manifest
from selector.ordering.named import ORDERERS
from selector.testing import ToyEncoder, ToyLanguageModel

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (
    "index.md",
    "concepts.md",
    "howto/own-data.md",
    "howto/own-model.md",
    "artifact.md",
    "footguns.md",
    "policies.md",
)


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def small_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the models of presets, and a folder for what snippets write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: ToyLanguageModel())
    monkeypatch.setattr("selector.workspace.SentenceEncoder.load", lambda *_, **__: ToyEncoder())


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run(page: str) -> None:
    """Guards pages against names and parameters that no longer exist; a page's blocks run in order."""
    found = blocks(page, "python")
    assert found
    known: dict[str, object] = {"__name__": "snippet"}
    for number, block in enumerate(found):
        exec(compile(block, f"docs/{page}, block {number}", "exec"), known)


def test_every_new_page_with_python_is_run() -> None:
    """Guards against a snippet that nobody runs: other tests have adapters.md; these show parts of programs."""
    elsewhere = {"adapters.md", "extending.md", "prompting.md"}
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert {page for page in pages if blocks(page, "python")} == {*PAGES, *elsewhere}


def test_the_task_files_and_configurations_of_pages_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards TOML on pages against keys that no longer exist."""
    from policies.cli.configuration import read_configuration
    from selector.data.task_file import read_task_file

    monkeypatch.chdir(tmp_path)
    needed = '[data]\ntrain = "a"\n[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\ntemplate = "{text}{label}"\n'
    for page in ("howto/own-model.md", "howto/server.md", "howto/ray.md"):
        for block in blocks(page, "toml"):
            (tmp_path / "task.toml").write_text(needed + block, encoding="utf-8")
            read = read_task_file(tmp_path / "task.toml")
            assert read["lm"] or read["encoder"]
    [configuration] = blocks("commands.md", "toml")
    (tmp_path / "shotsmith.toml").write_text(configuration, encoding="utf-8")
    assert read_configuration().settings("compare")["shots"] == "0,2,4"
    [configuration] = blocks("prompting.md", "toml")
    (tmp_path / "shotsmith.toml").write_text(configuration, encoding="utf-8")
    told = {name: read_configuration().settings(name) for name in ("reason", "generate-demonstrations", "warm-up")}
    assert (told["reason"]["samples"], told["generate-demonstrations"]["shots"]) == (10, 4)
    assert told["warm-up"]["held-out"] == "sst2"


def test_the_list_of_commands_is_whole() -> None:
    """Guards the command line's page against a command that came or went."""
    table = text("commands.md").partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE)) == set(command_names())


def test_the_keys_of_the_manifest_are_whole() -> None:
    """Guards the artifact's page against a key that came or went."""
    table = text("artifact.md").partition("## manifest.json")[2].partition("\n`shotsmith inspect")[0]
    keys = {
        key for row in re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    }
    assert keys == set(Manifest.__dataclass_fields__)


def test_errors_and_orderers_on_pages_exist() -> None:
    """Guards names in tables."""
    named = set(re.findall(r"`(\w+Error)`", text("footguns.md")))
    assert named
    assert not {name for name in named if not hasattr(errors, name)}
    table = text("concepts.md").partition("## Ordering")[2].partition("```")[0]
    assert {name for name in ORDERERS if f"`{name}`" in table} == set(ORDERERS)


def test_every_public_module_is_in_the_reference() -> None:
    """Guards the reference against a module that came or went; of `policies` it shows what people call."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, flags=re.MULTILINE))
    there = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in modules("selector", "envs", "policies")}
    assert shown <= there
    whole = {name for name in there if not name.startswith("policies.")}
    assert whole - shown == {"selector.version"}


def modules(*packages: str) -> list[Path]:
    found = (file for package in packages for file in (ROOT / package).rglob("*.py"))
    return [file for file in found if file.stem != "__init__"]
