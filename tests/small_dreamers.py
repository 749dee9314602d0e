"""Dreamers of a few units, and where they play."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu import NGU, RND, NGUConfig, RNDConfig
from ngu.world.model import WorldModelConfig
from ngu.world.rssm import RSSMConfig
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.dreamer_config import DreamerConfig, LatentDisagreementConfig
from ngu_agents.latent_memory import AsGiven, latent_space
from ngu_agents.loop import Loop
from ngu_agents.replay_layout import ReplayConfig
from tests.corridor import Corridor

CONFIG = DreamerConfig(
    WorldModelConfig(
        RSSMConfig(deterministic_size=8, latents=2, classes=3, hidden=8, free_nats=0.0),
        filters=2,
        hidden=8,
    ),
    hidden=8, layers=1, horizon=3, learning_rate=1e-3, batch_size=5, replay_ratio=5.0,
    bonus_batch_size=8,
)  # fmt: skip
REPLAY = ReplayConfig(
    capacity_steps=600, trace_length=6, period=3, min_sequences=6, capacity_gb=None
)
LAST = 3
BONUSES = ["ngu", "latents", "novelty_head", "disagreement", "rnd", "none"]


class ShortCorridor(Corridor):
    """Its last cell is 3, and 5 steps truncate."""

    def __init__(self, action_space: gymnasium.Space[Any] | None = None) -> None:
        super().__init__(action_space, last=LAST, limit=5)


class Bandit(gymnasium.Env):
    """Two steps; each time the last of three actions pays 1."""

    observation_space = Box(0, 2, (1,), np.float32)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, self.steps, np.float32), float(action == 2), self.steps == 2, False, {}


class Frames(gymnasium.Env):
    """Pictures whose brightness is the number of the step; 6 steps terminate."""

    observation_space = Box(0, 255, (16, 16), np.uint8)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.full((16, 16), 1, np.uint8), {}

    def step(self, action):
        self.steps += 1
        return np.full((16, 16), 1 + self.steps, np.uint8), 0.0, self.steps == 6, False, {}


def make_envs(num_envs: int = 2, kind: Any = ShortCorridor) -> SyncVectorEnv:
    envs = SyncVectorEnv([kind] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)  # what comes without a seed goes on from here
    return envs


def make_agent(
    envs, bonus="none", *, seed=0, config=CONFIG, replay=REPLAY, latent_memory=None, **settings: Any
):
    spaces = envs.single_observation_space, envs.single_action_space
    paid: Any = None
    if bonus in ("ngu", "novelty_head"):
        ngu_config = NGUConfig(memory_capacity=20, neighbours=3, embedding_size=4)
        paid = NGU(*spaces, envs.num_envs, config=ngu_config, seed=seed)
    elif bonus == "latents":
        space, encoder = latent_space(config.world.rssm), AsGiven()
        ngu_config = NGUConfig(memory_capacity=20, neighbours=3)
        paid = NGU(space, spaces[1], envs.num_envs, config=ngu_config, encoder=encoder, seed=seed)
    elif bonus == "rnd":
        paid = RND(*spaces, envs.num_envs, config=RNDConfig(distillation_size=8), seed=seed)
    return DreamerAgent(
        *spaces,
        envs.num_envs,
        bonus=paid,
        disagreement=LatentDisagreementConfig(models=2) if bonus == "disagreement" else None,
        config=dataclasses.replace(
            config,
            novelty_head=bonus == "novelty_head",
            latent_memory=latent_memory or bonus == "latents",
        ),
        replay=replay,
        seed=seed,
        **{"precision": "float32", **settings},
    )


def start(agent: DreamerAgent, envs) -> Loop:
    loop = Loop(agent, envs)
    loop.begin()
    return loop


def run(loop: Loop, iterations: int) -> list[dict[str, float]]:
    rows = []
    for _, progress in zip(range(iterations), loop, strict=False):
        rows.append(progress.figures | progress.learned)
    return rows


def same(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)
