"""Attention over a chunk of a token tree, for any decoder of transformers that takes its attention from the registry.

While a `TreePass` is active, every attention layer of the model writes the keys and values of the chunk into the arena
and lets each block of rows attend to its own slots. So keys and values are kept once, are never copied per sequence,
and a row costs what its ancestors cost, not what the whole chunk would. This module knows tensors, not tokens or texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from selector.lm.tree_plan import AttentionBlock, Chunk

NAME = "shotsmith_tree"


class KeyValueArena:
    """The keys and values of S slots for each attention layer, made when a layer is first met."""

    def __init__(self) -> None:
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []  # (H, S, D) each

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one slot over all layers, bytes; 0 before the first pass."""
        return sum(
            tensor.shape[0] * tensor.shape[2] * tensor.element_size() for layer in self._layers for tensor in layer
        )

    def write(
        self, layer: int, key: torch.Tensor, value: torch.Tensor, *, slots: torch.Tensor, capacity: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keeps the keys and values of a chunk.

        Args:
            layer: The layer's number in the order of the forward pass.
            key: (H, T, D) keys.
            value: (H, T, D) values.
            slots: (T,) where they are kept.
            capacity: How many slots there are.

        Returns:
            The layer's (H, S, D) keys and values, S at least the capacity.
        """
        if layer == len(self._layers):
            self._layers.append((_empty(key, capacity), _empty(value, capacity)))
        elif self._layers[layer][0].shape[1] < capacity:
            self._layers[layer] = tuple(_grown(tensor, capacity) for tensor in self._layers[layer])  # type: ignore[assignment]
        keys, values = self._layers[layer]
        keys.index_copy_(1, slots, key)
        values.index_copy_(1, slots, value)
        return keys, values

    def clear(self) -> None:
        """Gives the memory back."""
        self._layers = []


class TreePass:
    """One forward pass over one chunk.

    Args:
        chunk: The chunk.
        arena: Where keys and values are kept.
        capacity: How many slots the arena has.
        device: Where the model is.

    Attributes:
        windows: How many positions each layer met so far said it sees; None is all.
    """

    def __init__(self, chunk: Chunk, *, arena: KeyValueArena, capacity: int, device: torch.device) -> None:
        self._arena, self._capacity = arena, capacity
        self._slots = torch.from_numpy(chunk.slots).to(device)
        self._blocks = [_BlockOnDevice(block, chunk, device) for block in chunk.blocks]
        self.windows: list[int | None] = []  # what each layer said, in the order of the forward pass

    @contextmanager
    def active(self, model: Any) -> Iterator[None]:
        """Routes the attention of a model through this pass.

        Args:
            model: A model of transformers.

        Yields:
            Nothing.
        """
        register()
        # Parts of a model may hold copies of its configuration; each layer reads its own.
        configs = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}.values()
        before = [(config, config._attn_implementation) for config in configs]
        token = _ACTIVE.set(self)
        try:
            for config, _ in before:
                config._attn_implementation_internal = NAME
            yield
        finally:
            for config, name in before:
                config._attn_implementation_internal = name
            _ACTIVE.reset(token)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        """Computes one layer's attention.

        Args:
            query: (1, G * H, T, D); G query heads share a key head.
            key: (1, H, T, D).
            value: (1, H, T, D).
            scale: Factor of the products; None is one over the root of D.
            window: A row sees this many positions, itself included; None is all.
            softcap: Bound of the products, as Gemma 2 has it; None is none.

        Returns:
            (1, T, G * H, D).
        """
        layer = len(self.windows)
        self.windows.append(window)
        keys, values = self._arena.write(layer, key[0], value[0], slots=self._slots, capacity=self._capacity)
        heads, length, width = query.shape[1:]
        groups = heads // key.shape[1]
        output = query.new_empty(length, heads, value.shape[-1])
        for block in self._blocks:
            rows = slice(block.start, block.stop)
            found = _attention(
                query[0, :, rows].reshape(key.shape[1], -1, width),  # (H, G * rows, D)
                keys.index_select(1, block.slots),
                values.index_select(1, block.slots),
                block.mask(groups, window, query.dtype),
                scale=width**-0.5 if scale is None else scale,
                softcap=softcap,
            )
            output[rows] = found.reshape(heads, -1, value.shape[-1]).transpose(0, 1)
        return output[None]


class _BlockOnDevice:
    def __init__(self, block: AttentionBlock, chunk: Chunk, device: torch.device) -> None:
        self.start, self.stop = block.start, block.stop
        self.slots = torch.from_numpy(block.slots).to(device)
        self._hidden = ~torch.from_numpy(block.attends).to(device)
        rows = torch.from_numpy(chunk.positions[block.start : block.stop])
        self._distance = (rows[:, None] - torch.from_numpy(block.positions)).to(device)
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def mask(self, groups: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """(groups * rows, n) additive mask, made once for all layers of a kind."""
        if (groups, window) not in self._masks:
            hidden = self._hidden if window is None else self._hidden | (self._distance >= window)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            mask.masked_fill_(hidden, torch.finfo(dtype).min)
            self._masks[groups, window] = mask.repeat(groups, 1)
        return self._masks[groups, window]


def register() -> None:
    """Makes tree attention known to transformers; does nothing the second time."""
    from transformers import AttentionInterface

    if NAME not in AttentionInterface().valid_keys():
        AttentionInterface.register(NAME, _layer_attention)


_ACTIVE: ContextVar[TreePass] = ContextVar("tree pass")


def _layer_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    output = _ACTIVE.get().attend(query, key, value, scale=scaling, window=sliding_window, softcap=softcap)
    return output, None


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    if softcap is None:
        return scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask, scale=scale)[0]
    products = softcap * torch.tanh(query @ key.transpose(1, 2) * (scale / softcap))
    return torch.softmax((products + mask).float(), dim=-1).to(query.dtype) @ value


def _empty(like: torch.Tensor, capacity: int) -> torch.Tensor:
    return like.new_zeros(like.shape[0], capacity, like.shape[2])


def _grown(tensor: torch.Tensor, capacity: int) -> torch.Tensor:
    larger = _empty(tensor, capacity)
    larger[:, : tensor.shape[1]] = tensor
    return larger
