"""The pool: the labelled examples that may become demonstrations.

A pool is immutable and knows which of its members duplicate a given example, so that leave-one-out can be a law
everywhere: on normalised texts always, on nearly equal ones where that is wanted. It knows nothing of files, prompts or
models.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import Final, overload

from selector.data.near_duplicates import FIELD_SEPARATOR, NearDuplicates, check_threshold
from selector.errors import EmptyPoolError, InvalidExampleError, OwnChoicesError, UsageError
from selector.types import Example

_NOT_WORDS = re.compile(r"[\W_]+")
MOST_KNOWN: Final = 100_000  # texts whose near duplicates are remembered: a query is asked about several times


def _marks_alone(found: re.Match[str]) -> str:
    """A space, behind the marks that belong to the letter before: vowels of Hindi and Thai are such marks."""
    marks = "".join(takewhile(lambda one: unicodedata.category(one).startswith("M"), found[0]))
    return marks if marks == found[0] else marks + " "


def normalised_text(fields: Mapping[str, str]) -> str:
    """Folds fields to what two duplicates have in common.

    Args:
        fields: Field name to raw text.

    Returns:
        The texts in order of their field names, case-folded, with runs of all but letters, their marks and digits made
        one space. A text without any word keeps its characters, so that "!" and "?" stay different.
    """
    parts = []
    for name in sorted(fields):
        text = fields[name].casefold()
        folded = " ".join(_NOT_WORDS.sub(" " if text.isascii() else _marks_alone, text).split())
        parts.append(folded or fields[name].strip())
    return FIELD_SEPARATOR.join(parts)


def canonical_example(example: Example) -> list[object]:
    """Gives all that tells an example from others, for fingerprints.

    Args:
        example: Any example.

    Returns:
        What JSON can hold; what the example does not have is left out, so that fingerprints made before it could have
        it stay valid.
    """
    rare = {"choices": example.choices, "aliases": example.aliases, "rationale": example.rationale}
    present = {name: value for name, value in rare.items() if value}
    return [example.uid, dict(example.fields), example.label, *([present] if present else [])]


class Pool(Sequence[Example]):
    """An immutable sequence of labelled examples with distinct uids.

    Args:
        examples: The members, each with a label.
        near_duplicates: The similarity from which two texts count as duplicates, 0.5 to 1 (see
            `selector.data.near_duplicates`); None compares normalised texts alone.
        former: A pool of mostly the same members, whose texts need not be folded again.

    Attributes:
        near_duplicates: That similarity; it is no part of the fingerprint, which tells contents apart.

    Raises:
        EmptyPoolError: When there are none.
        InvalidExampleError: When a uid occurs twice or an example has no label.
        UsageError: When `near_duplicates` is another number.
    """

    def __init__(
        self, examples: Iterable[Example], *, near_duplicates: float | None = None, former: Pool | None = None
    ) -> None:
        if near_duplicates is not None:
            check_threshold(near_duplicates)
        self.near_duplicates = near_duplicates
        self._examples = tuple(examples)
        if not self._examples:
            raise EmptyPoolError(
                "the pool holds no example",
                expected="at least one labelled example",
                remedy="Check the training file and pool_size.",
            )
        self._by_uid: dict[str, int] = {}
        self._texts: list[str] = []
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        for position, example in enumerate(self._examples):
            if example.label is None:
                raise InvalidExampleError(
                    f"example {example.uid!r} of the pool has no label", expected="a label", remedy="Label or drop it."
                )
            if example.uid in self._by_uid:
                raise InvalidExampleError(
                    f"uid {example.uid!r} occurs twice in the pool", expected="distinct uids", remedy="Rename one."
                )
            self._by_uid[example.uid] = position
            text = None if former is None else former._text_of(example)
            self._texts.append(normalised_text(example.fields) if text is None else text)
            self._by_text[self._texts[-1]].append(position)
        self._alike: NearDuplicates | None = None  # made when it is first needed: it takes a millisecond for each text
        self._known_near: dict[str, frozenset[int]] = {}

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        return self._examples[index]

    def __len__(self) -> int:
        return len(self._examples)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        return tuple(sorted({example.label for example in self._examples if example.label is not None}))

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the pool's canonical JSON, hexadecimal."""
        rows = [canonical_example(example) for example in self._examples]
        canonical = json.dumps(rows, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def duplicates_of(self, example: Example) -> frozenset[int]:
        """Finds the members that must never be shown as a demonstration for an example.

        Args:
            example: Any example, of the pool or not.

        Returns:
            The positions of members with the same uid or the same normalised text, or nearly the same where the pool
            was made with `near_duplicates`.

        Raises:
            ExtraMissingError: When near duplicates are wanted and datasketch is not installed.
        """
        same_uid = self._by_uid.get(example.uid)
        text = normalised_text(example.fields)
        found = set(self._by_text.get(text, ()))
        if self.near_duplicates is not None:
            found |= self._near(text, self.near_duplicates)
        if same_uid is not None:
            found.add(same_uid)
        return frozenset(found)

    def require_shared_labels(self, what: str) -> None:
        """Makes sure that a label means the same for every member.

        Args:
            what: What needs it, for the error ("the reference label-vote").

        Raises:
            OwnChoicesError: When members have choices of their own.
        """
        if any(example.choices for example in self._examples):
            raise OwnChoicesError(what)

    def require_apart(self, examples: Sequence[Example], what: str) -> None:
        """Makes sure that what judges sets of members is not among them: a member would answer itself.

        Args:
            examples: Labelled examples.
            what: What they are, for the error ("dev examples").

        Raises:
            UsageError: When one duplicates a member.
        """
        for example in examples:
            if self.duplicates_of(example):
                raise UsageError(
                    f"one of the {what}, {example.uid!r}, duplicates a member of the pool",
                    expected=f"{what} that are not in the pool",
                    remedy="Leave them out, or split pool and dev with `Task.load`.",
                )

    def subset(self, positions: Sequence[int]) -> Pool:
        """Makes a smaller pool.

        Args:
            positions: Which members, in the order wanted.

        Returns:
            The new pool, in which the same counts as a duplicate.
        """
        return self.remade(self._examples[position] for position in positions)

    def remade(self, members: Iterable[Example]) -> Pool:
        """Makes a pool of other members, in which the same counts as a duplicate; shared texts are not folded again.

        Args:
            members: The members, each with a label.

        Returns:
            The new pool.

        Raises:
            EmptyPoolError: When there are none.
            InvalidExampleError: When a uid occurs twice or an example has no label.
        """
        return Pool(members, near_duplicates=self.near_duplicates, former=self)

    def _text_of(self, example: Example) -> str | None:
        """The folded text of this very member; None where it is none."""
        position = self._by_uid.get(example.uid)
        return None if position is None or self._examples[position] is not example else self._texts[position]

    def _near(self, text: str, threshold: float) -> frozenset[int]:
        if self._alike is None:
            self._alike = NearDuplicates(threshold)
            for other in self._by_text:
                self._alike.add(other)
        if text not in self._known_near:
            if len(self._known_near) >= MOST_KNOWN:
                self._known_near.clear()
            positions = (position for other in self._alike.near(text) for position in self._by_text[other])
            self._known_near[text] = frozenset(positions)
        return self._known_near[text]
