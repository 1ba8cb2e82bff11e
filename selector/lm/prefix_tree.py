"""Token sequences packed so that every shared prefix is computed once.

Requests are sorted, merged into a prefix tree and laid out as one flat row of tokens in depth-first order. A token
attends to its ancestors only and its position is its depth, so the row gives exactly the hidden states that separate
sequences would give, without padding and without copies of a key-value cache. This module knows token ids only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class TokenRequest(NamedTuple):
    """A sequence of which the tail is scored.

    Attributes:
        tokens: The token ids of prompt and completion.
        first: Where the completion starts; at least 1, so that every scored token has a predecessor.
    """

    tokens: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class PackedTree:
    """Some requests as one row of T tokens.

    Attributes:
        tokens: (T,) int64 token ids in depth-first order.
        positions: (T,) int64 depth of each token in the tree.
        attends: (T, T) bool; row i is True at i and at the ancestors of i.
        read_at: (R,) int64 places of the row whose next-token distribution is read.
        targets: (R,) int64 the token whose log-probability is read there.
        owners: (R,) int64 which request each read belongs to.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    attends: npt.NDArray[np.bool_]
    read_at: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]


class _TreeUnderConstruction:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.path: list[int] = []  # places of the tokens of the sequence added last
        self.reads: list[tuple[int, int, int]] = []

    def missing(self, request: TokenRequest) -> int:
        """How many tokens adding the request would compute; the last token is read, never computed."""
        return len(request.tokens) - 1 - self._shared(request)

    def add(self, owner: int, request: TokenRequest) -> None:
        del self.path[self._shared(request) :]
        for token in request.tokens[len(self.path) : -1]:
            self.parents.append(self.path[-1] if self.path else -1)
            self.path.append(len(self.tokens))
            self.tokens.append(token)
        for at in range(request.first, len(request.tokens)):
            self.reads.append((self.path[at - 1], request.tokens[at], owner))

    def _shared(self, request: TokenRequest) -> int:
        shared = 0
        for place, token in zip(self.path, request.tokens[:-1], strict=False):
            if self.tokens[place] != token:
                break
            shared += 1
        return shared

    def packed(self) -> PackedTree:
        length = len(self.tokens)
        attends = np.zeros((length, length), dtype=bool)
        positions = np.zeros(length, dtype=np.int64)
        for place, parent in enumerate(self.parents):
            if parent >= 0:
                attends[place] = attends[parent]
                positions[place] = positions[parent] + 1
            attends[place, place] = True
        read_at, targets, owners = np.array(self.reads, dtype=np.int64).reshape(-1, 3).T
        return PackedTree(np.array(self.tokens, dtype=np.int64), positions, attends, read_at, targets, owners)


def pack(requests: Sequence[TokenRequest], *, budget: int) -> Iterator[PackedTree]:
    """Merges requests into prefix trees of bounded size.

    Args:
        requests: The requests; equal ones are computed once.
        budget: Tokens in one tree; a request longer than that gets a tree of its own.

    Yields:
        Trees that together hold every request once; `owners` refer to the order of `requests`.
    """
    tree = _TreeUnderConstruction()
    for owner in sorted(range(len(requests)), key=lambda number: requests[number].tokens):
        request = requests[owner]
        if tree.tokens and len(tree.tokens) + tree.missing(request) > budget:
            yield tree.packed()
            tree = _TreeUnderConstruction()
        tree.add(owner, request)
    if tree.tokens:
        yield tree.packed()
