"""From a run folder to an artifact: the best weights, what they are for, a check that they still decide alike."""

from __future__ import annotations

from pathlib import Path

import torch

from policies.runs import Best, provenance_of, read_best, read_run
from selector.errors import ArtifactError
from selector.learned.artifact import ENCODER_FOLDER, Artifact, Manifest, write_artifact
from selector.version import __version__

PARITY_TOLERANCE = 1e-5  # nats; the same weights on the same machine agree exactly


def export_policy(run: Path, artifact: Path) -> Path:
    """Writes a run's best weights as an artifact.

    Args:
        run: A run folder of `policies.ppo.train_policy`.
        artifact: Where the artifact goes; one that is there is replaced.

    Returns:
        The artifact.

    Raises:
        ArtifactError: When the run is not evaluated, or the artifact read back scores actions unlike the training
            process did; then nothing is written.
    """
    content, best = read_run(run), read_best(run)
    provenance, config = provenance_of(content), content["config"]
    folder = Path(provenance.encoder)
    trained = folder if folder.is_dir() else None
    manifest = Manifest(
        shots=config["shots"],
        shortlist_size=config["shortlist_size"],
        may_stop=config["may_stop"],
        labelled_demonstrations=provenance.labelled_demonstrations,
        network=content["network"],
        encoder=ENCODER_FOLDER if trained else provenance.encoder,
        fingerprints=provenance.fingerprints,
        metrics=best.metrics,
        shotsmith=__version__,
    )
    return write_artifact(
        artifact, manifest, best.network, encoder=trained, check=lambda made: check_parity(made, best)
    )


def check_parity(artifact: Artifact, best: Best) -> None:
    """Makes sure that an artifact scores actions as the training process did.

    Args:
        artifact: The artifact as read back.
        best: What the training process kept.

    Raises:
        ArtifactError: When it does not.
    """
    observations = {name: tensor for name, tensor in best.parity.items() if name != "logits"}
    with torch.inference_mode():
        logits = artifact.network(observations)[0]
    difference = float((logits - best.parity["logits"]).abs().max())
    if difference > PARITY_TOLERANCE:
        raise ArtifactError(
            f"the artifact scores actions {difference:.3g} nats away from the training process",
            expected=f"at most {PARITY_TOLERANCE}",
            remedy="Export with the versions of torch and shotsmith that trained it.",
        )
