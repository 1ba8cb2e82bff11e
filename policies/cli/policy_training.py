"""The command that trains a policy by reinforcement learning: train-policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from policies.cli.app import app
from policies.cli.options import (
    EngineOption,
    JsonOption,
    NoCacheOption,
    OutOption,
    QuietOption,
    RayAddressOption,
    ResumeOption,
    SeedOption,
    ShotsOption,
    TaskOption,
    check_there,
    print_folder,
    print_usage,
    progress_for,
    refuse_typed,
)
from policies.cli.settings import SettingsOption, settings_from
from selector.data.task import Task
from selector.errors import UnknownNameError
from selector.workspace import Workspace

LEARNERS = {"per-query": "ppo", "corpus": "dqn"}
OWN_OPTIONS = {
    "per-query": ("also", "shortlist", "warm_start"),
    "corpus": ("candidates", "reward_queries", "episodes", "online_episodes"),
}


def _count(help: str, *, least: int = 1) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(min=least, help=help)


RetrieverOption = Annotated[
    Path | None, typer.Option("--retriever", help="A folder of train-retriever; else the task's encoder.")
]
EnvironmentOption = Annotated[
    str, typer.Option("--env", help="per-query: a prompt for each query; corpus: one prompt for the task.")
]
LearnerOption = Annotated[str, typer.Option("--algo", help="ppo for per-query, dqn for corpus; so by default.")]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(help="Per query: another task that is trained on, by the models of --task; may be repeated."),
]
StepsOption = Annotated[
    int | None, _count("Environment steps of ppo (6,144 by default), or optimiser steps of dqn (4,000).")
]
RewardOption = Annotated[
    str, typer.Option(help="accuracy, probability, logprob or margin; by default probability per query, else accuracy.")
]
TokenCostOption = Annotated[
    float, typer.Option(min=0.0, help="What a thousand tokens of demonstrations take off the reward.")
]
LabelLimitOption = Annotated[int | None, _count("The most demonstrations of one label in a prompt.")]
TokenBudgetOption = Annotated[int | None, _count("The most tokens of demonstrations in a prompt.")]
WarmStartOption = Annotated[
    str,
    typer.Option(help="Per query, imitated first: none, retriever, label-vote, label-evidence, best-on-dev or oracle."),
]
DenseOption = Annotated[
    bool, typer.Option("--dense/--terminal", help="Reward every step, or the last with all of it, which costs less.")
]
PatienceOption = Annotated[
    int | None, _count("Evaluations on dev without a better one until training ends; corpus: in further episodes.")
]
FeaturesOption = Annotated[
    bool, typer.Option("--lm-features", help="Let the policy read the language model, in serving too.")
]
StopOption = Annotated[bool, typer.Option("--may-stop", help="Let the policy choose fewer demonstrations.")]


@app.command("train-policy")
def train_policy(
    context: typer.Context,
    task: TaskOption,
    out: OutOption,
    env: EnvironmentOption = "per-query",
    algo: LearnerOption = "",
    retriever: RetrieverOption = None,
    also: AlsoOption = None,
    shots: ShotsOption = 4,
    steps: StepsOption = None,
    shortlist: Annotated[int, _count("Per query: candidates offered for each.")] = 32,
    reward: RewardOption = "",
    token_cost: TokenCostOption = 0.0,
    max_per_label: LabelLimitOption = None,
    token_budget: TokenBudgetOption = None,
    dense: DenseOption = False,
    may_stop: StopOption = False,
    warm_start: WarmStartOption = "best-on-dev",
    patience: PatienceOption = None,
    candidates: Annotated[int, _count("Corpus: members of the pool that are offered.")] = 100,
    reward_queries: Annotated[int, _count("Corpus: queries that value a prompt, at most.")] = 50,
    episodes: Annotated[int, _count("Corpus: random episodes to learn from.")] = 60,
    online_episodes: Annotated[int, _count("Corpus: further episodes, played by the policy.", least=0)] = 80,
    lm_features: FeaturesOption = False,
    others: SettingsOption = None,
    seed: SeedOption = 0,
    resume: ResumeOption = True,
    engine: EngineOption = "",
    ray_address: RayAddressOption = "",
    no_cache: NoCacheOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a selection policy by reinforcement learning."""
    if env not in LEARNERS:
        raise UnknownNameError("environment", env, known=tuple(LEARNERS))
    if algo not in ("", LEARNERS[env]):
        raise UnknownNameError(f"algorithm for --env {env}", algo, known=(LEARNERS[env],))
    _refuse_options_of_others(context, env)
    if retriever is not None:
        check_there(retriever)
    chosen = settings_from(others, _configuration(env))
    progress = progress_for(quiet)
    workspace = Workspace.open(task, use_store=not no_cache, engine=engine, ray_address=ray_address, progress=progress)
    given: dict[str, Any] = {"shots": shots, "reward": reward or None, "may_stop": may_stop, "seed": seed}
    given |= {"token_cost": token_cost, "max_per_label": max_per_label, "token_budget": token_budget}
    given |= {"lm_features": lm_features, "dense": dense, "patience": patience}
    if env == "corpus":
        given |= {"candidates": candidates, "reward_queries": reward_queries, "steps": steps}
        given |= {"episodes": episodes, "online_episodes": online_episodes}
    else:
        given |= {"shortlist_size": shortlist, "total_steps": steps, "warm_start": warm_start}
    given |= chosen
    run = _trained(workspace, out, env, given, also=also, retriever=retriever, resume=resume, progress=progress)
    if not quiet:
        print_usage(workspace.usage)
    print_folder(run, as_json=as_json, usage=workspace.usage)


def _configuration(env: str) -> type[Any]:
    if env == "corpus":
        from policies.corpus_config import CorpusTrainingConfig

        return CorpusTrainingConfig
    from policies.policy_config import PolicyTrainingConfig

    return PolicyTrainingConfig


def _refuse_options_of_others(context: typer.Context, env: str) -> None:
    for other, names in OWN_OPTIONS.items():
        if other != env:
            refuse_typed(context, names, beside=f"--env {env}", belongs=f"with --env {other}")


def _trained(
    workspace: Workspace, out: Path, env: str, given: dict[str, Any], *, also: Sequence[str] | None, **work: Any
) -> Path:
    """Trains with the settings that were given; a configuration has a default for the others."""
    config = _configuration(env)(**{name: value for name, value in given.items() if value is not None})
    if env == "corpus":
        from policies.corpus_stage import train_corpus_policy_on

        return train_corpus_policy_on(workspace, out, config=config, **work)
    from policies.stages import train_policy_on

    others = [workspace.beside(Task.load(name)) for name in also or ()]
    return train_policy_on(workspace, out, config=config, also=others, **work)
