"""Tests of the commands that reason, find instructions and write demonstrations, on scripted and tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import policies.cli.reasoning as reasoning
import selector.workspace as workspace
from policies.cli import app
from selector.prompting.reasoning.named import METHODS
from selector.testing import ScriptedLanguageModel, ToyEncoder, planted_examples


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def one_line(result: Result, code: int, *fragments: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    for fragment in ("error: ", *fragments):
        assert fragment in result.stderr


def reply(prompt: str, seed: int) -> str:
    """Numbers behind questions, instructions behind demonstrations, and texts behind labels."""
    if prompt.endswith("was told to"):
        return f" judge the review by rule {seed}."
    if prompt.endswith('": "'):
        return f" a tale told {seed} times to {len(prompt)} people"
    return " 5" if prompt.endswith("is") else " It is 5.\n1. How? The answer is 5."


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScriptedLanguageModel:
    lm = ScriptedLanguageModel(reply)
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reasoning, "load_language_model", lambda *_, **__: lm)
    monkeypatch.setattr(workspace, "load_language_model", lambda *_, **__: lm)
    for module in (reasoning, workspace):
        monkeypatch.setattr(module.SentenceEncoder, "load", lambda *_, **__: ToyEncoder())
    return lm


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    rows = [
        {
            "question": f"Tim has {n} pears and buys 1. How many?",
            "answer": str(n + 1),
            "rationale": f"{n} + 1 = {n + 1}.",
        }
        for n in range(1, 13)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "Ann has 2 figs and picks 3. How many?", "answer": "5"}\n{"question": "Why 7?"}\n')
    return path


def write_task(folder: Path, *, prompt: str = "Review: {text}\\nSentiment:{label}", more: str = "") -> Path:
    rows = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(60)]
    (folder / "train.jsonl").write_text("\n".join(rows))
    (folder / "task.toml").write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 8\ndev_size = 6\nreward_size = 8\n'
        f'[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\ntemplate = "{prompt}"\n{more}'
    )
    return folder / "task.toml"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_and_shows_its_way(method: str, sums: Path, questions: Path) -> None:
    """Guards the command for each method: table, trace and JSON, gold answers compared with where they are known."""
    common = ("reason", "--method", method, "--data", sums, "--queries", questions)
    common += () if method == "zero-shot-cot" else ("--shots", 2)
    common += ("--samples", 2) if method == "self-consistency" else ()
    result = run(*common, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["answer"] for one in found["traces"]] == ["5", "5"]
    assert [one["right"] for one in found["traces"]] == [True, None]
    assert found["summary"]["problems"] == 2
    assert ("auto_cot" in found) == (method == "auto-cot")
    more = ("--set", "tries=4") if method == "auto-cot" else ()
    shown = run(*common, "--trace", "--limit", 1, "--set", "answer_tokens=12", *more)
    assert shown.exit_code == 0, shown.output
    assert "1 of 1 right, 0 of 1 unanswered" in shown.stdout
    assert "=== query-0 by " + method in shown.stdout
    assert ("clusters gave a demonstration, " in shown.stdout) == (method == "auto-cot")
    assert "language model: " in shown.stderr


def test_a_killed_run_keeps_its_traces(
    sums: Path, questions: Path, tmp_path: Path, scripted: ScriptedLanguageModel
) -> None:
    """Guards hours of answers, which were lost with the process, and a file that mixes two runs."""
    out = tmp_path / "made" / "traces.jsonl"
    command = ("reason", "--method", "cot", "--data", sums, "--queries", questions, "--out", out, "--json", "--quiet")
    first = run(*command)
    assert first.exit_code == 0, first.output
    whole, calls = out.read_bytes(), len(scripted.prompts)
    out.write_bytes(whole[: whole.index(b"\n", whole.index(b"query-0")) + 40])
    assert run(*command).stdout == first.stdout
    assert out.read_bytes() == whole
    assert len(scripted.prompts) == calls + calls // 2
    questions.write_text(questions.read_text().replace('"5"', '"6"'))
    assert json.loads(run(*command).stdout)["traces"][0]["right"] is False
    one_line(run(*command, "--shots", 2), 2, "another run")
    one_line(run(*command[:-4], "--out", sums, "--json"), 2, "no file of traces")


def test_the_rationales_of_auto_cot_are_written_once(
    sums: Path, questions: Path, tmp_path: Path, scripted: ScriptedLanguageModel
) -> None:
    """Guards the dearest part of Auto-CoT, which a repeated run wrote anew."""
    out = tmp_path / "traces.jsonl"
    lax = ("--set", "steps=50", "--shots", 2)
    command = ("reason", "--method", "auto-cot", *lax, "--data", sums, "--queries", questions, "--out", out, "--json")
    first = run(*command, "--quiet")
    assert first.exit_code == 0, first.output
    asked = len(scripted.prompts)
    assert run(*command, "--quiet").stdout == first.stdout
    assert len(scripted.prompts) == asked
    kept = [json.loads(line) for line in (tmp_path / "traces.rationales.jsonl").read_text().splitlines()]
    assert len(kept) == 1 + json.loads(first.stdout)["auto_cot"]["written"]


def test_a_tasks_pool_may_be_reasoned_over(tmp_path: Path, questions: Path) -> None:
    """Guards --task: the pool gives demonstrations, its labels are the answers."""
    task = write_task(tmp_path)
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"text": "the plot is dull"}\n')
    common = ("reason", "--task", task, "--queries", queries, "--shots", 1, "--choose", "bm25", "--quiet")
    result = run(*common, "--method", "direct", "--kind", "text", "--json")
    assert result.exit_code == 0, result.output
    (trace,) = json.loads(result.stdout)["traces"]
    assert trace["stages"][0]["prompt"].endswith("Q: the plot is dull\nA: The answer is")
    one_line(run(*common, "--method", "cot", "--kind", "text"), 2, "rationale")
    one_line(run(*common, "--method", "direct", "--model", "other"), 2, "--model was given with --task")


@pytest.mark.parametrize(("rule", "gold"), [("number", "5"), ("choice", "E")])
def test_the_rationales_and_choices_of_a_task_are_shown(tmp_path: Path, rule: str, gold: str) -> None:
    """Guards tasks that reason: their rationales were not found, their choices not shown, their labels not compared."""
    numbers = [str(number) for number in range(1, 10)]
    rows = [
        {"q": f"{n} and 1 in {way}?", "a": str(n + 1), "why": f"{n} + 1 is so.", "options": numbers}
        for n in range(1, 9)
        for way in ("all", "total", "sum")
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"q": "2 and 3?", "a": "5", "options": numbers}))
    choices = 'choices = ["options"]\n' if rule == "choice" else ""
    (tmp_path / "task.toml").write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 2\ndev_size = 2\nreward_size = 2\n[fields]\ninputs = ["q"]\n'
        f'label = "a"\nrationale = "why"\n{choices}[prompt]\ntemplate = "{{q}}{{rationale}} So{{label}}"\n'
        f'answer_tokens = 9\nanswer_rule = "{rule}"\n'
    )
    common = ("reason", "--task", tmp_path / "task.toml", "--queries", tmp_path / "queries.jsonl", "--shots", 2)
    result = run(*common, "--method", "cot", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    (trace,) = json.loads(result.stdout)["traces"]
    assert trace["gold"] == gold
    assert trace["right"] == (rule == "number")
    assert trace["stages"][0]["prompt"].count("+ 1 is so.") == 2
    assert ("(E) 5" in trace["stages"][0]["prompt"]) == (rule == "choice")


@pytest.mark.parametrize(
    ("options", "code", "fragment"),
    [
        (("--method", "telepathy"), 2, "telepathy"),
        (("--method", "cot", "--choose", "closest"), 2, "closest"),
        (("--method", "cot", "--kind", "numeral"), 2, "numeral"),
        (("--method", "cot", "--shots", 40), 2, "12 demonstrations are available"),
        (("--method", "cot", "--task", "rotten-tomatoes"), 2, "both --data and --task"),
        (("--method", "self-consistency", "--temperature", 0), 2, "temperature 0"),
        (("--method", "cot", "--temperature", 0), 2, "--temperature was given with --method cot"),
        (("--method", "cot", "--set", "top_k=3"), 2, "--set top_k"),
        (("--method", "self-consistency", "--set", "tries=3"), 2, "--set tries"),
        (("--method", "auto-cot", "--set", "demonstrations=5"), 2, "by --set"),
        (("--method", "auto-cot", "--shots", 0), 2, "0 demonstrations"),
    ],
)
def test_mistakes_are_one_line(options: Any, code: int, fragment: str, sums: Path, questions: Path) -> None:
    """Guards users of `reason` against tracebacks."""
    one_line(run("reason", "--data", sums, "--queries", questions, *options), code, fragment)


def test_missing_files_are_one_line(sums: Path, tmp_path: Path) -> None:
    """Guards paths that are wrong."""
    one_line(run("reason", "--method", "cot", "--data", sums, "--queries", tmp_path / "no"), 2, "there is no file")
    one_line(run("reason", "--method", "cot", "--queries", sums), 2, "neither --data nor --task")
    task = write_task(tmp_path)
    one_line(run("instruct", "--task", task, "--instructions", tmp_path / "no"), 2, "there is no file")
    one_line(run("instruct", "--task", task, "--templates", tmp_path / "no"), 2, "there is no file")


def test_instructions_are_induced_and_ranked(tmp_path: Path) -> None:
    """Guards the command: the task's, a person's and the model's instructions are ranked beside none."""
    task = write_task(tmp_path, more='instruction = "Judge films."\n')
    (tmp_path / "own.txt").write_text("Say what you think.\n\n")
    common = (
        "instruct",
        "--task",
        task,
        "--instructions",
        tmp_path / "own.txt",
        "--sets",
        1,
        "--per-set",
        2,
        "--limit",
        4,
    )
    result = run(*common, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {(one["instruction"], one["origin"]) for one in found["ranking"]} == {
        ("", "none"),
        ("Judge films.", "by hand"),
        ("Say what you think.", "by hand"),
        ("Judge the review by rule 0.", "induced"),
        ("Judge the review by rule 1.", "induced"),
    }
    assert found["induction_usage"]["calls"] == 2
    scores = [(one["accuracy"], one["gold_logprob"]) for one in found["ranking"]]
    assert scores == sorted(scores, reverse=True)
    shown = run(*common, "--by", "gold", "--shots", 2)
    assert shown.exit_code == 0, shown.output
    assert "by rule 1" in shown.stdout
    one_line(run(*common, "--by", "luck", "--quiet"), 2, "luck")


def test_templates_are_ranked_without_labels(tmp_path: Path) -> None:
    """Guards --templates: the task's own is ranked too, over dev inputs or a file of queries."""
    task = write_task(tmp_path)
    (tmp_path / "templates.jsonl").write_text('{"template": "{text} All in all{label}"}\n')
    (tmp_path / "queries.jsonl").write_text('{"text": "the plot is dull"}\n{"text": "the cast is warm"}\n')
    common = ("instruct", "--task", task, "--templates", tmp_path / "templates.jsonl")
    for more in ((), ("--queries", tmp_path / "queries.jsonl", "--shots", 2)):
        result = run(*common, *more, "--json", "--quiet")
        assert result.exit_code == 0, result.output
        ranked = json.loads(result.stdout)["templates"]
        assert sorted(one["place"] for one in ranked) == [0, 1]
        assert ranked[0]["mutual_information"] >= ranked[1]["mutual_information"]
    assert "mutual information" in run(*common).stdout


def test_demonstrations_are_generated_mixed_and_written(tmp_path: Path) -> None:
    """Guards the command: what was written goes to the file, half of the shots are generated, and queries answered."""
    task = write_task(tmp_path)
    common = ("generate-demonstrations", "--task", task, "--text", "text=the plot is dull")
    result = run(*common, "--shots", 3, "--method", "bm25", "--out", tmp_path / "made" / "d.jsonl", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["queries"]
    assert [one["uid"].startswith("generated-") for one in row["demonstrations"]] == [True, True, False]
    assert row["label"] in ("fresh", "rotten")
    first, only = [json.loads(line) for line in (tmp_path / "made" / "d.jsonl").read_text().splitlines()]
    assert first["run"]["config"]["tries"] == 3
    written = only["generations"]
    assert sorted((one["label"], one["refused"]) for one in written) == [("fresh", ""), ("rotten", "")]
    assert written[0]["example"]["fields"]["text"].startswith("a tale told")
    alone = run(*common, "--method", "none")
    assert alone.exit_code == 0, alone.output
    assert "generated-query-0-0" in alone.stdout


def test_written_demonstrations_survive_a_kill(tmp_path: Path, scripted: ScriptedLanguageModel) -> None:
    """Guards what was written, which was lost with the process, and a file that mixes two runs."""
    task, out = write_task(tmp_path), tmp_path / "made.jsonl"
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"text": "the plot is dull"}\n{"text": "the cast is warm"}\n')
    command = ("generate-demonstrations", "--task", task, "--queries", queries, "--method", "bm25", "--out", out)
    first = run(*command, "--json", "--quiet")
    assert first.exit_code == 0, first.output
    whole, written = out.read_bytes(), len(scripted.prompts)
    assert written == 4
    out.write_bytes(whole[: whole.index(b"query-1") + 40])
    again = run(*command, "--json", "--quiet")
    assert json.loads(again.stdout)["queries"] == json.loads(first.stdout)["queries"]
    assert out.read_bytes() == whole
    assert len(scripted.prompts) == written + written // 2
    one_line(run(*command, "--tries", 2), 2, "another run")
    out.write_text('{"run": {}}\n{"text": 1}\n')
    one_line(run(*command), 2, "no file of generations", "generate-demonstrations --out")


def test_options_of_the_other_search_are_refused(tmp_path: Path) -> None:
    """Guards users who rank templates by labels, or induce from queries of their own, and are not told otherwise."""
    task, some = write_task(tmp_path), tmp_path / "some.jsonl"
    for option, value in (("--sets", 2), ("--by", "gold"), ("--set", "seed=1"), ("--instructions", some)):
        result = run("instruct", "--task", task, "--templates", some, option, value)
        one_line(result, 2, f"{option} was given with --templates", "without --templates")
    one_line(run("instruct", "--task", task, "--queries", some), 2, "--queries was given with no --templates")
    one_line(run("instruct", "--task", task, "--method", "nearest"), 2, "--method was given with --shots 0")
    one_line(run("instruct", "--task", task, "--by", "luck"), 2, "luck")


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path, scripted: ScriptedLanguageModel) -> None:
    """Guards long work against a path that turns out wrong at its end."""
    task = write_task(tmp_path)
    result = run("generate-demonstrations", "--task", task, "--text", "text=dull", "--out", task / "d.jsonl")
    one_line(result, 1, "cannot be used")
    assert scripted.usage.calls == 0


def test_instructions_of_another_encoding_are_named(tmp_path: Path) -> None:
    """Guards against a traceback for a file that was saved as Latin-1."""
    (tmp_path / "own.txt").write_bytes("Où est le film ?".encode("latin-1"))
    one_line(run("instruct", "--task", write_task(tmp_path), "--instructions", tmp_path / "own.txt"), 2, "UTF-8")
