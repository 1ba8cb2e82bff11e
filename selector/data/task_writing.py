"""A TASK.toml made from a data file, checked by loading it before it takes its place.

What columns are for is guessed in `selector.data.guessing`; this module chooses the template, the sizes of the splits
and how labels are written, and writes TOML.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from selector.data.columns import Column, columns_of, quantile
from selector.data.guessing import Guess, guess
from selector.data.loading import load_examples, rows_of
from selector.data.pool import normalised_text
from selector.data.splits import SplitSizes, split
from selector.data.task import Task
from selector.data.words import about_tokens, words_of
from selector.errors import DataFileError, TooFewExamplesError, UsageError
from selector.lm.config import LanguageModelConfig
from selector.retrieval.config import EncoderConfig
from selector.types import Example

FEWEST_ROWS: Final = 6
MOST_TOKENS: Final = 256
SEEDS: Final = 100
_PARTNERS: Final = {"test": ("test",), "dev": ("dev", "validation", "valid", "val")}
_SENTIMENTS: Final = frozenset(
    ("positive", "negative", "neutral", "very positive", "very negative", "mixed", "pos", "neg")
)
_WORDED: Final = ("label", "labels", "target", "class", "y", "gold", "output", "response", "completion")


@dataclass(frozen=True)
class ProposedTask:
    """A task file that was made from data, and why it says what it says.

    Attributes:
        document: Section to key to value, as the task file holds them.
        reasons: What was found and why, a line for each decision.
        rows: How many rows the data file has.
    """

    document: Mapping[str, Mapping[str, Any]]
    reasons: tuple[str, ...]
    rows: int


def propose_task(data: Path, out: Path, *, label: str | None = None, inputs: Sequence[str] = ()) -> ProposedTask:
    """Makes the content of a task file from a data file.

    Args:
        data: A .jsonl, .csv or .parquet file of labelled rows.
        out: Where the task file is going to stand; its paths are relative to that.
        label: The label column, where it is known.
        inputs: The input columns, where they are known.

    Returns:
        The content.

    Raises:
        DataFileError: When the file is missing, empty, unreadable or of another format.
        LabelNotFoundError: When no column looks like a label.
        OneLabelError: When every row has the same label.
        TooFewExamplesError: When there are fewer than `FEWEST_ROWS` different rows.
        UsageError: When no input column is left, or some label has too few rows to be in the pool.
    """
    columns = columns_of(_rows(data))
    if not columns:
        raise DataFileError(f"{data} holds no rows", expected="at least one labelled row", remedy="Check the file.")
    found = guess(columns, label=label, inputs=inputs)
    target = next(column for column in columns if column.name == found.label)
    fields: dict[str, Any] = {"inputs": list(found.inputs), "label": found.label}
    fields |= {"choices": list(found.choices)} if found.choices else {}
    fields |= {"rationale": found.rationale} if found.rationale else {}
    own = {key: file for key in _PARTNERS if (file := _partner(data, key, fields))}
    if found.uid and not own:  # several files often count their rows alike
        fields["uid"] = found.uid
    prompt, reasons = _prompt(found, target, columns)
    sources, sizes, split_reasons = _splits(data, out, own, fields, labels=set(found.labels))
    document: dict[str, dict[str, Any]] = {
        "data": sources | sizes,
        "fields": fields,
        "prompt": prompt,
        "labels": _verbalizers(list(found.labels)),
        "lm": {"model": LanguageModelConfig.model, "scoring": "per-token" if found.kind == "choices" else "direct"},
        "encoder": {"model": EncoderConfig().model},
    }
    reasons = [*found.reasons, f"inputs: {', '.join(found.inputs)}", *reasons, *split_reasons]
    return ProposedTask({name: part for name, part in document.items() if part}, tuple(reasons), len(target.texts))


def write_task(proposed: ProposedTask, out: Path, *, force: bool = False) -> Task:
    """Writes a task file, after it has been loaded once.

    Args:
        proposed: From `propose_task` with the same path.
        out: The task file.
        force: Whether a file that is there may be replaced.

    Returns:
        The task as it loads.

    Raises:
        UsageError: When the file is there and `force` is off.
        DataFileError: When a text of the data cannot be written as UTF-8.
    """
    if out.exists() and not force:
        raise UsageError(f"{out} is there already", expected="a new file", remedy="Pass --force to replace it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        draft.write_text(toml_text(proposed.document), encoding="utf-8")
        task = Task.load(draft)
        draft.replace(out)
    except UnicodeEncodeError as error:
        raise DataFileError(
            f"a label cannot be written as UTF-8 ({error.reason})",
            expected="whole characters",
            remedy="Correct the row.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return replace(task, name=out.stem)


def toml_text(document: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes sections of plain values as TOML.

    Args:
        document: Section to key to a text, a number, a truth value or a list of texts.

    Returns:
        The text; reading it gives the document again.
    """
    parts = []
    for section, content in document.items():
        lines = [f"{_key(name)} = {_value(value)}" for name, value in content.items()]
        parts.append("\n".join([f"[{_key(section)}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else _value(name)


def _value(value: Any) -> str:
    # JSON's texts are TOML's, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _verbalizers(labels: Sequence[str]) -> dict[str, str]:
    """How labels are written: words parted by spaces, as long as they stay different."""
    nice = {label: " " + " ".join(label.replace("_", " ").split()) for label in labels}
    return nice if len(set(nice.values())) == len(nice) else {label: f" {label}" for label in labels}


def _prompt(found: Guess, target: Column, columns: Sequence[Column]) -> tuple[dict[str, Any], list[str]]:
    """The section [prompt], and what there is to say about it."""
    lines = [f"{_title(name)}: {{{name}}}" for name in found.inputs]
    prompt: dict[str, Any] = {}
    reasons = []
    if found.kind == "choices":
        reasons.append(
            "answers: each row's own choices, scored by the mean over their tokens, as they differ in length"
        )
    elif found.kind == "labels":
        reasons.append(f"answers: {len(found.labels)} labels, the same for every row")
        if target.numbers:
            reasons.append(
                "the labels are numbers: say in [labels] what they mean, and the language model knows it too"
            )
    else:
        rule = _answer_rule(target)
        longest = quantile(map(about_tokens, target.texts), 0.95)
        if found.rationale:
            steps = next(column for column in columns if column.name == found.rationale)
            longest += quantile(map(about_tokens, steps.texts), 0.95)
        tokens = min(MOST_TOKENS, longest + 4)  # room to end
        prompt = {"answer_tokens": tokens, "answer_rule": rule}
        reasons.append(f"answers: written, {tokens} tokens at most, compared by the rule {rule}")
    tail = f"{_answer_title(found)}:{{label}}"
    if found.rationale:
        reasons.append(f"rationale: {found.rationale}, shown in demonstrations before the answer")
        tail = "Answer:{rationale}\nThe answer is{label}"
    return {"template": "\n".join([*lines, tail]), **prompt}, reasons


def _title(name: str) -> str:
    return name.replace("_", " ").strip().capitalize() or name


def _answer_title(found: Guess) -> str:
    asked = any(name.lower() in ("question", "query") for name in found.inputs)
    if {label.lower().replace("_", " ") for label in found.labels} <= _SENTIMENTS and found.labels:
        return "Sentiment"
    if asked or found.kind == "choices":
        return "Answer"
    if found.kind == "text" and found.label.lower() in _WORDED:
        return "Answer"
    return "Label" if found.label.lower() in _WORDED else _title(found.label.removesuffix("_text"))


def _answer_rule(target: Column) -> str:
    if target.numbers:
        return "number"
    if target.yes_or_no:
        return "yes-no"
    if all(len(words_of(text)) == 1 and text.isalpha() for text in target.counts):
        return "word"
    return "words" if target.lists or target.words <= 5 else "text"


def _splits(
    data: Path, out: Path, own: Mapping[str, Path], fields: Mapping[str, Any], *, labels: set[str]
) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """The sources and sizes of [data], and what there is to say about them."""
    train = load_examples(data, split="train", **fields)
    test, dev = (load_examples(own[key], split=key, **fields) if key in own else None for key in ("test", "dev"))
    for key, rows in (("test", test), ("dev", dev)):
        strange = sorted({str(row.label) for row in rows or ()} - labels) if labels else []
        if strange:
            raise UsageError(
                f"{own[key]} has labels that {data.name} lacks: {', '.join(strange[:5])}",
                expected="the same labels in both",
                remedy="Add such rows, or move the file away to split its partner instead.",
            )
    texts = len({normalised_text(row.fields) for row in train})
    if texts < FEWEST_ROWS:
        raise TooFewExamplesError(available=texts, wanted=FEWEST_ROWS, what="different rows")
    sizes = {
        "reward_size": max(1, min(200, texts // 8)),
        "dev_size": min(200, len(dev)) if dev is not None else max(1, min(200, texts // 8)),
        "test_size": min(300, len(test)) if test is not None else max(1, min(300, texts // 5)),
    }
    seed, pool = _seed(train, test, dev, sizes, labels)
    sources = {key: _relative(file, out) for key, file in (("train", data), *own.items())}
    repeats = len(train) - texts
    said = [
        f"rows: {len(train):,}" + (f" (with the text of an earlier one: {repeats:,})" if repeats else ""),
        f"splits: {pool:,} demonstrations to choose from, {sizes['reward_size']} reward, {sizes['dev_size']} dev and "
        f"{sizes['test_size']} test queries" + "".join(f"; {key} from {file.name}" for key, file in own.items()),
    ]
    return sources, sizes | {"seed": seed}, said


def _seed(
    train: Sequence[Example],
    test: Sequence[Example] | None,
    dev: Sequence[Example] | None,
    sizes: Mapping[str, int],
    labels: set[str],
) -> tuple[int, int]:
    """The first seed whose pool holds every label, and the size of that pool."""
    wanted = SplitSizes(reward=sizes["reward_size"], dev=sizes["dev_size"], test=sizes["test_size"])
    missing: set[str] = set()
    for seed in range(SEEDS):
        pool = split(train, test, dev, sizes=wanted, seed=seed).pool
        missing = labels - {str(row.label) for row in pool}
        if not missing:
            return seed, len(pool)
    raise UsageError(
        f"no split of the rows leaves every label in the pool; {', '.join(sorted(missing)[:5])} have too few rows",
        expected="some rows of every label",
        remedy="Add rows of these labels, drop them, or name another label column: --label NAME.",
    )


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file; what JSON can hold and no later stage can is refused."""
    try:
        for where, row in rows_of(file):
            try:
                json.dumps(row, ensure_ascii=False, default=str).encode()
            except UnicodeEncodeError as error:
                raise DataFileError(
                    f"{where} cannot be written as UTF-8 ({error.reason})",
                    expected="whole characters",
                    remedy="Correct the row.",
                ) from error
            yield row
    except RecursionError as error:
        raise DataFileError(
            f"a row of {file} is nested too deeply",
            expected="texts, numbers and lists of them",
            remedy="Correct the row.",
        ) from error


def _partner(data: Path, key: str, fields: Mapping[str, Any]) -> Path | None:
    """The file of test or dev rows beside train.jsonl, where there is one with the same columns."""
    wanted = {*fields["inputs"], *fields.get("choices", ()), fields["label"], fields.get("rationale", fields["label"])}
    if "train" not in data.stem:
        return None
    for word in _PARTNERS[key]:
        file = data.with_name(data.name.replace("train", word))
        if file.is_file():
            rows = list(_rows(file))
            if rows and wanted <= rows[0].keys():
                return file
    return None


def _relative(file: Path, out: Path) -> str:
    try:
        return Path(os.path.relpath(file.absolute(), out.absolute().parent)).as_posix()
    except ValueError:  # another drive
        return file.absolute().as_posix()
