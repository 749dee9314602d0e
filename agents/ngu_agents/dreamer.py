"""The agent that explores in imagination: a latent world model, and a policy trained inside of it.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104). Decided here: imagined states are paid for
being new, by Never Give Up's measure (arXiv 2002.06038) or by Plan2Explore's (arXiv 2005.05960).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from ngu.novelty.base import IntrinsicReward
from ngu.novelty.ngu import NGU
from ngu.precision import resolve_precision
from ngu.seeding import Seeds
from ngu.stopwatch import Stopwatch
from ngu.world.model import WorldModel
from ngu_agents.base import Figures, Step
from ngu_agents.bonus_use import score_step, train_bonus
from ngu_agents.dreamer_acting import DreamerActor
from ngu_agents.dreamer_config import DreamerConfig, LatentDisagreementConfig
from ngu_agents.dreamer_learning import DreamerLearner
from ngu_agents.dreamer_network import make_behaviour
from ngu_agents.imagined_novelty import (
    ImaginedReward,
    PredictedNovelty,
    RememberedLatents,
    RememberedNovelty,
)
from ngu_agents.latent_disagreement import LatentDisagreement
from ngu_agents.latent_memory import LatentFollower
from ngu_agents.one_core_threads import one_core_threads, usable_cores
from ngu_agents.replay import SequenceReplay
from ngu_agents.replay_layout import ReplayConfig


class DreamerAgent:
    """Model-based agent: it replays sequences to learn a world, and learns to act inside of it.

    Args:
        observation_space: of a single environment; vectors, pictures or small grids.
        action_space: of a single environment; Discrete, MultiDiscrete or a Box of floats.
        num_envs: environments E.
        bonus: what pays experienced states; None pays nothing. With ``config.latent_memory`` an NGU
            that sees `latent_space`.
        disagreement: settings of the ensemble that pays imagined states in place of a bonus, while
            experienced ones are paid nothing; None for none.
        config: the agent's settings.
        replay: the replay's settings.
        seed: of all its generators.
        stack: frames that the environments stack along an observation's first axis, newest last,
            zeros before an episode's first.
        device: where networks live.
        precision: of the matrix products, see :func:`ngu.precision.resolve_precision`.

    Raises:
        TypeError: a space is of a kind that is not read; names what is.
        ValueError: a setting does not fit another; says which.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        bonus: IntrinsicReward | None,
        disagreement: LatentDisagreementConfig | None = None,
        config: DreamerConfig,
        replay: ReplayConfig,
        seed: int,
        stack: int = 1,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        if config.latent_memory and not isinstance(bonus, NGU):
            raise ValueError("latent_memory is that of the bonus ngu, got another bonus")
        seeds = Seeds(seed)
        device = torch.device(device)
        dtype = resolve_precision(precision, device)
        self.stopwatch = Stopwatch()
        self.config, self.bonus = config, bonus
        self.model = WorldModel(
            observation_space, action_space, config.world, generator=seeds.torch("world model")
        ).to(device)
        features, hidden = config.world.rssm.features, config.hidden
        generator = seeds.torch("imagined novelty")
        self.imagined: ImaginedReward | None = None
        self.latents: LatentFollower | None = None
        if disagreement is not None:
            self.imagined = LatentDisagreement(
                features,
                config.world.rssm.stochastic_size,
                self.model.actions,
                disagreement,
                generator=generator,
                device=device,
            )
        elif isinstance(bonus, NGU) and config.latent_memory:
            self.imagined = RememberedLatents(bonus)
            self.latents = LatentFollower(
                self.model, num_envs, versions=bonus.config.embedding_versions, dtype=dtype
            )
        elif isinstance(bonus, NGU) and not config.novelty_head:
            self.imagined = RememberedNovelty(bonus, features, hidden, generator=generator)
        elif bonus is not None:
            self.imagined = PredictedNovelty(features, hidden, generator=generator, device=device)
        self.behaviour = make_behaviour(
            action_space,
            config,
            intrinsic=self.imagined is not None,
            generator=seeds.torch("behaviour"),
        ).to(device)
        self.actor = DreamerActor(
            self.model,
            self.behaviour,
            num_envs,
            generator=seeds.torch("acting", device),
            dtype=dtype,
        )
        self._pool = one_core_threads(usable_cores() if device.type == "cpu" else 1, "dreamer")
        self.learner = DreamerLearner(
            self.model,
            self.behaviour,
            self.imagined,
            config,
            burn_in=replay.burn_in,
            num_envs=num_envs,
            generator=seeds.torch("dreams"),
            pool=self._pool,
            stopwatch=self.stopwatch,
            device=device,
            dtype=dtype,
        )
        self.replay = SequenceReplay(
            replay,
            num_envs=num_envs,
            observation_space=observation_space,
            recurrent_size=0,
            generator=seeds.numpy("replay"),
            action_shape=self.model.actions.shape,
            action_dtype=action_space.dtype or np.int64,
            stack=stack,
            stack_padding="zero",
        )
        self._steps_per_update = config.batch_size * replay.trace_length / config.replay_ratio
        self._credit = 0.0
        self._reward_int = np.zeros(num_envs, dtype=np.float32)
        self._observation = np.empty(0)
        self._done = np.zeros(num_envs, dtype=bool)

    @property
    def reward_int(self) -> np.ndarray:
        """Intrinsic rewards [E] float32 of the step observed last; zeros where none are paid."""
        return self._reward_int

    def begin(self, observation: np.ndarray) -> None:
        """Take the observations [E, ...] of a reset of all environments."""
        self._observation = observation
        self._done[:] = False
        self.actor.begin(np.ones(len(observation), dtype=bool))
        if self.bonus is not None:
            self.bonus.begin(self._seen_by_bonus(observation, np.ones(len(observation), bool)))

    def act(self) -> np.ndarray:
        """Actions [E, ...] for the last observations."""
        with self.stopwatch("inference"):
            self._first = self.actor.first
            return self.actor.act(self._observation)

    def observe(self, step: Step) -> Figures:
        """Score the states reached, store the transitions; returns means over environments."""
        stepped = ~self._done
        figures: Figures = {}
        if self.bonus is not None:
            with self.stopwatch("novelty"):
                before = self._observation if self.latents is None else self.latents.latents
                seen = self._seen_by_bonus(step.observation, ~stepped)
                self._reward_int, figures = score_step(
                    self.bonus, before, self.actor.action, seen, stepped
                )
        none = np.zeros(len(stepped), dtype=np.int16)
        with self.stopwatch("replay"):
            self.replay.add(
                observation=self._observation,
                first=self._first,
                action=self.actor.action,
                behaviour_probability=np.ones(len(stepped), dtype=np.float32),
                policy=none,
                reward_ext=step.reward,
                reward_int=self._reward_int,
                terminated=step.terminated,
                truncated=step.truncated,
            )
        self.actor.begin(self._done)
        if self.replay.ready:
            self._credit += int(stepped.sum())
        self._observation, self._done = step.observation, step.done
        return figures

    def learn(self) -> Figures:
        """Train when enough steps were taken; returns the metrics of the last update."""
        figures: Figures = {}
        while self._credit >= self._steps_per_update:
            self._credit -= self._steps_per_update
            with self.stopwatch("replay"):
                batch = self.replay.sample(self.config.batch_size)
            figures = self.learner.update(batch)
            if self.bonus is not None:
                with self.stopwatch("learner: novelty"):
                    if self.latents is None:
                        transitions = self.replay.sample_transitions(self.config.bonus_batch_size)
                        figures |= train_bonus(self.bonus, *transitions)
                    else:  # what is imagined trained it on states
                        self.latents.publish()
                    self.bonus.publish()
        return figures

    def status(self) -> Figures:
        """Updates so far, and how full the replay is."""
        return {
            "updates": self.learner.updates,
            "replay_fill": self.replay.fill,
            "replay_gb": self.replay.filled_bytes / 1e9,
        }

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The whole state.

        Args:
            folder: where the replay's files are; None leaves the replay out.
        """
        return {
            "learner": self.learner.state_dict(),
            "actor": self.actor.state_dict(),
            "bonus": None if self.bonus is None else self.bonus.state_dict(),
            "latents": None if self.latents is None else self.latents.state_dict(),
            "replay": None if folder is None else self.replay.save(folder),
            "credit": self._credit,
            "observation": self._observation,
            "done": self._done,
        }

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned and wrote.

        Returns:
            Whether the replay was loaded; where it was not, all episodes have to begin anew.

        Raises:
            DamagedCheckpoint: a file of the replay is damaged.
        """
        replay = state["replay"]
        whole = folder is not None and replay is not None
        if folder is not None and replay is not None:
            self.replay.load(folder, replay)
        self.learner.load_state_dict(state["learner"])
        self.actor.load_state_dict(state["actor"])
        if self.bonus is not None:
            self.bonus.load_state_dict(state["bonus"])
        if self.latents is not None:
            self.latents.load_state_dict(state["latents"])
        self._credit = state["credit"] if whole else 0.0
        self._observation, self._done = state["observation"], state["done"]
        return whole

    def files(self, state: dict[str, Any]) -> set[str]:
        """Names of the replay's files that a state returned by :meth:`save` needs."""
        replay = state["replay"]
        return set() if replay is None else {file["name"] for file in replay["files"]}

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown(wait=True)

    def _seen_by_bonus(self, observation: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Observations [E, ...], or their latents where these are what novelty is measured in.

        Args:
            observation: after the last actions.
            first: where an episode begins with it [E].
        """
        if self.latents is None:
            return observation
        assert isinstance(self.bonus, NGU)
        self.latents.renew(self.bonus.empties(first))
        return self.latents.follow(observation, self.actor.action, first)
