"""Cuts a token tree into chunks that go through a model one after the other.

A chunk is a row of tokens to compute, the slot that keeps each one's keys and values, and blocks of rows with the slots
each row attends to. Prefixes that are kept are not computed again, unless a distribution is read there. Work and memory
of a chunk are bounded; the tree is not. This module knows neither tensors nor models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selector.lm.prefix_slots import ROOT, PrefixSlots
from selector.lm.prefix_tree import Integers, TokenTree

EARLY_CUT_ROWS = 16  # a block of so many rows ends where most of its keys are of no use to the next row


@dataclass(frozen=True)
class PlanLimits:
    """What one chunk may hold.

    Attributes:
        tokens: Tokens computed.
        reads: Distinct places at which the vocabulary is read.
        block_rows: Rows that attend together.
    """

    tokens: int
    reads: int
    block_rows: int


@dataclass(frozen=True)
class AttentionBlock:
    """Rows start to stop of a chunk and the n slots they attend to.

    Attributes:
        start: The first row.
        stop: Behind the last row.
        slots: (n,) slots.
        positions: (n,) the position of each slot's token.
        attends: (stop - start, n) whether a row attends to a slot.
    """

    start: int
    stop: int
    slots: Integers
    positions: Integers
    attends: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Chunk:
    """T tokens to compute in one pass, and R reads.

    Attributes:
        tokens: (T,) token ids.
        positions: (T,) their positions.
        slots: (T,) where their keys and values are kept.
        blocks: All rows in ascending order.
        read_rows: (R,) ascending rows whose next-token distribution is read.
        targets: (R,) the token whose log-probability is read there.
        owners: (R,) which request each read belongs to.
        done: How many nodes of the tree need no further pass.
    """

    tokens: Integers
    positions: Integers
    slots: Integers
    blocks: tuple[AttentionBlock, ...]
    read_rows: Integers
    targets: Integers
    owners: Integers
    done: int


def chunks(tree: TokenTree, slots: PrefixSlots, *, limits: PlanLimits, start: int = 0) -> Iterator[Chunk]:
    """Cuts a tree into chunks, each of which must be computed before the next is asked for.

    Args:
        tree: The tree.
        slots: What is kept; must have room for the deepest node and one more.
        limits: What a chunk may hold.
        start: The first node that is not done.

    Yields:
        Chunks; together they read everything at and behind `start` once.
    """
    while start < len(tree.tokens):
        plan = _ChunkPlan(tree, slots, limits)
        start = plan.fill(start)
        if plan.rows:
            yield plan.chunk(start)


class _ChunkPlan:
    def __init__(self, tree: TokenTree, slots: PrefixSlots, limits: PlanLimits) -> None:
        self._tree, self._slots, self._limits = tree, slots, limits
        self.rows: list[tuple[int, int]] = []  # node and slot of each token to compute
        self._path: list[int] = []  # slots from the root to the token planned last
        self._read_rows: dict[int, int] = {}  # node to row
        self._blocks: list[_Block] = []
        slots.begin()

    def fill(self, start: int) -> int:
        """Plans from `start` on until a limit is met; returns the first node that is not done."""
        # What stands before the first node is kept as a rule, and is computed again where it had to give way.
        for node in self._tree.ancestors(start):
            if not self._plan(node, read=False):
                return start
        reads = self._tree.read_at
        at = int(np.searchsorted(reads, start))
        for node in range(start, len(self._tree.tokens)):
            del self._path[self._tree.depths[node] :]
            read = at < len(reads) and reads[at] == node
            if not self._plan(node, read=bool(read)):
                return node
            while at < len(reads) and reads[at] == node:
                at += 1
        return len(self._tree.tokens)

    def _plan(self, node: int, *, read: bool) -> bool:
        """Plans one token; False when it does not fit into this chunk any more."""
        before, token = self._path[-1] if self._path else ROOT, self._tree.tokens[node]
        slot = self._slots.find(before, token)
        if slot is not None and not read:
            self._path.append(slot)
            return True
        if len(self.rows) >= self._limits.tokens or (read and len(self._read_rows) >= self._limits.reads):
            return False
        if slot is None:
            slot = self._slots.add(before, token, self._tree.depths[node])
        if slot is None:
            return False
        self._path.append(slot)
        if read:
            self._read_rows[node] = len(self.rows)
        self.rows.append((node, slot))
        if not self._blocks or self._blocks[-1].is_full(len(self._path), self._limits.block_rows):
            self._blocks.append(_Block())
        self._blocks[-1].add(self._path)
        return True

    def chunk(self, done: int) -> Chunk:
        nodes, slots = np.array(self.rows, dtype=np.int64).T
        tree = self._tree
        blocks, start = [], 0
        for block in self._blocks:
            blocks.append(block.packed(start))
            start = blocks[-1].stop
        where = np.array(list(self._read_rows), dtype=np.int64)
        first, last = (np.searchsorted(tree.read_at, edge) for edge in _range_of(where))
        reads = slice(int(first), int(last))
        return Chunk(
            tokens=np.array([tree.tokens[node] for node in nodes], dtype=np.int64),
            positions=np.array([tree.depths[node] for node in nodes], dtype=np.int64),
            slots=slots,
            blocks=tuple(blocks),
            read_rows=np.array([self._read_rows[node] for node in tree.read_at[reads].tolist()], dtype=np.int64),
            targets=tree.targets[reads],
            owners=tree.owners[reads],
            done=done,
        )


class _Block:
    def __init__(self) -> None:
        self._keys: dict[int, int] = {}  # slot to column
        self._positions: list[int] = []
        self._path: list[int] = []
        self._columns: list[int] = []  # of the path of the last row
        self._rows: list[npt.NDArray[np.int64]] = []

    def is_full(self, depth: int, limit: int) -> bool:
        """Tells whether the next row, at that depth, should open a new block."""
        rows = len(self._rows)
        return rows >= limit or (rows >= EARLY_CUT_ROWS and 2 * depth < len(self._keys))

    def add(self, path: list[int]) -> None:
        """Adds a row that attends to the slots of a path."""
        same = 0
        for old, new in zip(self._path, path, strict=False):
            if old != new:
                break
            same += 1
        del self._columns[same:]
        for depth in range(same, len(path)):
            slot = path[depth]
            column = self._keys.get(slot)
            if column is None:
                column = self._keys[slot] = len(self._keys)
                self._positions.append(depth)
            self._columns.append(column)
        self._path = list(path)
        self._rows.append(np.array(self._columns, dtype=np.int64))

    def packed(self, start: int) -> AttentionBlock:
        attends = np.zeros((len(self._rows), len(self._keys)), dtype=bool)
        for row, columns in enumerate(self._rows):
            attends[row, columns] = True
        slots = np.fromiter(self._keys, dtype=np.int64)
        return AttentionBlock(start, start + len(self._rows), slots, np.array(self._positions, dtype=np.int64), attends)


def _range_of(nodes: Integers) -> tuple[int, int]:
    return (int(nodes[0]), int(nodes[-1]) + 1) if len(nodes) else (0, 0)
