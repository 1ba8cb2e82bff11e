"""Token sequences merged into one prefix tree, so that every shared token is computed once.

The nodes stand in depth-first order: the ancestors of a node are the tokens before it, its depth is its position. A
scored token is read at its parent and never becomes a node unless another one follows it. This module knows token ids
only: how a tree goes through a model is the business of `selector.lm.tree_plan` and `selector.lm.tree_scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class TokenRequest(NamedTuple):
    """A sequence of which the tail is scored.

    Attributes:
        tokens: The token ids of prompt and completion.
        first: Where the completion starts; at least 1, so that every scored token has a predecessor.
    """

    tokens: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class TokenTree:
    """Some requests as a tree of N nodes with R reads.

    Attributes:
        tokens: N token ids in depth-first order.
        parents: N nodes; -1 where a sequence starts.
        depths: N positions; 0 where a sequence starts.
        read_at: (R,) ascending nodes whose next-token distribution is read.
        targets: (R,) the token whose log-probability is read there.
        owners: (R,) which request each read belongs to.
    """

    tokens: list[int]
    parents: list[int]
    depths: list[int]
    read_at: Integers
    targets: Integers
    owners: Integers

    def ancestors(self, node: int) -> list[int]:
        """Lists the ancestors of a node.

        Args:
            node: The node.

        Returns:
            Nodes from the root to the parent.
        """
        path = []
        while (node := self.parents[node]) >= 0:
            path.append(node)
        return path[::-1]


def build_tree(requests: Sequence[TokenRequest]) -> TokenTree:
    """Merges requests into a prefix tree.

    Args:
        requests: The requests, in any order; equal ones share all their nodes.

    Returns:
        The tree; `owners` refer to the order of `requests`.
    """
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    reads: list[tuple[int, int, int]] = []
    path: list[int] = []  # nodes of the sequence added last
    previous: tuple[int, ...] = ()
    for owner in sorted(range(len(requests)), key=lambda number: requests[number].tokens):
        sequence, first = requests[owner]
        del path[_shared(previous, sequence, len(path)) :]
        for depth in range(len(path), len(sequence) - 1):
            parents.append(path[-1] if path else -1)
            path.append(len(tokens))
            tokens.append(sequence[depth])
            depths.append(depth)
        reads.extend((path[at - 1], sequence[at], owner) for at in range(first, len(sequence)))
        previous = sequence
    table = np.array(reads, dtype=np.int64).reshape(-1, 3)
    read_at, targets, owners = table[np.argsort(table[:, 0], kind="stable")].T
    return TokenTree(tokens, parents, depths, read_at, targets, owners)


def _shared(previous: tuple[int, ...], sequence: tuple[int, ...], limit: int) -> int:
    """How many leading nodes two sequences share; the last token of a sequence has no node."""
    limit = min(limit, len(sequence) - 1)
    if previous[:limit] == sequence[:limit]:
        return limit
    return next(at for at in range(limit) if previous[at] != sequence[at])
