"""The vectorised environment as stable-baselines3 wants it: a VecEnv with action masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from envs.vector import VectorDemoSelection
from selector.learned.observation import Observation


class MaskedVecEnv(VecEnv):
    """All copies step with one language-model batch; ended copies start anew, as SB3 expects.

    Args:
        copies: The vectorised environment.
    """

    def __init__(self, copies: VectorDemoSelection) -> None:
        self.copies = copies
        self._actions = np.zeros(copies.num_envs, dtype=np.int64)
        self._returns = np.zeros(copies.num_envs)
        self._lengths = np.zeros(copies.num_envs, dtype=np.int64)
        super().__init__(copies.num_envs, copies.single_observation_space, copies.single_action_space)

    def reset(self) -> Observation:
        """Starts all copies; the seed comes from `seed`.

        Returns:
            Observations with a first axis of N.
        """
        observations, _ = self.copies.reset(seed=self._seeds[0])
        self._returns[:] = 0
        self._lengths[:] = 0
        self._reset_seeds()
        return observations

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Takes the actions of the next step.

        Args:
            actions: (N,) actions.
        """
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Observation, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Steps all copies.

        Returns:
            Observations, rewards, whether each copy ended, and what SB3 wants to know of those that did.
        """
        observations, rewards, done, _, information = self.copies.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for number in np.flatnonzero(done):
            infos[number] = {
                "terminal_observation": information["final_obs"][number],
                "episode": {"r": float(self._returns[number]), "l": int(self._lengths[number]), "t": 0.0},
            }
        self._returns[done] = 0
        self._lengths[done] = 0
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def has_attr(self, attr_name: str) -> bool:
        """Tells that action masks are supported.

        Args:
            attr_name: Any name.

        Returns:
            Whether copies have it.
        """
        return hasattr(self.copies, attr_name)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Gives an attribute, the same for all copies.

        Args:
            attr_name: Its name.
            indices: Which copies.

        Returns:
            One value for each copy; None where there is none.
        """
        return [getattr(self.copies, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuses: copies have no attributes of their own.

        Args:
            attr_name: Its name.
            value: Its value.
            indices: Which copies.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"{attr_name} cannot be set to {value!r} for copies {indices}: they share one problem")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Calls a method whose result has one row for each copy; how SB3 asks for action masks.

        Args:
            method_name: Its name.
            *method_args: Passed on.
            indices: Which copies.
            **method_kwargs: Passed on.

        Returns:
            The rows of the copies asked for.
        """
        rows: Sequence[Any] = getattr(self.copies, method_name)(*method_args, **method_kwargs)
        return [rows[number] for number in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Tells that no copy is wrapped.

        Args:
            wrapper_class: Any wrapper.
            indices: Which copies.

        Returns:
            False for each.
        """
        del wrapper_class
        return [False for _ in self._get_indices(indices)]
