"""Tests of the command line: the whole chain on a tiny model, and one line for every mistake."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from policies.cli.app import errors_as_one_line
from selector.testing import planted_examples

TEMPLATE = 'template = "Review: {text}\\nSentiment:{label}"'


LEARNING = ("--warm-start", "retriever", "--max-per-label", 2, "--token-cost", 0.1, "--reward", "margin")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_task(folder: Path, lm: Path | str, *, rows: int = 60, extra: str = "") -> Path:
    """A task over planted reviews."""
    lines = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(rows)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    path = folder / "task.toml"
    path.write_text(
        f'[data]\ntrain = "train.jsonl"\ntest_size = 8\ndev_size = 6\nreward_size = 8\n'
        f'[fields]\ninputs = ["text"]\nlabel = "label"\n[prompt]\n{TEMPLATE}\n'
        f"[lm]\nmodel = {json.dumps(str(lm))}\n{extra}"
    )
    return path


@pytest.fixture(scope="module")
def tiny_model(tiny_llama: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny language model as a folder, as a user would name it."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    model, tokenizer = tiny_llama
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))


def check_comparisons(task: Path, retriever: Path, artifact: Path, training: int) -> None:
    """Compares everything, then the same again from its finished runs, then over several numbers of shots."""
    methods = (
        f"zero,random,bm25,nearest,mmr,dpp,dpp:{retriever},best-of-k,{retriever},{artifact},{artifact}+locale,"
        "label-vote,logreg,majority"
    )
    out, asked = task.parent / "out", ("compare", "--task", task)
    options = ("--methods", methods, "--shots", 2, "--seeds", 2, "--out", out)
    result = run(*asked, *options, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout)
    assert results == json.loads((out / "results.json").read_text())
    assert {row["method"] for row in results["summary"]} == {
        *("zero", "random", "bm25", "nearest", "mmr", "dpp", "dpp:epr", "best-of-k", "epr", "policy", "policy+locale"),
        *("label-vote", "logreg", "majority"),
    }
    assert [row["seed"] for row in results["rows"] if row["method"] == "random"] == [0, 1]
    assert all(row["lm_tokens_computed"] <= row["lm_tokens"] for row in results["rows"])
    assert (out / "report.html").stat().st_size > 10_000
    assert len((out / "per_query.csv").read_text().splitlines()) == 1 + 8 * len(results["rows"])
    again = run(*asked, *options)
    assert again.exit_code == 0, again.output
    assert f"{len(results['rows'])} of {len(results['rows'])} runs were finished already" in again.stderr

    options = ("--methods", f"random,{artifact},best-of-k", "--baseline", "random", "--shots", "2,1,0", "--seeds", 1)
    more = ("--budget", "equal", "--metrics", "macro-f1,ece", "--out", task.parent / "sweep", "--quiet")
    swept = run(*asked, *options, *more)
    assert swept.exit_code == 0, swept.output
    results = json.loads((task.parent / "sweep" / "results.json").read_text())
    assert results["shots"] == [0, 1, 2]
    assert results["budget"] == {"asked": "equal", "lm_tokens": dict.fromkeys("012", training)}
    for shown in ("macro-f1", "accuracy by shots", f"{training:,}", "Verdict", "table.md"):
        assert shown in swept.stdout


@pytest.mark.bundled
def test_the_whole_chain(tiny_model: Path, tmp_path: Path) -> None:
    """Guards every command from mining to the comparison, as scripts and people chain them; and their second run."""
    task = write_task(tmp_path, tiny_model)
    mined, retriever, runs, artifact = (tmp_path / name for name in ("mined", "epr", "run", "policy"))
    common = ("--task", task, "--quiet")
    chain = [
        ("mine", *common, "--out", mined, "--candidates", 6, "--limit", 20),
        ("train-retriever", *common, "--mined", mined, "--out", retriever, "--epochs", 1),
        ("train-policy", *common, "--retriever", retriever, "--out", runs, "--shots", 2, "--steps", 256, *LEARNING),
        ("export", runs, "--out", artifact),
    ]
    for _ in range(2):
        for command in chain:
            result = run(*command)
            assert result.exit_code == 0, (command, result.output)
    assert (retriever / "shotsmith.json").is_file()
    assert len((mined / "mined.jsonl").read_text().splitlines()) == 20

    manifest = json.loads(run("inspect", artifact, "--json").stdout)
    assert (manifest["shots"], manifest["encoder"], manifest["max_per_label"]) == (2, "encoder", 2)
    mining = json.loads((retriever / "shotsmith.json").read_text())["training_lm_tokens"]
    assert mining == json.loads((mined / "lm_usage.json").read_text())["tokens"] > 0
    training = mining + json.loads((runs / "lm_usage.json").read_text())["tokens"]
    assert manifest["training_lm_tokens"] == training > mining
    assert "shortlist size" in run("inspect", artifact).stdout

    query = ("--text", "text=the plot is superb and warm", "--task", task)
    chosen = json.loads(run("select", *query, "--artifact", artifact, "--shots", 2, "--json").stdout)
    assert len(chosen[0]["demonstrations"]) == 2
    assert "1. " in run("select", *query, "--artifact", artifact).stdout
    answer = json.loads(run("predict", *query, "--artifact", artifact, "--shots", 2, "--json").stdout)[0]
    assert answer["demonstrations"] == [one["uid"] for one in chosen[0]["demonstrations"]]
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert run("predict", *query, "--method", "bm25").exit_code == 0

    check_comparisons(task, retriever, artifact, training)


@pytest.mark.bundled
def test_a_policy_refuses_another_pool_and_another_template(tiny_model: Path, tmp_path: Path) -> None:
    """Guards against an artifact that is used for what it was not made for; --force is the way round."""
    task = write_task(tmp_path, tiny_model)
    common = ("--task", task, "--quiet", "--steps", 256, "--shots", 2)
    assert run("train-policy", *common, "--out", tmp_path / "run").exit_code == 0
    assert run("export", tmp_path / "run", "--out", tmp_path / "policy").exit_code == 0
    query = ("--text", "text=a dull plot", "--artifact", tmp_path / "policy")
    (tmp_path / "grown").mkdir()
    grown = write_task(tmp_path / "grown", tiny_model, rows=70)
    refused = run("select", "--task", grown, *query)
    assert (refused.exit_code, "the pool in use" in refused.stderr) == (1, True)
    assert run("select", "--task", grown, *query, "--force").exit_code == 0
    (tmp_path / "other").mkdir()
    other = write_task(tmp_path / "other", tiny_model)
    other.write_text(other.read_text().replace("Sentiment:", "Verdict:"))
    refused = run("predict", "--task", other, *query)
    assert (refused.exit_code, "the template in use" in refused.stderr) == (1, True)


@pytest.mark.bundled
def test_the_chain_of_one_prompt_for_a_task(tiny_model: Path, tmp_path: Path) -> None:
    """Guards the corpus policy through every command: train twice, export, inspect, select, predict, compare."""
    task = write_task(tmp_path, tiny_model)
    common = ("--task", task, "--quiet")
    sizes = ("--candidates", 8, "--episodes", 6, "--steps", 20, "--shots", 2, "--reward-queries", 4)
    chosen = []
    for name, more in (
        ("plain", ("--online-episodes", 0)),
        ("asks", ("--lm-features", "--online-episodes", 2, "--reward", "probability")),
    ):
        runs, artifact = tmp_path / f"run-{name}", tmp_path / name
        for _ in range(2):
            result = run("train-policy", *common, "--env", "corpus", *sizes, *more, "--out", runs)
            assert result.exit_code == 0, result.output
        assert run("export", runs, "--out", artifact).exit_code == 0
        manifest = json.loads(run("inspect", artifact, "--json").stdout)
        assert (manifest["kind"], len(manifest["candidates"])) == ("corpus", 8)
        assert manifest["fingerprints"].keys() >= {"pool", "language model", "reward queries", "dev queries"}
        assert "candidates" in run("inspect", artifact).stdout
        texts = ("the plot is superb", "a dull script")
        found = [
            json.loads(
                run(
                    "select", "--task", task, "--artifact", artifact, "--shots", 2, "--json", "--text", f"text={text}"
                ).stdout
            )[0]["indices"]
            for text in texts
        ]
        assert found[0] == found[1]
        assert set(found[0]) <= set(manifest["candidates"])
        chosen.append(artifact)
    answer = run("predict", "--task", task, "--artifact", chosen[1], "--shots", 2, "--text", "text=warm", "--json")
    assert len(json.loads(answer.stdout)[0]["demonstrations"]) == 2
    methods = ",".join(map(str, (*chosen, "random")))
    result = run(
        "compare",
        *common,
        "--methods",
        methods,
        "--baseline",
        "random",
        "--shots",
        2,
        "--seeds",
        1,
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert result.exit_code == 0, result.output
    assert {row["method"] for row in json.loads(result.stdout)["summary"]} == {"plain", "asks", "random"}


def one_line(result: Result, code: int, *fragments: str) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "expected" in lines[0]
    for fragment in fragments:
        assert fragment in lines[0]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "fragments"),
    [
        (("select", "--task", "absent.toml", "--artifact", "x", "--text", "text=a"), 2, ("absent.toml",)),
        (("select", "--task", "{task}", "--artifact", "{dir}/none", "--text", "text=a"), 2, ("there is no", "none")),
        (("select", "--task", "{task}", "--artifact", "{dir}", "--text", "text=a"), 1, ("manifest.json",)),
        (("select", "--task", "{task}", "--artifact", "x", "--text", "text=a", "--text", "text=b"), 2, ("2 times",)),
        (("index", "--task", "{task}", "--retriever", "{dir}/none"), 2, ("there is no", "none")),
        (("index", "--task", "{task}", "--retriever", "{dir}"), 1, ("retriever card",)),
        (("select", "--task", "{task}", "--artifact", "x", "--text", "nothing"), 2, ("equals sign",)),
        (
            ("select", "--task", "{task}", "--artifact", "x", "--text", "body=a"),
            2,
            (
                "gives the fields ['body']",
                "['text']",
            ),
        ),
        (("select", "--task", "{task}", "--artifact", "x"), 2, ("neither",)),
        (("select", "--task", "{task}", "--artifact", "x", "--queries", "{dir}/none.csv"), 2, ("no file",)),
        (("predict", "--task", "{task}", "--text", "text=a"), 2, ("--artifact",)),
        (("predict", "--task", "{task}", "--text", "text=a", "--method", "neares"), 2, ("unknown method",)),
        (("predict", "--task", "{task}", "--text", "text=a", "--method", "random", "--shots", "99"), 2, ("99",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--methods", "random,foo"), 2, ("'foo'",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--methods", ","), 2, ("no method",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--baseline", "foo", "--methods", "bm25"), 2, ("foo",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--orderer", "foo"), 2, ("orderer",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--shots", "1,two"), 2, ("--shots", "1,two")),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--budget", "most"), 2, ("--budget", "equal")),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--budget", "0"), 2, ("budget is 0",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--metrics", "bleu"), 2, ("metric for classification",)),
        (("train-retriever", "--task", "{task}", "--mined", "{dir}/none", "--out", "{dir}/r"), 2, ("none",)),
        (("train-policy", "--task", "{task}", "--out", "{dir}/p", "--algo", "dqn"), 2, ("algorithm",)),
        (("train-policy", "--task", "{task}", "--out", "{dir}/p", "--env", "pool"), 2, ("environment", "corpus")),
        (("train-policy", "--task", "{task}", "--out", "{dir}/p", "--env", "corpus", "--algo", "ppo"), 2, ("dqn",)),
        (("train-policy", "--task", "{task}", "--out", "{dir}/p", "--env", "corpus", "--reward", "f1"), 2, ("'f1'",)),
        (("train-policy", "--task", "{task}", "--out", "{dir}"), 2, ("other files",)),
        (("train-policy", "--task", "{task}", "--out", "{task}"), 2, ("is a file",)),
        (("compare", "--task", "{task}", "--out", "{task}/o", "--methods", "random"), 2, ("is a file",)),
        (("compare", "--task", "{task}", "--out", "{dir}/o", "--methods", "random"), 2, ("--baseline random",)),
        (("export", "{dir}/none", "--out", "{dir}/a"), 2, ("there is no", "none")),
        (("export", "{dir}", "--out", "{dir}/a"), 1, ("run folder",)),
        (("inspect", "{dir}/none"), 2, ("there is no", "none")),
        (("inspect", "{dir}"), 1, ("manifest.json",)),
    ],
)
@pytest.mark.bundled
def test_every_mistake_is_one_line(
    tiny_model: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, fragments: tuple[str, ...]
) -> None:
    """Guards the promise to users: what was found, what was expected, what to do; code 2 for usage, 1 for failure."""
    task = write_task(tmp_path, tiny_model)
    filled = [argument.format(task=task, dir=tmp_path) for argument in arguments]
    one_line(run(*filled, *(["--quiet"] if arguments[0] in ("compare", "mine") else [])), code, *fragments)


@pytest.mark.parametrize(
    ("extra", "code", "fragment"),
    [
        ('scoring = "perplexity"', 2, "scoring function"),
        ('dtype = "float12"', 2, "dtype"),
        ('device = "tpu"', 2, "device"),
    ],
)
def test_wrong_model_settings_are_one_line(
    tiny_model: Path, tmp_path: Path, extra: str, code: int, fragment: str
) -> None:
    """Guards [lm] values that only the model's loading can judge."""
    task = write_task(tmp_path, tiny_model, extra=extra)
    one_line(run("predict", "--task", task, "--text", "text=a", "--method", "random"), code, fragment)


def test_a_missing_model_and_a_long_text_are_one_line(tiny_model: Path, tmp_path: Path) -> None:
    """Guards the two failures that come from the model: it is not there, or the text does not fit."""
    task = write_task(tmp_path, tmp_path / "no-model")
    one_line(run("predict", "--task", task, "--text", "text=a", "--method", "random"), 1, "no-model")
    task = write_task(tmp_path, tiny_model)
    long = run("predict", "--task", task, "--text", "text=" + "word " * 400, "--method", "random", "--shots", "1")
    one_line(long, 1, "tokens without any demonstration", "256")


def test_an_unknown_option_is_a_usage_error() -> None:
    """Guards typer's own mistakes: code 2."""
    assert run("select", "--nonsense").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("--version").stdout.strip() == "0.1.0"


@pytest.mark.parametrize(
    ("error", "code", "fragment"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/some/file"), 1, "no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/some/file"), 1, "/some/file"),
        (OSError(errno.EROFS, "Read-only file system", "/some/file"), 1, "Read-only file system"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/some/file"), 2, "/some/file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/some/file"), 2, "File name too long"),
    ],
)
def test_interruption_and_disk_errors_are_one_line(
    error: BaseException, code: int, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards Ctrl-C, a full disk, and a path that cannot be read, written or made."""
    import typer

    with pytest.raises(typer.Exit) as caught, errors_as_one_line():
        raise error
    assert caught.value.exit_code == code
    assert fragment in capsys.readouterr().err


def test_the_note_of_an_error_stands_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Guards what is said about finished work when a later part fails."""
    import typer

    from selector.errors import ServerError

    error = ServerError("the server is gone", expected="an answer", remedy="Start it.")
    error.add_note("3 finished runs are kept.")
    with pytest.raises(typer.Exit), errors_as_one_line():
        raise error
    assert "Start it. 3 finished runs are kept." in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("of no file")])
def test_our_own_mistakes_keep_their_traceback(error: Exception) -> None:
    """Guards against hiding bugs."""
    with pytest.raises(type(error)), errors_as_one_line():
        raise error


@pytest.mark.bundled
def test_control_c_keeps_what_was_mined(tiny_model: Path, tmp_path: Path) -> None:
    """Guards finished work: interrupt a real process, see one line and code 130, run again to the end."""
    task = write_task(tmp_path, tiny_model, rows=400)
    command = [sys.executable, "-m", "policies.cli", "mine", "--task", str(task), "--out", str(tmp_path / "m")]
    command += ["--candidates", "30", "--limit", "300", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    rows = tmp_path / "m" / "mined.jsonl"
    deadline = time.monotonic() + 120
    while not (rows.is_file() and rows.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    finished = rows.read_text().splitlines()
    assert process.returncode == 130
    assert "interrupted; what was finished is kept" in complaint
    assert "Traceback" not in complaint
    assert 0 < len(finished) < 300
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rows.read_text().splitlines()[: len(finished)] == finished
    assert len(rows.read_text().splitlines()) == 300


def test_doctor_reports_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the first command that a user with a problem runs, and its exit code."""
    import policies.doctor as doctor

    fine = doctor.Check("python", ok=True, found="3.12", remedy="none")
    broken = doctor.Check("cache", ok=False, found="[read only]", remedy="Make it writable.")
    monkeypatch.setattr(doctor, "run_checks", lambda: [fine])
    assert run("doctor").exit_code == 0
    monkeypatch.setattr(doctor, "run_checks", lambda: [fine, broken])
    result = run("doctor")
    assert result.exit_code == 1
    assert "[read only]" in result.stdout
    assert "Make it writable." in result.stdout
    assert json.loads(run("doctor", "--json").stdout)[1]["ok"] is False
