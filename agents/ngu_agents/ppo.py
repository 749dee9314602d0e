"""PPO with two value heads, the agent of random network distillation, for any intrinsic reward.

Source: Burda et al., "Exploration by Random Network Distillation" (arXiv 1810.12894): proximal
policy optimisation where the extrinsic return ends with the episode and the intrinsic one goes on,
so that dying costs what is then out of reach and no more.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from ngu.novelty.base import IntrinsicReward
from ngu.precision import resolve_precision
from ngu.seeding import Seeds
from ngu.stopwatch import Stopwatch
from ngu_agents.base import Figures, Step
from ngu_agents.bonus_use import score_step
from ngu_agents.one_core_threads import one_core_threads, usable_cores
from ngu_agents.ppo_acting import Inference, PPOActor
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.ppo_learning import PPOLearner
from ngu_agents.ppo_network import make_actor_critic
from ngu_agents.rollout import Rollout


class PPOAgent:
    """On-policy agent: it plays a rollout, trains on it a few times, and forgets it.

    While a step's novelty is scored, another thread already computes what the policy says of the
    same observations. The agent's own threads divide the training between them, each on one core;
    the results do not depend on how many they are. Scoring, in the caller's thread, uses the cores
    that torch is set to use: on a machine with few of them, or with other work, one is best.

    Args:
        observation_space: of a single environment.
        action_space: of a single environment; Discrete, MultiDiscrete or a Box of floats.
        num_envs: environments E.
        bonus: the intrinsic reward; None pays nothing.
        config: the agent's settings; None takes the defaults.
        seed: of all its generators.
        device: where networks live.
        precision: of the heavy layers, see :func:`ngu.precision.resolve_precision`.

    Raises:
        TypeError: a space is of a kind that is not read; names the wrapper to use.
        ValueError: a setting does not fit another; says which.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        bonus: IntrinsicReward | None,
        config: PPOConfig | None = None,
        seed: int,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        self.config = config = PPOConfig() if config is None else config
        sequences = num_envs * (1 if config.recurrent else config.rollout_length)
        if config.minibatches > sequences:
            made_of = "environments" if config.recurrent else "steps"
            raise ValueError(
                f"minibatches must be at most the {sequences} {made_of} of a rollout, got "
                f"{config.minibatches}"
            )
        seeds = Seeds(seed)
        device = torch.device(device)
        dtype = resolve_precision(precision, device)
        self.stopwatch = Stopwatch()
        self.bonus = bonus
        generator = seeds.torch("policy and values")
        network = make_actor_critic(observation_space, action_space, config, generator=generator)
        network = network.to(device)
        self.actor = PPOActor(
            network, num_envs, generator=seeds.torch("acting"), device=device, dtype=dtype
        )
        self._pool = one_core_threads(usable_cores() if device.type == "cpu" else 1, "ppo")
        self.learner = PPOLearner(
            network,
            bonus,
            config,
            num_envs=num_envs,
            generator=seeds.numpy("minibatches"),
            pool=self._pool,
            device=device,
            dtype=dtype,
        )
        # make_actor_critic has seen to it that observations have a shape and a dtype.
        assert observation_space.shape is not None
        policy = network.policy
        self.rollout = Rollout(
            config.rollout_length,
            num_envs,
            observation_shape=observation_space.shape,
            observation_dtype=np.dtype(str(observation_space.dtype)),
            action_size=policy.action_size,
            action_dtype=torch.empty(0, dtype=policy.action_dtype).numpy().dtype,
            recurrent_size=network.recurrent_size,
        )
        self._reward_int = np.zeros(num_envs, dtype=np.float32)
        self._observation = np.empty(0)
        self._done = np.zeros(num_envs, dtype=bool)
        self._pending: Future[Inference] | None = None

    @property
    def reward_int(self) -> np.ndarray:
        """Intrinsic rewards [E] float32 of the step observed last; zeros where none are paid."""
        return self._reward_int

    def begin(self, observation: np.ndarray) -> None:
        """Take the observations [E, ...] of a reset of all environments.

        The steps of a rollout in progress are forgotten: what they led to is unknown.
        """
        self._observation = observation
        self._done[:] = False
        self.actor.begin(np.ones(len(observation), dtype=bool))
        self._pending = None
        self.rollout.begin(observation, self.actor.state.cpu().numpy())
        if self.bonus is not None:
            self.bonus.begin(observation)

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        with self.stopwatch("inference"):
            self._first, self._inference = self.actor.first, self._infer().result()
            self._pending = None
            self._action = self.actor.act(self._inference)
            self._taken = self.actor.network.policy.for_environments(self._action)
        return self._taken

    def observe(self, step: Step) -> Figures:
        """Score the states reached, store the transitions; returns means over environments."""
        stepped = ~self._done
        obs_tm1, self._observation, self._done = self._observation, step.observation, step.done
        self.actor.begin(~stepped)
        self._infer()
        figures: Figures = {}
        if self.bonus is not None:
            with self.stopwatch("novelty"):
                self._reward_int, figures = score_step(
                    self.bonus, obs_tm1, self._taken, step.observation, stepped
                )
        with self.stopwatch("rollout"):
            parameters, value, _ = self._inference
            log_probability = self.actor.network.policy.log_probability(parameters, self._action)
            self.rollout.add(
                observation=step.observation,
                first=self._first,
                action=self._action.cpu().numpy(),
                log_probability=log_probability.cpu().numpy(),
                value=value.cpu().numpy(),
                reward_ext=step.reward,
                reward_int=self._reward_int,
                terminated=step.terminated,
                truncated=step.truncated,
                valid=stepped,
            )
        return figures

    def learn(self) -> Figures:
        """Train when the rollout is full; returns the metrics of that."""
        if not self.rollout.full:
            return {}
        with self.stopwatch("inference"):
            value = self._infer().result().value
        with self.stopwatch("learner"):
            metrics = self.learner.update(self.rollout, value)
        # The next action is the new policy's.
        self._pending = None
        self.rollout.begin(self._observation, self.actor.state.cpu().numpy())
        return metrics

    def status(self) -> Figures:
        """Rollouts trained on, and how full the one in progress is."""
        fill = self.rollout.size / self.rollout.length
        return {"updates": self.learner.updates, "rollout_fill": fill}

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The whole state, the rollout in progress included; nothing goes to files."""
        return {
            "learner": self.learner.state_dict(),
            "actor": self.actor.state_dict(),
            "bonus": None if self.bonus is None else self.bonus.state_dict(),
            "rollout": self.rollout.state_dict(),
            "observation": self._observation,
            "done": self._done,
        }

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned.

        Returns:
            True: episodes can go on.

        Raises:
            ValueError: the state is of other settings.
        """
        self.rollout.load_state_dict(state["rollout"])
        self.learner.load_state_dict(state["learner"])
        self.actor.load_state_dict(state["actor"])
        if self.bonus is not None:
            self.bonus.load_state_dict(state["bonus"])
        self._observation, self._done = state["observation"], state["done"]
        self._pending = None
        return True

    def files(self, state: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def close(self) -> None:
        """Wait for background work and end its threads."""
        self._pool.shutdown(wait=True)

    def _infer(self) -> Future[Inference]:
        """What the policy says of the last observations, being computed or already there."""
        if self._pending is None:
            self._pending = self._pool.submit(self.actor.infer, self._observation)
        return self._pending
