"""GlobalE and LocalE: orders under which the predicted labels are not all the same (Lu et al., 2022).

A good order is one whose predictions over a probing set are spread (GlobalE) or unsure (LocalE); both rank orders by
entropy, highest first. The paper reports the mean of the best 4 of 24 orders; here the best one is taken. MDL ordering
ranks by the opposite sign and is another method (`selector.ordering.mdl`). No gold label is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.errors import TooFewExamplesError, UnknownNameError
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.ordering.permutations import OrderSearch, PermutationConfig
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


PROBE_CALIBRATIONS: Final = ("none", "contextual")


@dataclass(frozen=True)
class EntropyConfig:
    """How orders are ranked.

    Attributes:
        statistic: "globale" or "locale".
        permutations: How many orders of a set are tried: all where there are no more, else a sample with the order
            given among them.
        seed: Seeds that sample and the writing of probes.
        calibration: Of the label distributions of probes: "contextual" (Zhao et al., 2021), "none", or empty for
            contextual calibration where the engine answers with it.
    """

    statistic: str = "globale"
    permutations: int = 24
    seed: int = 0
    calibration: str = ""


class EntropyOrderer:
    """Puts every set of demonstrations into the order of highest entropy; one order for a set, whatever the query.

    Args:
        engine: Scores the probes.
        probes: Unlabelled inputs (labels are not looked at), or None to let the language model write them.
        config: How orders are ranked.
        progress: Shows how many sets are done.

    Raises:
        UnknownNameError: When the statistic or the calibration is not known.
        UsageError: When targets are free text, which have no label distribution.
        OwnChoicesError: When queries have choices of their own, and labels would be counted over several queries or the
            language model would have to write choices.
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
        engine.require_label_scores(f"the order by {config.statistic}")
        if config.statistic == "globale" or probes is None:
            engine.require_shared_labels("the entropy of predicted labels")
        self._engine = _calibrating(engine, config.calibration)
        self._probes = probes
        self._config = config
        tried = PermutationConfig(permutations=config.permutations, seed=config.seed)
        self._search = OrderSearch(self._choose, tried, name=config.statistic, progress=progress)

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders each selection; see `Orderer.order`.

        Args:
            queries: N queries; not looked at.
            selections: N selections.

        Returns:
            N permuted selections; equal GlobalE goes to the higher LocalE, for few probes leave many orders alike, and
            what is equal then to the order that comes first, the given one before all.

        Raises:
            TooFewExamplesError: When the list of probes is empty.
            ShotsmithError: When probes are to be written and none can be read.
        """
        del queries
        return self._search.best(selections)

    def _choose(self, orders: Sequence[Selection]) -> int:
        probes = self._probes
        if probes is None:
            probes = generate_probes(self._engine, orders, seed=self._config.seed)
        if not probes:
            raise TooFewExamplesError(available=0, wanted=1, what="probes")
        # One call scores every probe behind every order, so that orders with a common start share it.
        probabilities = self._engine.probabilities(
            list(probes) * len(orders), [order for order in orders for _ in probes]
        ).reshape(len(orders), len(probes), -1)
        ranks = dict.fromkeys((self._config.statistic, "locale"))
        values = [tuple(round(STATISTICS[name](own), 9) for name in ranks) for own in probabilities]
        return max(range(len(values)), key=values.__getitem__)


def _calibrating(engine: InferenceEngine, calibration: str) -> InferenceEngine:
    """The engine, or one over the same model that calibrates as told."""
    if calibration in ("", engine.calibration):
        return engine
    if calibration not in PROBE_CALIBRATIONS:
        raise UnknownNameError("calibration of probes", calibration, known=PROBE_CALIBRATIONS)
    return changed_engine(engine, calibration=calibration)
