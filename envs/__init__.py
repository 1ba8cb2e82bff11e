"""The decision problem: choosing and ordering demonstrations, as Gymnasium environments.

Importing this package registers `shotsmith/DemoSelection-v0`, so that
`gymnasium.make("envs:shotsmith/DemoSelection-v0", task="TASK.toml")` works.
"""

import gymnasium

gymnasium.register(id="shotsmith/DemoSelection-v0", entry_point="envs.demonstrations:make_environment")
