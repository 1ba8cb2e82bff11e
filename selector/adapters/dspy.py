"""Demonstrations for DSPy: chosen anew for every call of a program, without compiling it again.

DSPy's own nearest-neighbour optimizer runs a whole compilation in every call, and writes a query's fields in another
order than the pool's; here both follow the columns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from selector.adapters.columns import Columns
from selector.adapters.source import DemonstrationSource, SelectorBuilder
from selector.errors import ExtraMissingError, UsageError

try:
    import dspy
except ImportError as error:
    raise ExtraMissingError(package="dspy", extra="dspy") from error


class SelectedDemonstrations(dspy.Module):
    """A program whose predictors see other demonstrations in every call.

    Each call runs on a copy of the program, so that calls in several threads do not see each other's demonstrations.
    Demonstrations go to the predictors whose signature has the input columns and the label column. Saving writes the
    program; what chooses is loaded from its artifact.

    Args:
        student: The program.
        source: Chooses; its columns are called like the fields of the signature.
        k: Demonstrations for each call.

    Raises:
        UsageError: When no predictor has such a signature.
    """

    def __init__(self, student: dspy.Module, source: DemonstrationSource, *, k: int = 4) -> None:
        super().__init__()
        self.student = student
        self.source = source
        self.k = k
        if not _fitting_predictors(student, source.columns):
            raise UsageError(
                f"no predictor reads {list(source.columns.inputs)} and writes {source.columns.label!r}",
                expected="a signature with those fields",
                remedy="Rename the fields of the signature, or name other columns.",
            )

    def forward(self, **inputs: Any) -> Any:
        """Runs the program with demonstrations chosen for its inputs.

        Args:
            **inputs: The program's inputs, the input columns among them.

        Returns:
            What the program returns.

        Raises:
            InvalidExampleError: When an input column is missing.
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        return self._prepared(inputs)(**inputs)

    async def aforward(self, **inputs: Any) -> Any:
        """Runs the program asynchronously; see `forward`.

        Args:
            **inputs: The program's inputs, the input columns among them.

        Returns:
            What the program returns.
        """
        program = await asyncio.to_thread(self._prepared, inputs)
        return await program.acall(**inputs)

    def save(
        self, path: Path | str, save_program: bool = False, modules_to_serialize: list[ModuleType] | None = None
    ) -> None:
        """Writes the program's state; see `dspy.Module.save`.

        Args:
            path: The file, ending in .json or .pkl.
            save_program: Not possible: the source holds models.
            modules_to_serialize: Not used.

        Raises:
            UsageError: When the whole program is to be saved.
        """
        if save_program:
            raise UsageError(
                "save_program=True would pickle the models that choose demonstrations",
                expected="save_program=False",
                remedy="Save the state, make program and source anew, and load the state into them.",
            )
        super().save(path, modules_to_serialize=modules_to_serialize)

    def _prepared(self, inputs: dict[str, Any]) -> Any:
        columns = self.source.columns
        chosen = self.source.rows([inputs], self.k)[0]
        program = self.student.deepcopy()
        for predictor in _fitting_predictors(program, columns):
            predictor.demos = [dspy.Example(row).with_inputs(*(row.keys() - {columns.label})) for row in chosen]
        return program


class SelectedFewShot(dspy.teleprompt.Teleprompter):
    """An optimizer that gives a program demonstrations from its training set, chosen for every call.

    Args:
        build: Makes the selector, such as `BM25Selector`, or `lambda pool: load_learned("policy", pool, force=True)`.
        k: Demonstrations for each call.
        label: The output field that demonstrations show; by default the only one of the training set.
    """

    def __init__(self, build: SelectorBuilder, *, k: int = 4, label: str = "") -> None:
        super().__init__()
        self.build = build
        self.k = k
        self.label = label

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: Sequence[dspy.Example] | None = None,
        **options: Any,
    ) -> SelectedDemonstrations:
        """Wraps a copy of a program.

        Args:
            student: The program; it stays as it is.
            trainset: The pool; its examples say which fields are inputs.
            teacher: Not used: nothing is bootstrapped.
            valset: Not used: nothing is tuned.
            **options: Not used.

        Returns:
            The program with demonstrations.

        Raises:
            UsageError: When the training set is empty, does not say what is an input, or has several outputs and
                `label` is not given.
        """
        del teacher, valset, options
        columns = self._columns(trainset)
        source = DemonstrationSource(self.build, columns.pool([example.toDict() for example in trainset]), columns)
        program = SelectedDemonstrations(student.reset_copy(), source, k=self.k)
        program._compiled = True
        return program

    def _columns(self, trainset: Sequence[dspy.Example]) -> Columns:
        # An example that does not say what its inputs are has none here.
        inputs = tuple(trainset[0]._input_keys or ()) if trainset else ()
        fields = trainset[0].keys() if trainset else []
        inputs = tuple(name for name in fields if name in inputs)  # in the order of the example, not of a set
        outputs = [name for name in fields if name not in inputs]
        label = self.label or (outputs[0] if len(outputs) == 1 else "")
        if not inputs or label not in outputs:
            raise UsageError(
                f"the training set has the inputs {list(inputs)} and the outputs {outputs}",
                expected="examples made with with_inputs(...), and one output or its name",
                remedy="Call with_inputs on the examples, or pass label=...",
            )
        return Columns(inputs, label)


def _fitting_predictors(program: Any, columns: Columns) -> list[Any]:
    return [
        predictor
        for predictor in program.predictors()
        if columns.label in predictor.signature.output_fields
        and all(name in predictor.signature.input_fields for name in columns.inputs)
    ]
