"""Demonstrations for lm-evaluation-harness: prompts written beforehand, or a sampler.

The harness tells a sampler the query only where few-shot rows and test rows are of the same split. Prompts written
beforehand need no such thing. For a sampler, name the test split as `fewshot_split`: the sampler does not take
demonstrations from it, it has a pool of its own. Either way the harness cuts long prompts by its own rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selector.adapters.source import DemonstrationSource
from selector.data.pool import Pool
from selector.errors import ExtraMissingError, UsageError
from selector.prompting.template import PromptTemplate
from selector.types import Example, Query, Selection

if TYPE_CHECKING:
    from lm_eval.api.samplers import ContextSampler


def write_prompts(
    folder: Path | str,
    template: PromptTemplate,
    pool: Pool,
    queries: Sequence[Query],
    selections: Sequence[Selection],
    *,
    name: str = "shotsmith",
) -> Path:
    """Writes a task of the harness that holds whole prompts, answered by choosing among the labels.

    The harness need not be installed. Run it with `lm_eval --include_path FOLDER --tasks NAME`.

    Args:
        folder: Where; made when missing.
        template: Turns examples into text; its labels are the choices.
        pool: What the selections refer to.
        queries: N labelled queries.
        selections: N selections.
        name: The task's name in the harness.

    Returns:
        The task file; the prompts stand beside it.

    Raises:
        UsageError: When targets are free text.
        OwnChoicesError: When queries have choices of their own.
        UnknownLabelError: When a query has no label or one without verbalizer.
    """
    if template.free_text:
        raise UsageError("targets are free text", expected="a closed set of labels", remedy="Write the task by hand.")
    pool.require_shared_labels("a task with one list of choices")
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    choices = [template.completion(label) for label in template.labels]
    with (place / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for query, chosen in zip(queries, selections, strict=True):
            prompt = template.prompt([pool[index] for index in chosen.indices], query)
            gold = choices.index(template.completion(str(query.label)))
            file.write(json.dumps({"prompt": prompt, "choices": choices, "gold": gold}) + "\n")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(place / f"{name}.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",  # the space before a label belongs to its verbalizer
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1.0},
    }
    path = place / f"{name}.yaml"
    path.write_text(json.dumps(task, indent=2) + "\n", encoding="utf-8")  # JSON is YAML
    return path


def demonstration_sampler(
    source: DemonstrationSource, *, document: Callable[[Example], dict[str, Any]] | None = None
) -> type[ContextSampler]:
    """Makes a sampler class that chooses for the row being answered.

    Put it into `fewshot_config: {"sampler": ...}`, or into `SAMPLER_REGISTRY` under a name that a task file can use.

    Args:
        source: Chooses from its own pool; its columns are called like those of the task's rows.
        document: Turns a demonstration into a row of the task; by default its columns with their text.

    Returns:
        A subclass of the harness's `ContextSampler`.

    Raises:
        ExtraMissingError: When lm-evaluation-harness is not installed.
    """
    try:
        from lm_eval.api.samplers import ContextSampler
    except ImportError as error:
        raise ExtraMissingError(package="lm_eval", extra="lm-eval") from error

    as_row = document or source.columns.row

    class DemonstrationSampler(ContextSampler):
        """Chooses from the pool of a source, for the row being answered; the rows it is given are passed over."""

        def sample(
            self, n: int, eval_doc: dict[str, Any] | None = None, df: Any = None, **options: Any
        ) -> list[dict[str, Any]]:
            """Chooses rows; see `ContextSampler.sample`.

            Args:
                n: How many.
                eval_doc: The row being answered.
                df: Not used.
                **options: Not used.

            Returns:
                The n rows in prompt order; fewer only where a policy stops early.

            Raises:
                UsageError: When the harness does not tell the row.
                TooFewExamplesError: When the pool without the row and its duplicates holds fewer than n.
            """
            del df, options
            if not n:
                return []
            if eval_doc is None:
                raise UsageError(
                    "the harness does not tell the sampler which row is answered",
                    expected="a task whose fewshot_split is its test_split",
                    remedy="Set fewshot_split so; demonstrations come from the sampler's own pool all the same.",
                )
            return [as_row(example) for example in source.examples([eval_doc], n)[0]]

    return DemonstrationSampler
