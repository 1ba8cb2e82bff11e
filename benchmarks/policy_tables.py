"""Lays out the studies of policies, and how long choosing and stepping take, for docs/results.md."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from benchmarks.outcomes import HERE, Study, correctness, queries_of, shown
from selector.evaluation.statistics import Values, paired_bootstrap

PER_QUERY = HERE / "results" / "policies"
PER_CORPUS = HERE / "results" / "corpus"
DEFAULT = "rl"
RIVALS = ("epr", "epr: label vote", "nearest", "random")
CORPUS_COLUMNS = (
    *("random", "best-of-k", "rl", "- random", "- best-of-k"),
    *("new pool: random", "rl", "- random", "labels free", "of a hundred"),
)


def policy_lines(speed: Mapping[str, Any]) -> list[str]:
    """Lays out how long choosing and stepping take.

    Args:
        speed: Of policy_speed.json.

    Returns:
        Lines of Markdown.
    """
    choosing, stepping = speed["choosing"], speed["stepping"]
    lines = ["| choosing 4 of 64 for one query | p50 ms | p99 ms |", "|---|---|---|"]
    lines += [
        f"| {name} | {choosing[name]['p50_ms']:.1f} | {choosing[name]['p99_ms']:.1f} |"
        for name in ("encoder left out", "encoder alone", "encoder included")
    ]
    rates = choosing["queries_per_second"].items()
    lines += ["", "| queries in a batch | queries/s, encoder included |", "|---|---|"]
    lines += [f"| {batch} | {rate:.0f} |" for batch, rate in rates]
    lines += [
        "",
        "| run | one at a time: steps/s | tokens/s | 16 copies: steps/s | tokens/s | ratio |",
        "|---" * 6 + "|",
    ]
    for number, run in enumerate(stepping, 1):
        cells = []
        for way in ("one_at_a_time", "vectorised"):
            seconds = run[f"{way}_seconds"]
            cells += [f"{run['steps'] / seconds:.1f}", f"{run[f'{way}_tokens_computed'] / seconds:.0f}"]
        lines.append(f"| {number} | {' | '.join(cells)} | {run['ratio']:.1f} |")
    return [*lines, ""]


def policy_study_lines(found: Mapping[str, Sequence[Study]], folder: Path = PER_QUERY) -> list[str]:
    """Lays out what trained policies answer beside the retriever whose shortlist they choose from.

    Args:
        found: Task to the studies of retrievers.
        folder: Where `benchmarks.policy_study` has written its results.

    Returns:
        Lines of Markdown: a row for each variant and task, and for each variant over all its queries. What was answered
        to other queries than the retriever's study has, or in another dtype, is left out.
    """
    pairs = _per_query(found, folder)
    lines = [
        f"| variant | task | queries | rl | same answers | - {' | - '.join(RIVALS)} | LM tokens | minutes |",
        "|---" * 11 + "|",
    ]
    for variant, by_task in pairs.items():
        cells = [(task, own) for task, own in by_task.items()]
        everything = [pair for _, own in cells for pair in own]
        lines += [_policy_row(variant, task, own) for task, own in [*cells, ("**all queries**", everything)]]
    return [*lines, ""]


def _per_query(
    found: Mapping[str, Sequence[Study]], folder: Path
) -> Mapping[str, Mapping[str, list[tuple[Study, Study]]]]:
    """Variant to task to studies of policies, each with that of its retriever and what both answered."""
    retrievers = {(study["task"], study["seed"]): study for studies in found.values() for study in studies}
    pairs: defaultdict[str, defaultdict[str, list[tuple[Study, Study]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(folder.glob("*.json")):
        study = json.loads(file.read_text(encoding="utf-8"))
        beside = retrievers.get((study["task"], study["seed"]))
        for variant, answers in study["answers"].items() if beside is not None else ():
            count = min(len(answers), len(beside["gold"]))
            # A retriever that has been trained again since shows in neither file, unless its study drew other queries.
            is_trained = f"training {variant}" in study["config"]
            if not is_trained or study["dtype"] != beside["dtype"]:
                continue
            if any(study[part][:count] != beside[part][:count] for part in ("gold", "uids")):
                continue
            given = {name: own[:count] for name, own in beside["answers"].items()} | {variant: answers[:count]}
            cut = {part: beside[part][:count] for part in ("gold", "uids")}
            pairs[variant][study["task"]].append((study, {**beside, **cut, "answers": given}))
    return pairs


def _policy_row(variant: str, task: str, pairs: Sequence[tuple[Study, Study]]) -> str:
    studies = [beside for _, beside in pairs]
    own = correctness(studies, variant)
    asked = queries_of(studies)
    differences = [shown(paired_bootstrap(own, correctness(studies, name), clusters=asked)) for name in RIVALS]
    spent = [study["cost"][f"training {variant}"] for study, _ in pairs]
    tokens, seconds = (float(np.mean([cost[what] for cost in spent])) for what in ("tokens", "seconds"))
    # A policy that answers as its retriever does is a clone of it, however far both are ahead of others.
    answers = [pair for one in studies for pair in zip(one["answers"][variant], one["answers"]["epr"], strict=True)]
    same = float(np.mean([given == epr for given, epr in answers]))
    cells = [variant, task, str(len(own)), f"{100 * own.mean():.1f}", f"{100 * same:.1f}", *differences]
    return f"| {' | '.join(cells)} | {tokens:,.0f} | {seconds / 60:.1f} |"


def corpus_lines(folder: Path = PER_CORPUS) -> list[str]:
    """Lays out what learned prompts answer beside random ones, searched ones, and on a pool that is new to them.

    Args:
        folder: Where `benchmarks.corpus_study` has written its results.

    Returns:
        Lines of Markdown: a row for each variant and task, and for each variant over all its queries.
    """
    lines = [
        f"| variant | task | seeds x queries | {' | '.join(CORPUS_COLUMNS)} | LM tokens | minutes |",
        "|---" * 15 + "|",
    ]
    for variant, by_task in _per_corpus(folder).items():
        everything = [study for studies in by_task.values() for study in studies]
        rows = [*by_task.items(), ("**all queries**", everything)]
        lines += [_corpus_row(variant, task, studies) for task, studies in rows]
    return [*lines, ""]


def _per_corpus(folder: Path) -> Mapping[str, Mapping[str, list[Study]]]:
    """Variant to task to its studies."""
    found: defaultdict[str, defaultdict[str, list[Study]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(folder.glob("*.json")):
        study = json.loads(file.read_text(encoding="utf-8"))
        for variant in [stage.removeprefix("training ") for stage in study["config"]]:
            if whole := _whole(study, variant):
                found[variant][study["task"]].append(whole)
    return found


def learned_lines(found: Mapping[str, Sequence[Study]]) -> list[str]:
    """Says what reinforcement learning adds, for README.

    Args:
        found: Task to the studies of retrievers.

    Returns:
        Lines of Markdown.
    """
    by_task = _per_corpus(PER_CORPUS)[DEFAULT]
    studies = [study for own in by_task.values() for study in own]
    rows = _corpus_shares(studies, DEFAULT)
    share = {name: f"{100 * right.mean():.1f}" for name, right in rows.items()}
    more = paired_bootstrap(rows["own"], rows["searched"], clusters=queries_of(studies))
    beside = [pair for pairs in _per_query(found, PER_QUERY)[DEFAULT].values() for _, pair in pairs]
    right, epr = (correctness(beside, name) for name in (DEFAULT, "epr"))
    less = shown(paired_bootstrap(right, epr, clusters=queries_of(beside)))
    opening = "Reinforcement learning pays where" if more.low > 0 else "Where"
    text = (
        f"{opening} one prompt serves a whole task (4 demonstrations; {', '.join(by_task)}; {len(studies)} runs; "
        f"`python -m benchmarks.corpus_study`): the learned prompt is right for {share['own']} % of the queries, "
        f"random demonstrations for {share['random']}, the best of as many random prompts as the same tokens pay for "
        f"{share['searched']} ({shown(more)} points between them); what the policy chooses from a new pool, "
        f"without asking the language model, for {share['new']}. For each query by itself it is {less} points from the "
        f"retriever whose choice it starts from, over {len(right)} queries (`python -m benchmarks.policy_study`)."
    )
    return [*wrap(text, 120, break_on_hyphens=False), ""]


def _corpus_names(variant: str) -> dict[str, str]:
    """What a row of answers is for, to its name in the study."""
    new = f"{variant}, new pool"
    return {
        "random": "random",
        "searched": f"best-of-k as dear as {variant}",
        "own": variant,
        "new random": "random, new pool",
        "new": new,
        "free": f"{new}, labels free",
        "hundred": f"{new}, hundred",
    }


def _whole(study: Study, variant: str) -> Study | None:
    """The study cut to the queries that all rows of a variant have answered; None where one has answered nothing."""
    names = _corpus_names(variant)
    if names["hundred"] not in study["answers"]:  # earlier measurements lack it
        del names["hundred"]
    answers = {name: study["answers"].get(name, []) for name in names.values()}
    count = min(map(len, answers.values()))
    cut = {name: given[:count] for name, given in answers.items()}
    return {**study, "answers": cut, **{part: study[part][:count] for part in ("gold", "uids")}} if count else None


def _corpus_shares(studies: Sequence[Study], variant: str) -> dict[str, Values]:
    """Correctness of every role that all studies have measured."""
    names = {
        role: name
        for role, name in _corpus_names(variant).items()
        if all(name in study["answers"] for study in studies)
    }
    return {role: correctness(studies, name) for role, name in names.items()}


def _corpus_row(variant: str, task: str, studies: Sequence[Study]) -> str:
    rows = _corpus_shares(studies, variant)
    asked = queries_of(studies)

    def less(first: str, second: str) -> str:
        return shown(paired_bootstrap(rows[first], rows[second], clusters=asked))

    spent = [study["cost"][f"training {variant}"] for study in studies]
    tokens, seconds = (float(np.mean([cost[what] for cost in spent])) for what in ("tokens", "seconds"))
    share = {role: f"{100 * right.mean():.1f}" for role, right in rows.items()}
    cells = [variant, task, f"{len(studies)} x {len(rows['own']) // len(studies)}"]
    cells += [share["random"], share["searched"], share["own"], less("own", "random"), less("own", "searched")]
    cells += [share["new random"], share["new"], less("new", "new random"), share["free"], share.get("hundred", "-")]
    cells += [f"{tokens:,.0f}", f"{seconds / 60:.1f}"]
    return f"| {' | '.join(cells)} |"
