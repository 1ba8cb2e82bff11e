"""Demonstrations for LangChain's few-shot prompts, in text and chat form.

LangChain keeps the order that a selector returns, which is prompt order here: the last stands next to the query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selector.adapters.source import DemonstrationSource, SelectorBuilder
from selector.errors import ExtraMissingError

try:
    from langchain_core.example_selectors import BaseExampleSelector
except ImportError as error:
    raise ExtraMissingError(package="langchain-core", extra="langchain") from error


class DemonstrationSelector(BaseExampleSelector):
    """An example selector for `FewShotPromptTemplate` and `FewShotChatMessagePromptTemplate`.

    The asynchronous methods run the synchronous ones in a thread, as those of LangChain's base class do.

    Args:
        source: Chooses.
        k: Demonstrations for each prompt.
    """

    def __init__(self, source: DemonstrationSource, *, k: int = 4) -> None:
        self.source = source
        self.k = k

    @classmethod
    def from_artifact(
        cls, folder: Path | str, task: Path | str, *, k: int = 4, label: str = "label", force: bool = False
    ) -> DemonstrationSelector:
        """Chooses with an exported policy or a trained retriever; see `DemonstrationSource.load`.

        Args:
            folder: The artifact.
            task: The task whose pool is chosen from.
            k: Demonstrations for each prompt.
            label: What the label is called in the example prompt.
            force: Whether a policy made for another pool or encoder is taken.

        Returns:
            The example selector.

        Raises:
            ArtifactError: When the folder is missing, damaged or of another version.
            ArtifactMismatchError: When a policy was made for another pool or encoder and `force` is off.
        """
        return cls(DemonstrationSource.load(folder, task, label=label, force=force), k=k)

    @classmethod
    def from_examples(
        cls,
        examples: Iterable[Mapping[str, str]],
        build: SelectorBuilder,
        *,
        inputs: Sequence[str],
        label: str = "label",
        k: int = 4,
    ) -> DemonstrationSelector:
        """Chooses from given examples.

        Args:
            examples: Labelled examples, as LangChain knows them.
            build: Makes the selector, such as `BM25Selector`.
            inputs: The keys of the inputs.
            label: The key of the label.
            k: Demonstrations for each prompt.

        Returns:
            The example selector.

        Raises:
            InvalidExampleError: When an example lacks a key or holds what is not text.
        """
        return cls(DemonstrationSource.of_rows(examples, build, inputs=inputs, label=label), k=k)

    def add_example(self, example: dict[str, str]) -> str:
        """Adds an example to the pool.

        Args:
            example: A labelled example.

        Returns:
            The uid that it was given.

        Raises:
            InvalidExampleError: When it lacks a key or holds what is not text.
            UnknownLabelError: When the task of the artifact has no such label.
        """
        return self.source.add(example)

    def select_examples(self, input_variables: dict[str, str]) -> list[dict[str, Any]]:
        """Chooses examples for a prompt.

        Args:
            input_variables: All variables of the prompt; those that are no input are passed over.

        Returns:
            The k examples in prompt order: the last stands next to the query. Fewer only where a policy may stop and
            does, or where its limits for labels or tokens leave no other candidate.

        Raises:
            InvalidExampleError: When an input is missing.
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        return self.source.rows([input_variables], self.k)[0]
