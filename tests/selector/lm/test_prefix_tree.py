"""Tests of the packing of token sequences into prefix trees."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.lm.prefix_tree import TokenRequest, pack

sequences = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=12)


@settings(deadline=None, max_examples=100)
@given(sequences, st.integers(1, 30))
def test_every_read_sees_exactly_its_own_prefix(rows: list[list[int]], budget: int) -> None:
    """Guards against a token attending to another branch, a wrong position, or a request lost at a tree's border."""
    requests = [TokenRequest(tuple(row), 1 + len(row) // 3) for row in rows]
    seen: dict[int, list[tuple[tuple[int, ...], int]]] = {number: [] for number in range(len(requests))}
    for tree in pack(requests, budget=budget):
        for place, target, owner in zip(tree.read_at, tree.targets, tree.owners, strict=True):
            visible = np.flatnonzero(tree.attends[place])
            assert list(tree.positions[visible]) == list(range(len(visible)))
            seen[int(owner)].append((tuple(tree.tokens[visible].tolist()), int(target)))
    for number, request in enumerate(requests):
        expected = [(request.tokens[:at], request.tokens[at]) for at in range(request.first, len(request.tokens))]
        assert sorted(seen[number]) == sorted(expected)


def test_shared_prefixes_are_computed_once() -> None:
    """Guards the saving: labels of one query and queries behind the same demonstrations cost their own tokens only."""
    demonstrations, queries, labels = tuple(range(50)), [(60, 61), (70, 71)], [(80,), (81, 82)]
    requests = [TokenRequest(demonstrations + query + label, 52) for query in queries for label in labels]
    (tree,) = pack(requests, budget=500)
    # 50 shared, two tokens a query, and the first token of the two-token label behind each query.
    assert len(tree.tokens) == 50 + 2 * 2 + 2


def test_the_budget_bounds_a_tree_and_a_long_request_stands_alone() -> None:
    """Guards against memory that grows with the batch, and against failing for size."""
    requests = [TokenRequest(tuple(range(start, start + 9)), 8) for start in range(0, 100, 10)]
    requests.append(TokenRequest(tuple(range(200, 300)), 99))
    sizes = [len(tree.tokens) for tree in pack(requests, budget=20)]
    assert sum(sizes) == 10 * 8 + 99
    assert sorted(sizes)[-1] == 99
    assert sorted(sizes)[-2] <= 20
