"""Demonstrations as a component of a Haystack pipeline, before a prompt builder.

Its settings are plain values, so that a pipeline with it can be written as YAML and read back; models are loaded by
`warm_up`.
"""

from __future__ import annotations

from typing import Any

from selector.adapters.source import DemonstrationSource
from selector.errors import ExtraMissingError, UsageError

try:
    from haystack import component, default_from_dict, default_to_dict
except ImportError as error:
    raise ExtraMissingError(package="haystack-ai", extra="haystack") from error


@component
class DemonstrationSelector:
    """Chooses demonstrations with an exported policy or a trained retriever.

    Every input column is an input of the component; connect the output `demonstrations`, a list of rows in prompt
    order, with the variable of a prompt builder.

    Args:
        artifact: A folder written by `shotsmith export` or `shotsmith train-retriever`.
        task: The path of a TASK.toml, or the name of a bundled task.
        inputs: The input columns of the task.
        choices: The choice columns of the task, where queries are to be asked with their own choices.
        label: What the label is called in the rows that come out.
        k: Demonstrations for each prompt.
        force: Whether a policy made for another pool or encoder is taken.
    """

    def __init__(
        self,
        artifact: str,
        task: str,
        *,
        inputs: list[str] | None = None,
        choices: list[str] | None = None,
        label: str = "label",
        k: int = 4,
        force: bool = False,
    ) -> None:
        self.artifact = str(artifact)
        self.task = str(task)
        self.inputs = list(inputs) if inputs is not None else ["text"]
        self.choices = list(choices or ())
        self.label = label
        self.k = k
        self.force = force
        self._source: DemonstrationSource | None = None
        component.set_input_types(self, **{**dict.fromkeys(self.choices, Any), **dict.fromkeys(self.inputs, str)})

    def warm_up(self) -> None:
        """Loads the artifact and the pool, once.

        Raises:
            ArtifactError: When the artifact is missing, damaged or of another version.
            ArtifactMismatchError: When a policy was made for another pool or encoder and `force` is off.
            UsageError: When the task has other input columns.
        """
        if self._source is not None:
            return
        source = DemonstrationSource.load(self.artifact, self.task, label=self.label, force=self.force)
        columns = source.columns
        if set(columns.inputs) != set(self.inputs) or set(self.choices) not in (set(), set(columns.choices)):
            raise UsageError(
                f"the component has the inputs {self.inputs} and the choices {self.choices}",
                expected=f"those of the task, {list(columns.inputs)} and {list(columns.choices)} or no choices",
                remedy="Pass inputs=... and choices=...",
            )
        self._source = source

    @component.output_types(demonstrations=list[dict[str, Any]])
    def run(self, **inputs: Any) -> dict[str, list[dict[str, Any]]]:
        """Chooses demonstrations.

        Args:
            **inputs: The text of every input column, and the cell of every choice column.

        Returns:
            "demonstrations": rows in prompt order, the last stands next to the query.

        Raises:
            InvalidExampleError: When an input is missing.
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        self.warm_up()
        if self._source is None:  # for the type checker: `warm_up` sets it or raises
            return {"demonstrations": []}
        return {"demonstrations": self._source.rows([inputs], self.k)[0]}

    def to_dict(self) -> dict[str, Any]:
        """Writes the settings as plain values.

        Returns:
            What `from_dict` takes.
        """
        names = ("artifact", "task", "inputs", "choices", "label", "k", "force")
        settings = {name: getattr(self, name) for name in names}
        written: dict[str, Any] = default_to_dict(self, **settings)
        return written

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DemonstrationSelector:
        """Makes the component from what `to_dict` wrote; nothing is loaded yet.

        Args:
            data: The settings.

        Returns:
            The component.
        """
        made: DemonstrationSelector = default_from_dict(cls, data)
        return made
