"""The pointer network as an actor-critic policy of sb3-contrib, so that MaskablePPO can train what is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch import Tensor

from selector.learned.network import PointerNetwork, PointerNetworkConfig

Masks = npt.NDArray[np.bool_] | Tensor | None


class PointerPolicy(MaskableActorCriticPolicy):  # type: ignore[misc]
    """Actor and critic are the two outputs of one pointer network.

    Args:
        *inputs: Spaces and learning-rate schedule, as MaskablePPO passes them.
        network: The sizes of the network.
        **options: What else MaskablePPO passes.
    """

    def __init__(self, *inputs: Any, network: PointerNetworkConfig, **options: Any) -> None:
        self._network_config = network
        super().__init__(*inputs, **options)

    def _build(self, lr_schedule: Any) -> None:
        """Makes the network and its optimizer; there are no other parameters."""
        self.network = PointerNetwork(self._network_config)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def forward(
        self, obs: Mapping[str, Tensor], deterministic: bool = False, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chooses actions.

        Args:
            obs: Observations with a batch axis.
            deterministic: Whether the best action is taken instead of a sampled one.
            action_masks: (B, K + 1) valid actions.

        Returns:
            (B,) actions, (B, 1) values and (B,) log-probabilities.
        """
        distribution, values = self._distribution(obs, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Mapping[str, Tensor], actions: Tensor, action_masks: Masks = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values states and rates actions taken in them.

        Args:
            obs: Observations with a batch axis.
            actions: (B,) actions.
            action_masks: (B, K + 1) valid actions.

        Returns:
            (B, 1) values, (B,) log-probabilities and (B,) entropies.
        """
        distribution, values = self._distribution(obs, action_masks)
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Mapping[str, Tensor], action_masks: Masks = None) -> MaskableDistribution:
        """Gives the distribution over actions.

        Args:
            obs: Observations with a batch axis.
            action_masks: (B, K + 1) valid actions.

        Returns:
            The distribution.
        """
        return self._distribution(obs, action_masks)[0]

    def predict_values(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Values states.

        Args:
            obs: Observations with a batch axis.

        Returns:
            (B, 1) values.
        """
        return self._distribution(obs, None)[1]

    def _distribution(self, obs: Mapping[str, Tensor], action_masks: Masks) -> tuple[MaskableDistribution, Tensor]:
        logits, values = self.network({name: torch.as_tensor(array) for name, array in obs.items()})
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution, values[:, None]
