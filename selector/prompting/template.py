"""The only place where examples become text.

A template is rendered in one pass over its own pieces: a field that contains `{label}`, another field's name in
braces, or the separator changes nothing else. This module knows nothing of models or tokens; the leading space of a
label belongs to its verbalizer.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from selector.errors import InvalidExampleError, TemplateError, UnknownLabelError
from selector.types import Example

LABEL = "label"
Pieces = tuple[tuple[str, str | None], ...]


def parse_template(text: str) -> Pieces:
    """Splits a template into literal text and field names.

    Args:
        text: The template; `{name}` is a field, `{{` and `}}` are literal braces.

    Returns:
        Pairs of literal text and the name of the field behind it (None at the end).

    Raises:
        TemplateError: When braces do not match, or a field has a conversion or format.
    """
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(
            f"template {text!r} cannot be read ({error})",
            expected="fields in braces, literal braces doubled",
            remedy="Correct the template.",
        ) from error
    for _, name, form, conversion in parsed:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise TemplateError(
                f"template {text!r} holds the field {{{name}}} with a form that is not plain",
                expected="plain names such as {text}",
                remedy="Correct the template.",
            )
    return tuple((literal, name) for literal, name, _, _ in parsed)


def render(pieces: Pieces, values: Mapping[str, str]) -> str:
    """Fills a parsed template in a single pass.

    Args:
        pieces: From `parse_template`.
        values: Field name to text; inserted as they are.

    Returns:
        The text.
    """
    return "".join(literal + (values[name] if name is not None else "") for literal, name in pieces)


@dataclass(frozen=True)
class PromptTemplate:
    r"""Turns demonstrations and a query into a prompt.

    Attributes:
        template: One example, such as "Review: {text}\nSentiment:{label}"; `{label}` exactly once.
        verbalizers: Label to the text that stands for it, with its leading space; all different. Empty only where
            targets are free text.
        separator: Stands between instruction, demonstrations and query.
        instruction: Stands once before everything; may be empty.
        channel_template: One example with `{label}` before the inputs, for Channel scoring; by default the line that
            holds `{label}` is moved to the front.
        answer_tokens: Where targets are free text, the longest answer, tokens; 0 where labels are closed.
    """

    template: str
    verbalizers: Mapping[str, str] = field(default_factory=dict)
    separator: str = "\n\n"
    instruction: str = ""
    channel_template: str = ""
    answer_tokens: int = 0
    _pieces: Pieces = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        pieces = parse_template(self.template)
        names = [name for _, name in pieces if name is not None]
        if names.count(LABEL) != 1 or len(names) < 2:
            raise TemplateError(
                f"template {self.template!r} holds {{label}} {names.count(LABEL)} times and the fields {names}",
                expected="{label} exactly once and at least one input field",
                remedy="Correct [prompt] template.",
            )
        object.__setattr__(self, "_pieces", pieces)
        self._check_verbalizers()

    def _check_verbalizers(self) -> None:
        texts = list(self.verbalizers.values())
        if self.free_text and texts:
            raise TemplateError(
                f"answers are free text of {self.answer_tokens} tokens, and labels are verbalized as {texts}",
                expected="one of the two",
                remedy="Remove [prompt] answer_tokens, or [labels].",
            )
        if self.free_text:
            return
        if not texts or "" in texts or len(set(texts)) != len(texts):
            raise TemplateError(
                f"the labels are verbalized as {texts}",
                expected="at least one verbalizer, none empty, all different",
                remedy="Correct [labels].",
            )

    @property
    def free_text(self) -> bool:
        """Whether targets are free text rather than labels of a closed set."""
        return self.answer_tokens > 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the verbalizers; the L columns of every score matrix. None for free text."""
        return tuple(self.verbalizers)

    @cached_property
    def answer_ends(self) -> tuple[str, ...]:
        """Texts that end a free-text answer: what stands behind `{label}`, and the separator."""
        behind = self._split[1][0][0] if self._split[1] else ""
        return tuple(dict.fromkeys(text for text in (behind, self.separator) if text))

    @cached_property
    def input_fields(self) -> tuple[str, ...]:
        """The names of the input fields, in the order of their first use."""
        return tuple(dict.fromkeys(name for _, name in self._pieces if name is not None and name != LABEL))

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all that shapes a prompt, hexadecimal."""
        parts: list[object] = [self.template, dict(self.verbalizers), self.separator, self.instruction]
        parts += [self.channel_template, *([self.answer_tokens] if self.free_text else [])]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def _split(self) -> tuple[Pieces, Pieces]:
        """The pieces before and behind {label}."""
        at = [name for _, name in self._pieces].index(LABEL)
        literal = self._pieces[at][0]
        return (*self._pieces[:at], (literal, None)), self._pieces[at + 1 :]

    @cached_property
    def _channel_split(self) -> tuple[Pieces, Pieces]:
        """The pieces up to and with {label}, and those behind it, of the channel form."""
        text = self.channel_template or self._derived_channel_template()
        pieces = parse_template(text)
        names = [name for _, name in pieces if name is not None]
        if names.count(LABEL) != 1 or names[0] != LABEL or len(names) < 2:
            raise TemplateError(
                f"channel template {text!r} has the fields {names}",
                expected="{label} exactly once and before every input field",
                remedy="Set [prompt] channel_template.",
            )
        at = [name for _, name in pieces].index(LABEL)
        return pieces[: at + 1], pieces[at + 1 :]

    def _derived_channel_template(self) -> str:
        lines = self.template.split("\n")
        label_lines = [line for line in lines if "{label}" in line]
        others = [line for line in lines if "{label}" not in line]
        if len(label_lines) != 1 or not others or len(parse_template(label_lines[0])) > 2:
            raise TemplateError(
                f"no channel form can be derived from template {self.template!r}",
                expected="{label} on a line of its own, without input fields",
                remedy="Set [prompt] channel_template with {label} before the inputs.",
            )
        return "\n".join(label_lines + others)

    def check(self, example: Example) -> None:
        """Makes sure that an example can be rendered.

        Args:
            example: A demonstration or a query.

        Raises:
            InvalidExampleError: When it lacks a field of the template.
            UnknownLabelError: When its label has no verbalizer.
        """
        missing = [name for name in self.input_fields if name not in example.fields]
        if missing:
            raise InvalidExampleError(
                f"example {example.uid!r} has the fields {sorted(example.fields)} and lacks {missing}",
                expected=f"the fields of the template, {list(self.input_fields)}",
                remedy="Correct the row, [fields] inputs or [prompt] template.",
            )
        if example.label is not None:
            self.completion(example.label)

    def completion(self, label: str) -> str:
        """Gives the text whose log-probability stands for a label.

        Args:
            label: A label by name, or a free text.

        Returns:
            Its verbalizer; a free text behind a space.

        Raises:
            UnknownLabelError: When the label has none.
        """
        if self.free_text:
            return f" {label}"
        if label not in self.verbalizers:
            raise UnknownLabelError(label, known=self.labels, where="the template")
        return self.verbalizers[label]

    def demonstration(self, example: Example) -> str:
        """Renders a labelled example as it stands in a prompt.

        Args:
            example: A labelled example.

        Returns:
            Its text, without separator.
        """
        return self.query_text(example) + self._filled_tail(example, self._label_text(example))

    def query_text(self, query: Example) -> str:
        """Renders a query up to where its label would stand.

        Args:
            query: The query; its label is not looked at.

        Returns:
            The text before the label.
        """
        self._require_fields(query)
        return render(self._split[0], query.fields)

    def context(self, demonstrations: Sequence[Example]) -> str:
        """Renders instruction and demonstrations, with the separator that the query follows.

        Args:
            demonstrations: Labelled examples in prompt order.

        Returns:
            The text before the query; empty without instruction and demonstrations.
        """
        return self._joined([self.demonstration(example) for example in demonstrations])

    def prompt(self, demonstrations: Sequence[Example], query: Example) -> str:
        """Renders the whole prompt, up to where the label stands.

        Args:
            demonstrations: Labelled examples in prompt order; the last stands next to the query.
            query: The query.

        Returns:
            The prompt, to be completed by `completion(label)`.
        """
        return self.context(demonstrations) + self.query_text(query)

    def channel_context(self, demonstrations: Sequence[Example]) -> str:
        """Renders instruction and demonstrations in channel form, label before inputs.

        Args:
            demonstrations: Labelled examples in prompt order.

        Returns:
            The text before the query's label.
        """
        texts = []
        for example in demonstrations:
            self._require_fields(example)
            head, tail = self._channel_split
            texts.append(render(head, {LABEL: self._label_text(example)}) + render(tail, example.fields))
        return self._joined(texts)

    def channel_query(self, label: str, query: Example) -> tuple[str, str]:
        """Renders a query for Channel scoring.

        Args:
            label: The label under which the input is scored.
            query: The query.

        Returns:
            The text with the label (end of the prompt) and the text of the input (the completion).
        """
        self._require_fields(query)
        head, tail = self._channel_split
        return render(head, {LABEL: self.completion(label)}), render(tail, query.fields)

    def _filled_tail(self, example: Example, label_text: str) -> str:
        return label_text + render(self._split[1], example.fields)

    def _label_text(self, example: Example) -> str:
        if example.label is None:
            raise InvalidExampleError(
                f"example {example.uid!r} has no label", expected="a labelled demonstration", remedy="Label or drop it."
            )
        return self.completion(example.label)

    def _joined(self, texts: list[str]) -> str:
        parts = [self.instruction] if self.instruction else []
        return "".join(part + self.separator for part in parts + texts)

    def _require_fields(self, example: Example) -> None:
        if any(name not in example.fields for name in self.input_fields):
            self.check(example)
