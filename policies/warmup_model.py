"""The model in training: which of its weights learn, and the folder that it becomes.

Adapters are merged into the weights before they are written, so that the folder needs no library of adapters. This
module knows nothing of tasks or losses.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from policies.warmup_config import WarmUpConfig
from selector.data.paths import full_disk_named
from selector.errors import ExtraMissingError
from selector.progress import hidden_library_bars

CARD_FILE = "warm-up.json"


def trainable(model: Any, config: WarmUpConfig) -> Any:
    """Makes a model ready to learn.

    Args:
        model: A causal model of transformers in float32; changed in place.
        config: Names the weights that learn.

    Returns:
        The model itself, all of whose weights learn; or one with adapters that learn alone.

    Raises:
        ExtraMissingError: When adapters are wanted and the extra "warmup" is not installed.
    """
    if config.adapter == "full":
        model.requires_grad_(True)
        return model.train()
    try:
        import peft
    except ImportError as error:
        raise ExtraMissingError(package="peft", extra="warmup") from error
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), warnings.catch_warnings():
        # peft reads a name that transformers has renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        torch.manual_seed(config.seed)
        return peft.get_peft_model(model, settings).train()


def learning_weights(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Names the weights that learn.

    Args:
        model: From `trainable`.

    Yields:
        Name and weights, always in the same order.
    """
    yield from ((name, weights) for name, weights in model.named_parameters() if weights.requires_grad)


def merged(model: Any) -> Any:
    """Gives the model without adapters.

    Args:
        model: From `trainable`; not to be trained any more.

    Returns:
        A plain model of transformers.
    """
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def write_model_folder(model: Any, tokenizer: Any, *, card: Mapping[str, Any], folder: Path) -> None:
    """Writes a model as a folder that `[lm] model` can name: weights, tokenizer and cards.

    Args:
        model: A plain model of transformers.
        tokenizer: Its tokenizer.
        card: What the model was made of; what JSON can write.
        folder: Where; whole or not there at all.

    Raises:
        DiskFullError: When there is no room.
    """
    scratch = folder.with_name(f".{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    with full_disk_named(folder), hidden_library_bars():
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        (scratch / CARD_FILE).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (scratch / "README.md").write_text(_readme(card), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _readme(card: Mapping[str, Any]) -> str:
    rows = [f"| {task['name']} | {task['rows']} | `{task['fingerprint']}` |" for task in card["tasks"]]
    held_out = [f"| {task['name']} | `{task['fingerprint']}` |" for task in card["held_out"]]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [in-context-learning, metaicl]",
            "---",
            f"# {card['base']}, warmed up to answer from demonstrations",
            "",
            "Trained on prompts of demonstrations and a query of one task (MetaICL; Min et al., 2022); the loss is on",
            "the answer alone. In a TASK.toml:",
            "",
            "    [lm]",
            '    model = "FOLDER"',
            "",
            f"- Base: {card['base']} `{card['base_fingerprint']}`",
            f"- Training: {', '.join(f'{name} {value}' for name, value in card['config'].items())}",
            f"- Loss per learned token, nats: {card['loss']['first']:.3f} at first, {card['loss']['last']:.3f} at last",
            "",
            "| trained on | rows | fingerprint of the rows |",
            "|---|---|---|",
            *rows,
            "",
            *(["| held out | fingerprint of the task |", "|---|---|", *held_out, ""] if held_out else []),
        ]
    )
