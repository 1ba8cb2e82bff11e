"""Writes the tables of the studies into docs/results.md, and picture and table of README.

python -m benchmarks.tables
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import order_study, scoring_study, warmup_study
from benchmarks.ceiling_study import RESULT as CEILING
from benchmarks.ceiling_study import ceiling_lines
from benchmarks.epr_study import TASKS
from benchmarks.front_page import (
    ASKING,
    LM_FREE,
    PICTURE,
    README,
    demo_lines,
    front_lines,
    method_summaries,
    picture,
    read_demo,
)
from benchmarks.outcomes import Study, correctness, queries_of, read_studies, shown
from benchmarks.policy_tables import corpus_lines, learned_lines, policy_lines, policy_study_lines
from benchmarks.presets import RESULT as PRESETS
from benchmarks.presets import preset_table
from benchmarks.prompt_study import prompt_lines, read_cells
from benchmarks.search import COLUMNS
from benchmarks.service_tables import service_lines
from selector.evaluation.statistics import Values, paired_bootstrap

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "results.md"
SEARCH = HERE / "results" / "search.json"
RECIPES = HERE / "results" / "recipes.json"
POLICIES = HERE / "results" / "policy_speed.json"
WARM_UP = HERE / "results" / "warmup.json"
SERVICE = HERE / "results" / "service.json"
ORDERS = HERE / "results" / "order.json"
COMPARED = PAGE.parent / "results" / "compare"
SCORING = HERE / "results" / "scoring.json"
NEIGHBOURS = HERE / "results" / "neighbours.json"


def accuracy_table(found: Mapping[str, Sequence[Study]]) -> list[str]:
    """Lays out the accuracies.

    Args:
        found: Task to studies.

    Returns:
        Lines of Markdown.
    """
    methods = [*ASKING, *LM_FREE]
    lines = [f"| task | seeds x queries | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    columns: defaultdict[str, list[float]] = defaultdict(list)
    for task, studies in found.items():
        for name in methods:
            columns[name].append(float(correctness(studies, name).mean()))
        cells = " | ".join(f"{100 * columns[name][-1]:.1f}" for name in methods)
        lines.append(f"| {task} | {len(studies)} x {len(studies[0]['gold'])} | {cells} |")
    means = " | ".join(f"**{100 * np.mean(columns[name]):.1f}**" for name in methods)
    return [*lines, f"| **mean** | | {means} |", ""]


def difference_table(found: Mapping[str, Sequence[Study]]) -> list[str]:
    """Lays out what EPR gains over each of the others.

    Args:
        found: Task to studies.

    Returns:
        Lines of Markdown.
    """
    rivals = [name for name in (*ASKING, *LM_FREE) if name not in ("epr", "majority")]
    lines = [f"| task | {' | '.join(f'epr - {name}' for name in rivals)} |", "|---" * (len(rivals) + 1) + "|"]
    everything: defaultdict[str, list[Values]] = defaultdict(list)
    for task, studies in found.items():
        cells = []
        for name in rivals:
            own, other = correctness(studies, "epr"), correctness(studies, name)
            everything[name].append(own - other)
            cells.append(shown(paired_bootstrap(own, other, clusters=queries_of(studies))))
        lines.append(f"| {task} | {' | '.join(cells)} |")
    pooled = []
    asked = [query for studies in found.values() for query in queries_of(studies)]
    for name in rivals:
        differences = np.concatenate(everything[name])
        pooled.append(shown(paired_bootstrap(differences, np.zeros_like(differences), clusters=asked)))
    return [*lines, f"| **all queries** | {' | '.join(pooled)} |", ""]


def cost_table(found: Mapping[str, Sequence[Study]]) -> list[str]:
    """Lays out what mining, training and answering cost.

    Args:
        found: Task to studies.

    Returns:
        Lines of Markdown.
    """
    lines = [
        "| task | mining: LM tokens | computed | minutes | training: minutes | answering: LM tokens | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, studies in found.items():

        def mean(stage: str, what: str, of: Sequence[Study] = studies) -> float:
            return float(np.mean([study["cost"][stage][what] for study in of]))

        lines.append(
            f"| {task} | {mean('mining', 'tokens'):,.0f} | {mean('mining', 'tokens_computed'):,.0f} "
            f"| {mean('mining', 'seconds') / 60:.1f} | {mean('training epr', 'seconds') / 60:.1f} "
            f"| {mean('answering epr', 'tokens'):,.0f} | {mean('answering epr', 'seconds') / 60:.1f} |"
        )
    return [*lines, ""]


def free_text_table(found: Mapping[str, Sequence[Study]]) -> list[str]:
    """Lays out exact match where targets are free text.

    Args:
        found: Task to studies.

    Returns:
        Lines of Markdown.
    """
    lines = ["| task | seeds x queries | random | bm25 | nearest | epr | epr - bm25 | epr - random |", "|---" * 8 + "|"]
    for task, studies in found.items():
        rows = {name: correctness(studies, name) for name in ASKING}
        cells = [f"{100 * rows[name].mean():.1f}" for name in ASKING]
        asked = queries_of(studies)
        cells += [shown(paired_bootstrap(rows["epr"], rows[name], clusters=asked)) for name in ("bm25", "random")]
        lines.append(f"| {task} | {len(studies)} x {len(studies[0]['gold'])} | {' | '.join(cells)} |")
    return [*lines, ""]


def recipe_table(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lays out what each change of the recipe gives.

    Args:
        cells: Of recipes.json.

    Returns:
        Lines of Markdown; a recipe that lacks a task has no mean.
    """
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    grouped: defaultdict[str, defaultdict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        grouped[cell["recipe"]][cell["task"]].append(cell)
    lines = [f"| recipe | {' | '.join(tasks)} | mean | minutes of training |", "|---" * (len(tasks) + 3) + "|"]
    untrained = {cell["task"]: cell["before"] for cell in cells}
    lines.append(_recipe_row("not trained", [[untrained[task]] for task in tasks], "0"))
    for recipe, by_task in grouped.items():
        minutes = float(np.mean([cell["seconds"] for own in by_task.values() for cell in own])) / 60
        after = [[cell["after"] for cell in by_task[task]] for task in tasks]
        lines.append(_recipe_row(recipe, after, f"{minutes:.1f}"))
    return [*lines, ""]


def _recipe_row(recipe: str, values: Sequence[Sequence[float]], minutes: str) -> str:
    means = [100 * float(np.mean(own)) if own else None for own in values]
    shown_means = [f"{mean:.1f}" if mean is not None else "-" for mean in means]
    known = [mean for mean in means if mean is not None]
    overall = f"{np.mean(known):.1f}" if len(known) == len(means) else "-"
    return f"| {recipe} | {' | '.join(shown_means)} | {overall} | {minutes} |"


def search_table(search: Mapping[str, Any]) -> list[str]:
    """Lays out how the indexes search.

    Args:
        search: Of search.json.

    Returns:
        Lines of Markdown.
    """
    headings = [" ".join(heading.split()) for heading, _ in COLUMNS.values()]
    lines = [f"| vectors | index | {' | '.join(headings)} |", "|---" * (len(headings) + 2) + "|"]
    for cell in search["cells"]:
        cells = [f"{cell[name]:{form}}" if name in cell else "-" for name, (_, form) in COLUMNS.items()]
        lines.append(f"| {cell['rows']:,} | {cell['kind']} | {' | '.join(cells)} |")
    lines += [
        "",
        *(f"{cell['rows']:,} {cell['kind']}: {cell['left_out']}." for cell in search["cells"] if "left_out" in cell),
    ]
    return [*lines, ""]


def neighbour_lines(measured: Mapping[str, Any]) -> list[str]:
    """Lays out how fast neighbours are found by different libraries.

    Args:
        measured: Of neighbours.json.

    Returns:
        Lines of Markdown.
    """
    lines = []
    for part, what in (("search", "embeddings are looked up"), ("embedding", "queries are embedded")):
        lines += [
            f"| {what} | single: p50 ms | p99 ms | batch: ms a query | queries | other neighbours |",
            "|---" * 6 + "|",
            *(
                f"| {name} | {own['p50_ms']:.2f} | {own['p99_ms']:.2f} | {own['batch_ms']:.2f} | {own['asked']} "
                f"| {own['different']} |"
                for name, own in measured[part].items()
            ),
            "",
        ]
    return lines


def labelled_studies(found: Mapping[str, Sequence[Study]]) -> dict[str, Sequence[Study]]:
    """Picks the tasks whose answers are labels.

    Args:
        found: Task to studies.

    Returns:
        Those tasks, in the order of the study.
    """
    return {task: found[task] for task in TASKS if task in found}


def study_lines() -> list[str]:
    """Lays out the study.

    Returns:
        Lines of Markdown.
    """
    found = read_studies()
    labelled = labelled_studies(found)
    written = {task: studies for task, studies in found.items() if task not in TASKS}
    lines = ["Accuracy, %, over all seeds and queries:", "", *accuracy_table(labelled)]
    lines += ["Paired differences in points with 95 % intervals:", "", *difference_table(labelled)]
    lines += ["Cost of one seed:", "", *cost_table(found)]
    if written:
        lines += ["Exact match, %, where the answer is written token by token:", "", *free_text_table(written)]
    return lines


def page() -> str:
    """Puts the tables into the page.

    Returns:
        The whole page with new sections between their marks.
    """
    sections = {
        "demo": demo_lines(read_demo()),
        "epr": study_lines(),
        "search": search_table(json.loads(SEARCH.read_text("utf-8"))),
    }
    sections["policies"] = policy_lines(json.loads(POLICIES.read_text("utf-8")))
    sections["policy study"] = policy_study_lines(read_studies())
    sections["corpus study"] = corpus_lines()
    if CEILING.is_file():
        sections["ceiling"] = ceiling_lines(json.loads(CEILING.read_text("utf-8")))
    if NEIGHBOURS.is_file():
        sections["neighbours"] = neighbour_lines(json.loads(NEIGHBOURS.read_text("utf-8")))
    for file in sorted(COMPARED.glob("*.json")):
        sections[f"compare {file.stem}"] = demo_lines(json.loads(file.read_text("utf-8")))
    if ORDERS.is_file():
        sections["orders"] = [*order_study.summary_lines(json.loads(ORDERS.read_text("utf-8"))["summary"]), ""]
    if "bfloat16" in (service := json.loads(SERVICE.read_text("utf-8"))):
        sections["service"] = service_lines(service)
    if RECIPES.is_file():
        sections["recipes"] = recipe_table(json.loads(RECIPES.read_text("utf-8")))
    if PRESETS.is_file():
        sections["presets"] = preset_table(json.loads(PRESETS.read_text("utf-8")))
    for name, file, table in (("warmup", WARM_UP, warmup_study.table), ("scoring", SCORING, scoring_study.table)):
        if file.is_file():
            sections[name] = table(json.loads(file.read_text("utf-8")))
    if cells := read_cells():
        sections["prompts"] = prompt_lines(cells)
    return filled(PAGE.read_text(encoding="utf-8"), sections)


def front_page() -> tuple[str, str]:
    """Puts the table into README.

    Returns:
        The whole of README, and its picture as SVG.
    """
    found = labelled_studies(read_studies())
    summaries = method_summaries(found)
    text = filled(
        README.read_text(encoding="utf-8"), {"results": [*front_lines(found, summaries), *learned_lines(found)]}
    )
    return text, picture(summaries)


def filled(text: str, sections: Mapping[str, Sequence[str]]) -> str:
    """Puts sections between their marks.

    Args:
        text: The page.
        sections: Name to lines of Markdown.

    Returns:
        The whole page.
    """
    for name, lines in sections.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        head, rest = text.split(begin)
        text = head + begin + "\n".join(lines) + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    written, drawn = front_page()
    README.write_text(written, encoding="utf-8")
    PICTURE.write_text(drawn, encoding="utf-8")
