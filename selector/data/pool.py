"""The pool: the labelled examples that may become demonstrations.

A pool is immutable and knows which of its members duplicate a given example, so that leave-one-out can be a law
everywhere. It knows nothing of files, prompts or models.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import overload

from selector.errors import EmptyPoolError, InvalidExampleError, OwnChoicesError
from selector.types import Example

_NOT_WORDS = re.compile(r"[\W_]+")


def normalised_text(fields: Mapping[str, str]) -> str:
    """Folds fields to what two duplicates have in common.

    Args:
        fields: Field name to raw text.

    Returns:
        The texts in order of their field names, case-folded, with punctuation and runs of space made one space. A text
        without any word keeps its characters, so that "!" and "?" stay different.
    """
    parts = []
    for name in sorted(fields):
        folded = _NOT_WORDS.sub(" ", fields[name].casefold()).strip()
        parts.append(folded or fields[name].strip())
    return "\x1f".join(parts)


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

    Raises:
        EmptyPoolError: When there are none.
        InvalidExampleError: When a uid occurs twice or an example has no label.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = tuple(examples)
        if not self._examples:
            raise EmptyPoolError(
                "the pool holds no example",
                expected="at least one labelled example",
                remedy="Check the training file and pool_size.",
            )
        self._by_uid: dict[str, int] = {}
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
            self._by_text[normalised_text(example.fields)].append(position)

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
            The positions of members with the same uid or the same normalised text.
        """
        same_uid = self._by_uid.get(example.uid)
        found = set(self._by_text.get(normalised_text(example.fields), ()))
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

    def subset(self, positions: Sequence[int]) -> Pool:
        """Makes a smaller pool.

        Args:
            positions: Which members, in the order wanted.

        Returns:
            The new pool.
        """
        return Pool(self._examples[position] for position in positions)
