"""GlobalE and LocalE: orders under which the predicted labels are not all the same (Lu et al., 2022).

A good order is one whose predictions over a probing set are spread (GlobalE) or unsure (LocalE); both rank orders by
entropy, highest first. MDL ordering ranks by the opposite sign and is another method. No gold label is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.ordering.base import permuted
from selector.ordering.probing import generate_probes
from selector.progress import SILENT, Progress
from selector.types import Example, Query, Selection

Probabilities = npt.NDArray[np.float64]


def entropy(probabilities: Probabilities) -> Probabilities:
    """Computes Shannon entropy.

    Args:
        probabilities: (..., L) distributions.

    Returns:
        (...) entropies, nats.
    """
    positive = np.where(probabilities > 0, probabilities, 1.0)
    result: Probabilities = -(probabilities * np.log(positive)).sum(axis=-1)
    return result


def global_entropy(probabilities: Probabilities) -> float:
    """Computes GlobalE: the entropy of the predicted labels over the probing set (Lu et al., 2022, equation 4).

    Args:
        probabilities: (P, L) label distribution of each probe.

    Returns:
        Nats; 0 when every probe gets the same label.
    """
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    return float(entropy(counts / counts.sum()))


def local_entropy(probabilities: Probabilities) -> float:
    """Computes LocalE: the mean entropy of the label distributions over the probing set (Lu et al., 2022, equation 6).

    Args:
        probabilities: (P, L) label distribution of each probe.

    Returns:
        Nats; 0 when every prediction is certain.
    """
    return float(entropy(probabilities).mean())


STATISTICS: Mapping[str, Callable[[Probabilities], float]] = MappingProxyType(
    {"globale": global_entropy, "locale": local_entropy}
)


@dataclass(frozen=True)
class EntropyConfig:
    """How orders are ranked.

    Attributes:
        statistic: "globale" or "locale".
        permutations: How many orders of a set are tried: all where there are no more, else a sample with the order
            given among them.
        seed: Seeds that sample and the writing of probes.
    """

    statistic: str = "globale"
    permutations: int = 24
    seed: int = 0


class EntropyOrderer:
    """Puts every set of demonstrations into the order of highest entropy; one order for a set, whatever the query.

    Args:
        engine: Scores the probes.
        probes: Unlabelled inputs (labels are not looked at), or None to let the language model write them.
        config: How orders are ranked.
        progress: Shows how many sets are done.

    Raises:
        UnknownNameError: When the statistic is not known.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        probes: Sequence[Example] | None = None,
        *,
        config: EntropyConfig = EntropyConfig(),
        progress: Progress = SILENT,
    ) -> None:
        if config.statistic not in STATISTICS:
            raise UnknownNameError("entropy statistic", config.statistic, known=tuple(STATISTICS))
        self._engine = engine
        self._probes = probes
        self._config = config
        self._progress = progress
        self._best: dict[tuple[int, ...], tuple[int, ...]] = {}

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders each selection; see `Orderer.order`.

        Args:
            queries: N queries; not looked at.
            selections: N selections.

        Returns:
            N permuted selections; equal entropies go to the order that comes first, the given one before all.

        Raises:
            ShotsmithError: When probes are to be written and none can be read.
        """
        del queries
        new = [selection for selection in dict.fromkeys(selections) if selection.indices not in self._best]
        with self._progress.track(f"orders by {self._config.statistic}", len(new)) as advance:
            for selection in new:
                if selection.indices not in self._best:
                    self._best[selection.indices] = self._best_positions(selection)
                advance(1)
        return [permuted(selection, self._best[selection.indices]) for selection in selections]

    def _best_positions(self, selection: Selection) -> tuple[int, ...]:
        if len(selection.indices) < 2:
            return tuple(range(len(selection.indices)))
        tried = candidate_orders(len(selection.indices), limit=self._config.permutations, seed=self._config.seed)
        orders = [permuted(selection, positions) for positions in tried]
        probes = self._probes
        if probes is None:
            probes = generate_probes(self._engine, orders, seed=self._config.seed)
        # One call scores every probe behind every order, so that orders with a common start share it.
        probabilities = self._engine.probabilities(
            list(probes) * len(orders), [order for order in orders for _ in probes]
        ).reshape(len(orders), len(probes), -1)
        values = [STATISTICS[self._config.statistic](own) for own in probabilities]
        return tried[int(np.argmax(np.round(values, 9)))]


def candidate_orders(length: int, *, limit: int, seed: int) -> list[tuple[int, ...]]:
    """Lists the orders that are tried, the given one first.

    Args:
        length: How many demonstrations there are.
        limit: How many orders at most.
        seed: Seeds the sample where there are more.

    Returns:
        Distinct permutations of range(length).
    """
    given = tuple(range(length))
    if math.factorial(length) <= limit:
        return list(permutations(given))
    rng = np.random.default_rng([seed, length])
    orders = {given: None}
    while len(orders) < limit:
        orders[tuple(int(position) for position in rng.permutation(length))] = None
    return list(orders)
