"""The only place where examples become text.

A template is rendered in one pass over its own pieces: a field that contains `{label}`, another field's name in
braces, or the separator changes nothing else. This module knows nothing of models or tokens; the leading space of a
label belongs to its verbalizer.

Answers are of one of three kinds: labels, the same for every query; choices, of each query's own, scored by their text;
or free text, which is written. Three names are no input fields: {label}, {choices} (shown with letters) and
{rationale}, the steps that a demonstration shows before its label and that a query must find for itself.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from selector.errors import InvalidExampleError, TemplateError, UnknownLabelError
from selector.prompting.pieces import Pieces, parse_template, render
from selector.types import Example

LABEL, CHOICES, RATIONALE = "label", "choices", "rationale"
RESERVED = (LABEL, CHOICES, RATIONALE)
LETTERS = string.ascii_uppercase
__all__ = ["PromptTemplate", "parse_template", "render"]


@dataclass(frozen=True)
class PromptTemplate:
    r"""Turns demonstrations and a query into a prompt.

    Attributes:
        template: One example, such as "Review: {text}\nSentiment:{label}"; `{label}` exactly once.
        verbalizers: Label to the text that stands for it, with its leading space; all different. Empty only where
            targets are free text or every query has choices of its own.
        separator: Stands between instruction, demonstrations and query.
        instruction: Stands once before everything; may be empty.
        channel_template: One example with `{label}` before the inputs, for Channel scoring; by default the line that
            holds `{label}` is moved to the front.
        answer_tokens: Where targets are free text, the longest answer, tokens; 0 where labels are closed.
        answer_rule: Where targets are free text, how an answer is read and compared; see `selector.inference.answers`.
        multiple_choice: Whether every query has choices of its own, whose texts are scored.
        domain_premise: What stands before a label when nothing is known of the input, for scoring by mutual
            information; by default the end of the template's text before `{label}`.
    """

    template: str
    verbalizers: Mapping[str, str] = field(default_factory=dict)
    separator: str = "\n\n"
    instruction: str = ""
    channel_template: str = ""
    answer_tokens: int = 0
    answer_rule: str = "text"
    multiple_choice: bool = False
    domain_premise: str = ""
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
        self._check_rationale(names)
        self._check_verbalizers()

    def _check_rationale(self, names: Sequence[str]) -> None:
        if RATIONALE not in names:
            return
        in_order = names.count(RATIONALE) == 1 and names.index(RATIONALE) == names.index(LABEL) - 1
        if not (self.free_text and in_order):
            raise TemplateError(
                f"template {self.template!r} holds {{rationale}}, the fields {names}"
                + ("" if self.free_text else ", and labels to be scored"),
                expected="{rationale} once, next before {label}, and answers that are written",
                remedy="Correct [prompt] template, or set [prompt] answer_tokens.",
            )

    def _check_verbalizers(self) -> None:
        texts = list(self.verbalizers.values())
        if self.free_text and texts:
            raise TemplateError(
                f"answers are free text of {self.answer_tokens} tokens, and labels are verbalized as {texts}",
                expected="one of the two",
                remedy="Remove [prompt] answer_tokens, or [labels].",
            )
        if self.multiple_choice and (self.free_text or texts):
            raise TemplateError(
                "every query has choices of its own, and "
                + ("answers are free text" if self.free_text else f"labels are verbalized as {texts}"),
                expected="one of the two",
                remedy="Remove [fields] choices, or the other.",
            )
        if self.free_text or self.multiple_choice:
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
        """The labels, in the order of the verbalizers; none for free text, and where queries have their own choices."""
        return tuple(self.verbalizers)

    @cached_property
    def around_label(self) -> tuple[str, str]:
        """The literal texts next before `{label}` and next behind it; either may be empty."""
        before = next(text for text, name in self._pieces if name == LABEL)
        return before, self._behind_label[0][0] if self._behind_label else ""

    @property
    def rationales(self) -> bool:
        """Whether demonstrations show the steps that lead to their label."""
        return any(name == RATIONALE for _, name in self._pieces)

    @cached_property
    def premise(self) -> str:
        """What stands before a label where nothing is known of the input (Holtzman et al., 2021)."""
        found = self.domain_premise or self.around_label[0].rpartition("\n")[2]
        if not found.strip():
            raise TemplateError(
                f"no text stands before {{label}} in template {self.template!r}",
                expected="a premise for scoring by mutual information",
                remedy="Set [prompt] domain_premise.",
            )
        return found

    @cached_property
    def input_fields(self) -> tuple[str, ...]:
        """The names of the input fields, in the order of their first use."""
        return tuple(dict.fromkeys(name for _, name in self._pieces if name is not None and name not in RESERVED))

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of all that shapes a prompt, hexadecimal."""
        parts: list[object] = [self.template, dict(self.verbalizers), self.separator, self.instruction]
        parts += [self.channel_template, *([self.answer_tokens] if self.free_text else [])]
        # What is not set adds nothing, so that what was made before it could be set stays valid.
        rare = {"rule": self.answer_rule if self.answer_rule != "text" else "", "choices": self.multiple_choice}
        rare |= {"premise": self.domain_premise}
        if set_ones := {name: value for name, value in rare.items() if value}:
            parts.append(set_ones)
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def _split(self) -> tuple[Pieces, Pieces]:
        """The pieces of a query, and those that only a demonstration has: {rationale}, {label} and what is behind."""
        at = next(at for at, (_, name) in enumerate(self._pieces) if name in (RATIONALE, LABEL))
        literal, name = self._pieces[at]
        return (*self._pieces[:at], (literal, None)), (("", name), *self._pieces[at + 1 :])

    @cached_property
    def shows_query(self) -> bool:
        """Whether anything of a query stands before `{label}`; where not, only channel scoring reads its inputs."""
        return any(name is not None for _, name in self._split[0])

    @cached_property
    def _behind_label(self) -> Pieces:
        return self._pieces[[name for _, name in self._pieces].index(LABEL) + 1 :]

    @cached_property
    def _channel_split(self) -> tuple[Pieces, Pieces]:
        """The pieces up to and with {label}, and those behind it, of the channel form."""
        text = self.channel_template or self._derived_channel_template()
        pieces = parse_template(text)
        names = [name for _, name in pieces if name is not None]
        if names.count(LABEL) != 1 or names[0] != LABEL or len(names) < 2 or RATIONALE in names:
            raise TemplateError(
                f"channel template {text!r} has the fields {names}",
                expected="{label} exactly once and before every input field, and no {rationale}",
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
            InvalidExampleError: When it lacks a field of the template, or choices.
            UnknownLabelError: When its label has no verbalizer, or is none of its choices.
        """
        self._require_fields(example)
        if example.label is None:
            return
        self.completion(example.label)
        if self.multiple_choice and example.label not in example.choices:
            raise UnknownLabelError(example.label, known=example.choices, where=f"the choices of {example.uid!r}")

    def answers_of(self, query: Example) -> tuple[str, ...]:
        """Gives the answers that are scored for a query: its columns of a score matrix.

        Args:
            query: The query; its label is not looked at.

        Returns:
            The labels, or the query's own choices; none where targets are free text.

        Raises:
            InvalidExampleError: When it lacks choices.
        """
        if not self.multiple_choice:
            return self.labels
        self._require_fields(query)
        return query.choices

    def completion(self, label: str) -> str:
        """Gives the text whose log-probability stands for a label.

        Args:
            label: A label by name, or the text of a choice, or a free text.

        Returns:
            Its verbalizer; a text behind a space.

        Raises:
            UnknownLabelError: When the label has none.
        """
        if self.free_text or self.multiple_choice:
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
        return self.query_text(example) + render(self._split[1], self._answered(example))

    def target(self, example: Example) -> str:
        """Renders what should be written behind a query: the rationale, where the template has one, and the label.

        Args:
            example: A labelled example.

        Returns:
            The text from the end of the query to the end of the label.
        """
        tail = self._split[1]
        return render(tail[: len(tail) - len(self._behind_label)], self._answered(example))

    def query_text(self, query: Example) -> str:
        """Renders a query up to where its label would stand.

        Args:
            query: The query; its label is not looked at.

        Returns:
            The text before the label.
        """
        self._require_fields(query)
        return render(self._split[0], self._values(query))

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
        return self._joined([self.channel_demonstration(example) for example in demonstrations])

    def channel_demonstration(self, example: Example) -> str:
        """Renders a labelled example as it stands in a prompt of Channel scoring.

        Args:
            example: A labelled example.

        Returns:
            Its text, without separator.
        """
        self._require_fields(example)
        head, tail = self._channel_split
        return render(head, {LABEL: self._label_text(example)}) + render(tail, self._values(example))

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
        return render(head, {LABEL: self.completion(label)}), render(tail, self._values(query))

    @staticmethod
    def _values(example: Example) -> Mapping[str, str]:
        """What fills the pieces of a query."""
        if not example.choices:
            return example.fields
        lettered = zip(LETTERS, example.choices, strict=False)
        return {**example.fields, CHOICES: " ".join(f"({letter}) {choice}" for letter, choice in lettered)}

    def _answered(self, example: Example) -> dict[str, str]:
        """What fills the pieces of a demonstration."""
        values = {**self._values(example), LABEL: self._label_text(example)}
        if self.rationales:
            if example.rationale is None:
                raise InvalidExampleError(
                    f"example {example.uid!r} has no rationale",
                    expected="a demonstration with the steps that lead to its label",
                    remedy="Set [fields] rationale, or take {rationale} out of [prompt] template.",
                )
            values[RATIONALE] = f" {example.rationale}"
        return values

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
        missing = [name for name in self.input_fields if name not in example.fields]
        if missing:
            raise InvalidExampleError(
                f"example {example.uid!r} has the fields {sorted(example.fields)} and lacks {missing}",
                expected=f"the fields of the template, {list(self.input_fields)}",
                remedy="Correct the row, [fields] inputs or [prompt] template.",
            )
        if self._needs_choices and not 2 <= len(example.choices) <= len(LETTERS):
            raise InvalidExampleError(
                f"example {example.uid!r} has the choices {list(example.choices)}",
                expected=f"2 to {len(LETTERS)} choices",
                remedy="Correct the row or [fields] choices.",
            )

    @cached_property
    def _needs_choices(self) -> bool:
        return self.multiple_choice or any(name == CHOICES for _, name in self._pieces)
