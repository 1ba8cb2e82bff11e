"""Which prefixes a model's key-value rows are kept for, and which row gives way when there is no room.

A slot is a row of the key-value tensors and stands for one token behind one prefix, named by the slot of the token
before it. Slots are remembered across calls, so a prompt that extends an earlier one finds its beginning there. The
least recently used slots give way, the deepest first, so a prefix never goes before what follows it. This module knows
neither tensors nor models.
"""

from __future__ import annotations

import numpy as np

ROOT = -1  # the slot before the first token
FRACTION = 0.25  # of the capacity is freed at once, so that sorting by age is rare


class PrefixSlots:
    """A bounded map from prefixes to slots.

    Args:
        capacity: How many slots there are.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = 0
        self._slots: dict[tuple[int, int], int] = {}
        self._names: list[tuple[int, int] | None] = []
        self._depths = np.zeros(0, dtype=np.int64)
        self._used = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []
        self._clock = 0
        self.grow(capacity)

    def __len__(self) -> int:
        return len(self._slots)

    def grow(self, capacity: int) -> None:
        """Adds slots; what is kept stays.

        Args:
            capacity: How many slots there shall be; fewer than there are changes nothing.
        """
        more = capacity - self.capacity
        if more <= 0:
            return
        self._free = [*range(capacity - 1, self.capacity - 1, -1), *self._free]  # popped from the end, ascending
        self._names.extend([None] * more)
        self._depths = np.concatenate([self._depths, np.zeros(more, dtype=np.int64)])
        self._used = np.concatenate([self._used, np.zeros(more, dtype=np.int64)])
        self.capacity = capacity

    def clear(self) -> None:
        """Forgets everything, as after a failure that may have left rows half written."""
        capacity, self.capacity = self.capacity, 0
        self._slots, self._names, self._free = {}, [], []
        self._depths = self._used = np.zeros(0, dtype=np.int64)
        self.grow(capacity)

    def begin(self) -> None:
        """Starts a pass: slots touched from now on are not taken away before the next `begin`."""
        self._clock += 1

    def find(self, before: int, token: int) -> int | None:
        """Looks a token up and touches its slot.

        Args:
            before: The slot of the token before it, or ROOT.
            token: The token id.

        Returns:
            Its slot, or None when it is not kept.
        """
        slot = self._slots.get((before, token))
        if slot is not None:
            self._used[slot] = self._clock
        return slot

    def add(self, before: int, token: int, depth: int) -> int | None:
        """Gives a token a slot and touches it.

        Args:
            before: The slot of the token before it, or ROOT.
            token: The token id.
            depth: Its position.

        Returns:
            The slot, or None when every slot was touched in this pass.
        """
        if not self._free and not self._evict():
            return None
        slot = self._free.pop()
        self._slots[before, token] = slot
        self._names[slot] = (before, token)
        self._depths[slot] = depth
        self._used[slot] = self._clock
        return slot

    def _evict(self) -> bool:
        # A touched slot's prefix is touched with it, so this order never frees a slot before its followers.
        order = np.lexsort((-self._depths, self._used))
        order = order[self._used[order] < self._clock]
        for slot in order[: max(1, int(self.capacity * FRACTION))].tolist():
            name = self._names[slot]
            if name is not None:
                del self._slots[name]
                self._names[slot] = None
                self._free.append(slot)
        return bool(self._free)
