"""Chooses a prompt template without labels, by mutual information (Sorensen et al., 2022).

A good template makes the model answer differently for different inputs (high entropy of the mean answer) and surely for
each (low mean entropy). The mutual information of input and answer is the difference; no gold label is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selector.data.loading import rows_of
from selector.errors import DataFileError, InvalidExampleError, TooFewExamplesError, UsageError
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.lm.base import Usage
from selector.ordering.entropy import Probabilities, entropy
from selector.progress import SILENT, Progress
from selector.prompting.template import PromptTemplate
from selector.types import Query, Selection

KEYS = ("template", "instruction", "separator", "labels")


@dataclass(frozen=True, slots=True)
class TemplateScore:
    """A template and what it lets the model tell about inputs.

    Attributes:
        template: The template.
        place: Where it stood among those given, from 0.
        mutual_information: Nats; higher is better, at most the logarithm of the number of labels.
        answer_entropy: H of the mean answer, nats.
        conditional_entropy: Mean H of the answers, nats.
        usage: What scoring cost.
    """

    template: PromptTemplate
    place: int
    mutual_information: float
    answer_entropy: float
    conditional_entropy: float
    usage: Usage


def mutual_information(probabilities: Probabilities) -> float:
    """Estimates I(X; Y) = H(mean of p) - mean of H(p) (Sorensen et al., 2022, section 3).

    Args:
        probabilities: (N, L) distribution over the labels for each of N inputs.

    Returns:
        Nats, at least 0 but for rounding.
    """
    return float(entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean())


def rank_templates(
    engine: InferenceEngine,
    templates: Sequence[PromptTemplate],
    queries: Sequence[Query],
    *,
    selections: Sequence[Selection] | None = None,
    progress: Progress = SILENT,
) -> list[TemplateScore]:
    """Ranks templates by mutual information over unlabelled queries.

    Args:
        engine: Scores; its template is replaced.
        templates: The templates; the labels may be verbalized differently in each.
        queries: N queries; their labels are not looked at.
        selections: Demonstrations for each query; None is zero-shot, as in the paper's zero-shot setting.
        progress: Shows templates.

    Returns:
        The templates, best first; equal ones in the order given.

    Raises:
        TooFewExamplesError: When there are no templates or no queries.
        UsageError: When targets are free text: there is no distribution over answers.
        OwnChoicesError: When queries have choices of their own.
    """
    if not templates or not queries:
        raise TooFewExamplesError(available=0, wanted=1, what="queries" if templates else "templates")
    engine.require_shared_labels("mutual information of inputs and labels")
    shown = selections if selections is not None else [Selection.of()] * len(queries)
    ranked = []
    with progress.track("ranking templates", len(templates)) as advance:
        for place, template in enumerate(templates):
            before = engine.lm.usage
            probabilities = changed_engine(engine, template=template).probabilities(queries, shown)
            ranked.append(
                TemplateScore(
                    template=template,
                    place=place,
                    mutual_information=mutual_information(probabilities),
                    answer_entropy=float(entropy(probabilities.mean(axis=0))),
                    conditional_entropy=float(np.mean(entropy(probabilities))),
                    usage=engine.lm.usage - before,
                )
            )
            advance(1)
    return sorted(ranked, key=lambda one: one.mutual_information, reverse=True)


def load_templates(path: Path, base: PromptTemplate) -> list[PromptTemplate]:
    """Reads templates from a JSONL file.

    Args:
        path: One object per line with the keys template, instruction, separator and labels (label to verbalizer); what
            a line lacks is the base's.
        base: The task's own template.

    Returns:
        The templates.

    Raises:
        DataFileError: When the file is missing, empty or not JSONL.
        InvalidExampleError: When a line has an unknown key or a value of the wrong kind.
        TemplateError: When a template cannot be read.
        UsageError: When the labels differ from those of the base.
    """
    templates = [_template(row, base, where) for where, row in rows_of(path, suffix=".jsonl")]
    if not templates:
        raise DataFileError(f"{path} holds no templates", expected="at least one line", remedy="Check the file.")
    return templates


def _template(texts: Mapping[str, Any], base: PromptTemplate, where: str) -> PromptTemplate:
    labels = texts.get("labels", {})
    fits = bool(texts) and set(texts) <= set(KEYS) and isinstance(labels, Mapping)
    written = [*(value for key, value in texts.items() if key != "labels"), *(labels.values() if fits else ())]
    if not fits or not all(isinstance(value, str) for value in written):
        raise InvalidExampleError(
            f"{where} is {texts!r}",
            expected=f"an object with some of {', '.join(KEYS)}, the last an object and the others texts",
            remedy="Correct the line.",
        )
    if labels and set(labels) != set(base.labels):
        raise UsageError(
            f"{where} verbalizes the labels {sorted(labels)}", expected=f"{sorted(base.labels)}", remedy="Correct it."
        )
    changed: dict[str, Any] = {key: value for key, value in texts.items() if key != "labels"}
    if labels:
        changed["verbalizers"] = {label: labels[label] for label in base.labels}
    if "template" in changed:
        changed |= {"channel_template": "", "domain_premise": ""}  # the base's may not go with another wording
    return replace(base, **changed)
