"""Tests of loading models and workspaces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from selector.data.assets import find_bundled
from selector.errors import ModelLoadError, UnknownNameError
from selector.lm.cache import CachedLanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import converted_gguf, load_language_model, native_bfloat16
from selector.progress import SILENT, RichProgress
from selector.testing import ToyLanguageModel
from selector.workspace import Workspace


@pytest.fixture
def folder(tiny_llama: tuple[Any, Any], tmp_path: Path) -> Path:
    model, tokenizer = tiny_llama
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_loads_and_its_fingerprint_follows_weights_and_dtype(folder: Path, tmp_path: Path) -> None:
    """Guards the key of the score store: other weights or another dtype must never meet old scores."""
    plain = load_language_model(LanguageModelConfig(model=str(folder), dtype="float32"))
    again = load_language_model(LanguageModelConfig(model=str(folder), dtype="float32"))
    half = load_language_model(LanguageModelConfig(model=str(folder), dtype="bfloat16"))
    assert plain.fingerprint == again.fingerprint != half.fingerprint
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    changed = load_language_model(LanguageModelConfig(model=str(folder), dtype="float32"))
    assert changed.fingerprint != plain.fingerprint
    stored = load_language_model(LanguageModelConfig(model=str(folder)), store=tmp_path / "s.sqlite")
    assert isinstance(stored, CachedLanguageModel)


def test_half_precision_stays_near_full_precision(folder: Path) -> None:
    """Guards masks in bfloat16, whose smallest number is not float32's."""
    scores = []
    for dtype in ("float32", "bfloat16"):
        lm = load_language_model(LanguageModelConfig(model=str(folder), dtype=dtype))
        scores.append([score.logprob for score in lm.logprobs(["the plot is", "the"], [" dull", " cast is"])])
    assert scores[1] == pytest.approx(scores[0], abs=0.5)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"x"),
        lambda folder: (folder / "model.safetensors").unlink(),
        shutil.rmtree,
    ],
)
def test_a_damaged_or_missing_model_is_named(folder: Path, damage: Any) -> None:
    """Guards against the tracebacks of transformers, safetensors and the hub client."""
    damage(folder)
    with pytest.raises(ModelLoadError, match="bundled names work offline"):
        load_language_model(LanguageModelConfig(model=str(folder)))


def test_wrong_settings_are_named(folder: Path) -> None:
    """Guards dtype and device before anything is loaded."""
    with pytest.raises(UnknownNameError, match="auto, float32, bfloat16"):
        load_language_model(LanguageModelConfig(model=str(folder), dtype="int4"))
    with pytest.raises(UnknownNameError, match="auto, cpu, cuda"):
        load_language_model(LanguageModelConfig(model=str(folder), device="mps"))


def test_a_missing_or_damaged_gguf_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards .gguf paths."""
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelLoadError, match="no file"):
        converted_gguf(tmp_path / "absent.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really")
    with pytest.raises(ModelLoadError, match="Copy it again"):
        converted_gguf(tmp_path / "bad.gguf")


@pytest.mark.bundled
def test_the_bundled_model_is_converted_once(bundled_lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the 20 seconds that a conversion takes, on every later start."""
    del bundled_lm  # has been loaded, hence converted
    import transformers

    def convert_again(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", convert_again)
    assert (converted_gguf(find_bundled("smollm2-135m-instruct")) / "model.safetensors").is_file()


def test_bfloat16_is_taken_only_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards dtype = "auto": emulated bfloat16 is several times slower than float32."""
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert native_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    assert not native_bfloat16("cpu")


def test_a_workspace_loads_no_model_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards `shotsmith select`, which needs no language model."""
    import selector.workspace as module

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(module, "load_language_model", load)
    workspace = Workspace.open("rotten-tomatoes")
    assert len(workspace.task.pool) == 500
    with pytest.raises(AssertionError):
        _ = workspace.engine


def test_a_workspace_hands_its_progress_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the bar of a Ray cluster, which was never shown."""
    import selector.workspace as module

    given: list[Any] = []

    def load(*_: Any, **options: Any) -> Any:
        given.append(options["progress"])
        return ToyLanguageModel()

    monkeypatch.setattr(module, "load_language_model", load)
    shown = RichProgress()
    for workspace in (Workspace.open("rotten-tomatoes"), Workspace.open("rotten-tomatoes", progress=shown)):
        _ = workspace.engine
    assert given == [SILENT, shown]


def test_a_bar_within_a_bar_shares_its_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Guards mining on a cluster: rich draws one screen at a time, and inner bars must not pile up in a log."""
    progress = RichProgress()
    with progress.track("outer", 2) as advance:
        for _ in range(2):
            with progress.track("inner", 5) as step:
                step(5)
            advance(1)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "inner" not in shown
    with progress.track("later", 1) as advance:
        advance(1)
    assert "1/1" in capsys.readouterr().err


def test_bars_count_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """Guards that bars go to standard error and leave standard output to results."""
    with RichProgress().track("counting", 3) as advance:
        advance(3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
