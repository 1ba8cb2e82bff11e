"""Tests of prefix trees, of the slots that keep prefixes, and of the chunks cut from a tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.lm.prefix_slots import PrefixSlots
from selector.lm.prefix_tree import TokenRequest, TokenTree, build_tree
from selector.lm.tree_plan import Chunk, PlanLimits, chunks

sequences = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=12)
limits = st.builds(PlanLimits, tokens=st.integers(1, 12), reads=st.integers(1, 6), block_rows=st.integers(1, 5))


class Reader:
    """Stands for a model: keeps in every slot the prefix that was computed for it, and reads from what is kept."""

    def __init__(self, slots: PrefixSlots) -> None:
        self.slots = slots
        self.kept: dict[int, tuple[int, ...]] = {}
        self.computed = 0

    def read(self, tree: TokenTree, bounds: PlanLimits) -> dict[int, list[tuple[tuple[int, ...], int]]]:
        self.slots.grow(max(tree.depths) + 1 + bounds.tokens)
        seen: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        for chunk in chunks(tree, self.slots, limits=bounds):
            assert 0 < len(chunk.tokens) <= bounds.tokens
            assert len(set(chunk.read_rows.tolist())) <= bounds.reads
            prefixes = self._prefixes(chunk, bounds)
            self.computed += len(prefixes)
            for row, target, owner in zip(chunk.read_rows, chunk.targets, chunk.owners, strict=True):
                seen.setdefault(int(owner), []).append((prefixes[row], int(target)))
        return seen

    def _prefixes(self, chunk: Chunk, bounds: PlanLimits) -> list[tuple[int, ...]]:
        own = dict(zip(chunk.slots.tolist(), chunk.tokens.tolist(), strict=True))
        assert len(own) == len(chunk.tokens), "two tokens of a chunk share a slot"
        prefixes = []
        for block in chunk.blocks:
            assert block.start == len(prefixes)
            assert 0 < block.stop - block.start <= bounds.block_rows
            for row in range(block.start, block.stop):
                visible = np.flatnonzero(block.attends[row - block.start])
                order = visible[np.argsort(block.positions[visible])]
                assert block.positions[order].tolist() == list(range(int(chunk.positions[row]) + 1))
                # A slot gives the token of this chunk, or the last token of the prefix kept there.
                path = [own[slot] if slot in own else self.kept[slot][-1] for slot in block.slots[order].tolist()]
                assert block.slots[order][-1] == chunk.slots[row]
                prefixes.append(tuple(path))
        for slot, prefix in zip(chunk.slots.tolist(), prefixes, strict=True):
            self.kept[slot] = prefix
        return prefixes


def expected(requests: list[TokenRequest]) -> dict[int, list[tuple[tuple[int, ...], int]]]:
    return {
        number: [(request.tokens[:at], request.tokens[at]) for at in range(request.first, len(request.tokens))]
        for number, request in enumerate(requests)
    }


def requests_of(rows: list[list[int]]) -> list[TokenRequest]:
    return [TokenRequest(tuple(row), 1 + len(row) // 3) for row in rows]


@settings(deadline=None, max_examples=200)
@given(st.lists(sequences, min_size=1, max_size=4), limits)
def test_every_read_sees_exactly_its_own_prefix(calls: list[list[list[int]]], bounds: PlanLimits) -> None:
    """Guards against a token attending to another branch, a stale slot, a lost request: over calls, in any bounds."""
    reader = Reader(PrefixSlots(0))
    for rows in calls:
        requests = requests_of(rows)
        seen = reader.read(build_tree(requests), bounds)
        assert {owner: sorted(reads) for owner, reads in seen.items()} == expected(requests)


@settings(deadline=None, max_examples=100)
@given(sequences, limits)
def test_a_call_computes_every_token_once(rows: list[list[int]], bounds: PlanLimits) -> None:
    """Guards the claim that no duplicate prefix token is computed within a call, however small the chunks are."""
    requests = requests_of(rows)
    reader = Reader(PrefixSlots(0))
    reader.read(build_tree(requests), bounds)
    unique = {request.tokens[:at] for request in requests for at in range(1, len(request.tokens))}
    assert reader.computed == len(unique) == len(build_tree(requests).tokens)


def test_a_prompt_that_extends_an_earlier_one_computes_its_own_tokens_only() -> None:
    """Guards the saving across calls: the steps of an episode repeat the demonstrations chosen before."""
    reader = Reader(PrefixSlots(0))
    bounds = PlanLimits(tokens=64, reads=64, block_rows=8)
    reader.slots.grow(500)
    demonstrations = tuple(range(100, 140))
    reader.read(build_tree([TokenRequest((*demonstrations, 1, 2, 3), 42)]), bounds)
    assert reader.computed == 42
    reader.read(build_tree([TokenRequest((*demonstrations, *range(200, 210), 1, 2, 3), 52)]), bounds)
    assert reader.computed == 42 + 12


def test_a_kept_token_is_computed_again_only_where_it_is_read() -> None:
    """Guards against reads at tokens whose hidden state is gone."""
    reader = Reader(PrefixSlots(0))
    bounds = PlanLimits(tokens=64, reads=64, block_rows=8)
    reader.slots.grow(100)
    requests = [TokenRequest((*range(30), 50), 30)]
    assert reader.read(build_tree(requests), bounds) == reader.read(build_tree(requests), bounds)
    assert reader.computed == 30 + 1


def test_the_oldest_prefix_gives_way_deepest_first() -> None:
    """Guards the bound on memory, and against a follower that outlives its prefix and can never be found."""
    slots = PrefixSlots(4)
    slots.begin()
    first = slots.add(-1, 7, 0)
    assert first is not None
    second = slots.add(first, 8, 1)
    slots.begin()
    slots.add(-1, 9, 0)
    slots.begin()
    assert slots.find(-1, 9) is not None
    assert slots.add(-1, 10, 0) is not None
    assert slots.add(-1, 11, 0) == second, "the deepest of the oldest is taken"
    assert slots.find(-1, 7) == first
    assert slots.add(-1, 12, 0) is None, "everything was touched in this pass"
    slots.begin()
    assert slots.find(-1, 7) == first
    assert slots.find(first, 8) is None


def test_forgetting_empties_the_slots() -> None:
    """Guards against half-written rows after a failure."""
    slots = PrefixSlots(3)
    slots.add(-1, 7, 0)
    slots.clear()
    assert (len(slots), slots.capacity, slots.find(-1, 7)) == (0, 3, None)
    assert [slots.add(-1, token, 0) for token in (1, 2, 3)] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_trees_of_nothing_and_of_one(count: int) -> None:
    """Guards the empty call."""
    tree = build_tree([TokenRequest((4, 5), 1)] * count)
    assert (tree.tokens, tree.targets.tolist()) == ([4] * count, [5] * count)
