"""The decision problem: choosing and ordering demonstrations, as Gymnasium environments.

Importing this package registers `shotsmith/DemoSelection-v0` (a prompt for each query) and
`shotsmith/CorpusSelection-v0` (one prompt for a task), so that
`gymnasium.make("envs:shotsmith/DemoSelection-v0", task="TASK.toml")` works, and `gymnasium.make_vec`
with many copies over one language model.
"""

import gymnasium

gymnasium.register(
    id="shotsmith/DemoSelection-v0",
    entry_point="envs.demonstrations:make_environment",
    vector_entry_point="envs.vector:make_vector_environment",
)
gymnasium.register(
    id="shotsmith/CorpusSelection-v0",
    entry_point="envs.corpus:make_environment",
    vector_entry_point="envs.corpus:make_vector_environment",
)
