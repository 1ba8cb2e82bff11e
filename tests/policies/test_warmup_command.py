"""Tests of the command that warms a language model up: its result, its second run, its mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from policies.warmup import WarmUpMaterial, read_documents, warm_up
from policies.warmup_config import WarmUpConfig
from policies.warmup_evaluation import HeldOutPlan
from selector.data.task import Task
from selector.errors import DataFileError, UsageError
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.testing import planted_examples

pytest.importorskip("peft", reason="the extra `warmup` is not installed")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, fragment: str) -> None:
    assert result.exit_code == 2, result.output
    (line,) = (line for line in result.stderr.splitlines() if line.strip())
    assert line.startswith("error: ")
    assert fragment in line


def write_task(folder: Path, lm: Path) -> Path:
    """A task over planted reviews."""
    lines = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(60)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    path = folder / "task.toml"
    path.write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 8\ndev_size = 6\nreward_size = 8\n[fields]\ninputs = ["text"]\n'
        'label = "label"\n[prompt]\ntemplate = "Review: {text}\\nSentiment:{label}"\n'
        f"[lm]\nmodel = {json.dumps(str(lm))}\n"
    )
    return path


@pytest.fixture
def tiny_model(small: tuple[Any, Any], tmp_path: Path) -> Path:
    model, tokenizer = small
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def other_task(folder: Path, lm: Path) -> Path:
    """A held-out task with other texts and labels."""
    path = write_task(folder, lm)
    rows = [
        {"text": f"{'north' if number % 2 else 'south'} of the {word} {number}", "label": str(number % 2)}
        for number, word in enumerate(["river", "hill", "town"] * 20)
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return path.rename(folder / "other.toml")


def test_the_command_writes_a_model_that_tasks_can_name(tiny_model: Path, tmp_path: Path) -> None:
    """Guards the whole command, its second runs, and that the result loads where a model is named.

    --no-resume refused a folder of its own; held-out texts that had changed were taken for those measured before.
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "corpus.txt").write_text(
        "The mill stood by the river. Nobody knew who had built it. The miller sold his flour in the town.\n\n"
        "A boat left before the storm. Its crew had heard of the warning. They came home with empty nets."
    )
    task, held_out = write_task(tmp_path, tiny_model), other_task(tmp_path / "elsewhere", tiny_model)
    command = ("warm-up", "--tasks", task, "--held-out", held_out, "--corpus", tmp_path / "corpus.txt", "--steps", 4)
    command += ("--batch-size", 4, "--shots", 1, "--learning-rate", 0.01, "--limit", 6, "--longest", 200, "--quiet")
    results = [run(*command, "--out", tmp_path / "run", "--json") for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0], [result.output for result in results]
    assert results[0].stdout == results[1].stdout
    outcome = json.loads(results[0].stdout)
    assert set(outcome["gains"]) == {"other", "mean"}
    folder = Path(outcome["model"])
    card = json.loads((folder / "warm-up.json").read_text())
    assert card["tasks"][0]["name"] == "task"
    assert len(card["tasks"]) == 6
    assert card["held_out"][0]["name"] == "other"
    assert (folder / "model.safetensors").is_file()
    assert "warmed up" in (folder / "README.md").read_text()
    warmed, plain = (
        load_language_model(LanguageModelConfig(model=str(name), dtype="float32")) for name in (folder, tiny_model)
    )
    assert warmed.fingerprint != plain.fingerprint
    text = ["Review: the plot is warm\nSentiment:"], [" fresh"]
    assert warmed.logprobs(*text) != plain.logprobs(*text)
    changed = run(*command, "--out", tmp_path / "run", "--seed", 3)
    refused(changed, "other settings")
    afresh = run(*command, "--out", tmp_path / "run", "--seed", 3, "--no-resume", "--json")
    assert afresh.exit_code == 0, afresh.output
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "run.json").write_text('{"kind": "policy-run"}')
    refused(run(*command, "--out", tmp_path / "own", "--no-resume"), "other files")
    assert (tmp_path / "own" / "model").is_dir()
    rows = held_out.with_name("train.jsonl")
    rows.write_text(rows.read_text().replace("river", "lake"))
    refused(run(*command, "--out", tmp_path / "run", "--seed", 3), "held_out")


def test_instructions_stand_in_held_out_prompts_too(tiny_model: Path, tmp_path: Path) -> None:
    """Guards instruction tuning against being measured without instructions."""
    (tmp_path / "elsewhere").mkdir()
    task, held_out = write_task(tmp_path, tiny_model), other_task(tmp_path / "elsewhere", tiny_model)
    command = ("warm-up", "--tasks", task, "--held-out", held_out, "--instructions", "--steps", 1, "--batch-size", 1)
    command += ("--shots", 1, "--limit", 2, "--adapter", "full", "--quiet", "--json", "--out", tmp_path / "run")
    refused(run(*command), "'task' has no instruction")
    task.write_text('[about]\ninstruction = "Say how it is."\n' + task.read_text())
    refused(run(*command), "'other' has no instruction")
    held_out.write_text('[about]\ninstruction = "Say where it is."\n' + held_out.read_text())
    result = run(*command)
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "run" / "model" / "warm-up.json").read_text())
    assert card["held_out"][0]["fingerprint"] == Task.load(held_out).instructed().fingerprint


def test_mistakes_are_named(tiny_model: Path, tmp_path: Path) -> None:
    """Guards against a traceback, or a base whose weights are out of reach."""
    refused(run("warm-up", "--out", tmp_path / "o"), "nothing to learn from")
    task = write_task(tmp_path, tiny_model)
    refused(run("warm-up", "--tasks", task, "--form", "sideways", "--out", tmp_path / "o"), "sideways")
    with pytest.raises(DataFileError):
        read_documents(tmp_path / "absent.txt")
    with pytest.raises(UsageError, match="server"):
        warm_up(
            WarmUpMaterial(documents=["One sentence of words."]),
            LanguageModelConfig(server="http://127.0.0.1:1/v1"),
            out=tmp_path / "o",
            config=WarmUpConfig(),
            plan=HeldOutPlan(),
        )


@pytest.mark.parametrize("held_out", [True, False])
def test_a_template_without_a_channel_form_is_refused_first(tiny_model: Path, tmp_path: Path, held_out: bool) -> None:
    """Guards against a KeyError behind the first evaluation where a template shows {rationale}."""
    (tmp_path / "elsewhere").mkdir()
    task, other = write_task(tmp_path, tiny_model), other_task(tmp_path / "elsewhere", tiny_model)
    if held_out:
        other.write_text(other.read_text().replace("\\nSentiment:", " "))
    else:
        text = task.read_text().replace("Sentiment:{label}", "Because{rationale}\\nSentiment:{label}")
        task.write_text(
            text.replace("[lm]", "answer_tokens = 4\n[lm]").replace("[fields]", '[fields]\nrationale = "text"')
        )
    command = ("warm-up", "--tasks", task, "--held-out", other, "--form", "channel", "--out", tmp_path / "run")
    refused(run(*command), "channel form" if held_out else "rationale")
    assert not (tmp_path / "run").exists()
