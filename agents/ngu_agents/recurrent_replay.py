"""The agent of Never Give Up: it replays sequences and pays itself for novelty.

Source: arXiv 2002.06038. One learner and E environments in one process: while the environments
step, an update trains in another thread on sequences drawn before; it starts and hands its weights
over at fixed counts of steps, so that the same seed gives the same run.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch

from ngu.novelty.base import IntrinsicReward
from ngu.precision import resolve_precision
from ngu.seeding import Seeds
from ngu.stopwatch import Stopwatch
from ngu_agents.acting import Actor
from ngu_agents.base import Figures, Step
from ngu_agents.bonus_use import score_step
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.demonstrations import Demonstrations
from ngu_agents.family import actor_epsilons
from ngu_agents.learning import Learned, Learner
from ngu_agents.networks import make_network
from ngu_agents.replay import SequenceBatch, SequenceReplay
from ngu_agents.replay_layout import ReplayConfig


class RecurrentReplayAgent:
    """Recurrent off-policy agent with a family of policies between exploiting and exploring.

    Args:
        observation_space: of a single environment.
        action_space: of a single environment; Discrete.
        num_envs: environments E, each an actor with its own share of random actions.
        bonus: the intrinsic reward; None pays nothing.
        config: the agent's settings.
        replay: the replay's settings.
        demonstrations: have a share in each update; None for none.
        seed: of all its generators.
        stack: frames that the environments stack along an observation's first axis, newest last,
            zeros before an episode's first.
        device: where networks live.
        precision: of the heavy layers, see :func:`ngu.precision.resolve_precision`.

    Raises:
        TypeError: the action space is not Discrete.
        ValueError: a setting does not fit another; says which.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        bonus: IntrinsicReward | None,
        config: RecurrentReplayConfig,
        replay: ReplayConfig,
        seed: int,
        demonstrations: Demonstrations | None = None,
        stack: int = 1,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        seeds = Seeds(seed)
        self._device = torch.device(device)
        dtype = resolve_precision(precision, self._device)
        self.stopwatch = Stopwatch()
        self.config = config
        self.bonus = bonus
        generator = seeds.torch("value function")
        network = make_network(observation_space, action_space, config, generator=generator)
        network = network.to(self._device)
        # make_network has seen to it that the space has a first action.
        self.action_start = int(cast(gymnasium.spaces.Discrete, action_space).start)
        self.learner = Learner(
            network,
            bonus,
            config,
            burn_in=replay.burn_in,
            action_start=self.action_start,
            generator=seeds.torch("hidden features"),
            device=self._device,
            dtype=dtype,
        )
        self.actor = Actor(
            copy.deepcopy(network).to(dtype),
            actor_epsilons(num_envs, config.epsilon, config.epsilon_exponent).numpy(),
            generator=seeds.numpy("acting"),
            device=self._device,
            temperature=config.temperature,
        )
        self.replay = SequenceReplay(
            replay,
            num_envs=num_envs,
            observation_space=observation_space,
            recurrent_size=config.hidden,
            generator=seeds.numpy("replay"),
            stack=stack,
            stack_padding="zero",
        )
        self._demonstrations = demonstrations
        self._steps_per_update = config.batch_size * replay.trace_length / config.replay_ratio
        self._steps = 0
        self._credit = 0.0
        self._updates = 0
        self._observation = np.empty(0)
        self._done = np.zeros(num_envs, dtype=bool)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="learner")
        self._update: Future[Learned] | None = None

    @property
    def reward_int(self) -> np.ndarray:
        """Intrinsic rewards [E] float32 of the step observed last; zeros where none are paid."""
        return self.actor.reward_int

    def begin(self, observation: np.ndarray) -> None:
        """Take the observations [E, ...] of a reset of all environments."""
        self._observation = observation
        self._done[:] = False
        self.actor.begin(np.ones(len(observation), dtype=bool))
        if self.bonus is not None:
            self.bonus.begin(observation)

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        with self.stopwatch("inference"):
            self._recurrent_state = self.actor.state
            action, self._behaviour_probability = self.actor.act(self._observation)
        return action + self.action_start

    def observe(self, step: Step) -> Figures:
        """Score the states reached, store the transitions; returns means over environments."""
        stepped = ~self._done
        actor = self.actor
        reward_int = np.zeros(len(stepped), dtype=np.float32)
        figures: Figures = {}
        if self.bonus is not None:
            with self.stopwatch("novelty"):
                action = actor.action + self.action_start
                reward_int, figures = score_step(
                    self.bonus, self._observation, action, step.observation, stepped
                )
        with self.stopwatch("replay"):
            wanted = self.replay.wants_recurrent_state
            self.replay.add(
                observation=self._observation,
                first=actor.first,
                action=actor.action,
                behaviour_probability=self._behaviour_probability,
                policy=actor.policy,
                reward_ext=step.reward,
                reward_int=reward_int,
                terminated=step.terminated,
                truncated=step.truncated,
                recurrent_state=self._recurrent_state.cpu().numpy() if wanted else None,
            )
        actor.observe(step.reward, reward_int, first=self._done)
        taken = int(stepped.sum())
        self._steps += taken
        if self.replay.ready and not self._pretraining:
            self._credit += taken
        self._observation, self._done = step.observation, step.done
        return figures

    def learn(self) -> Figures:
        """Start an update when it is time to; returns the metrics of the one before.

        It is when enough steps were taken; in the beginning, with demonstrations, at every call.
        """
        demonstrations, transitions = self._demonstrations, None
        if demonstrations is not None and self._pretraining:
            metrics = self._hand_over()
            with self.stopwatch("replay"):
                batch = demonstrations.sample(self.config.batch_size)
        elif self._credit >= self._steps_per_update:
            self._credit -= self._steps_per_update
            metrics = self._hand_over()
            with self.stopwatch("replay"):
                batch = self._sequences()
                if self.bonus is not None and self.config.bonus_batch_size:
                    transitions = self.replay.sample_transitions(self.config.bonus_batch_size)
        else:
            return {}
        self._updates += 1
        self._update = self._thread.submit(self.learner.update, batch, transitions)
        return metrics

    @property
    def _pretraining(self) -> bool:
        """Whether updates see demonstrations alone; they do not wait for steps then."""
        return (
            self._demonstrations is not None and self._updates < self.config.demonstration_updates
        )

    def _sequences(self) -> SequenceBatch:
        if self._demonstrations is None:
            return self.replay.sample(self.config.batch_size)
        return self._demonstrations.mixed(self.replay, self.config.batch_size)

    def finish_update(self) -> Learned | None:
        """Wait for the update in progress, if any; what it learned is handed over later."""
        return None if self._update is None else self._update.result()

    def status(self) -> Figures:
        """Updates begun, and how full the replay is."""
        return {
            "updates": self._updates,
            "replay_fill": self.replay.fill,
            "replay_gb": self.replay.filled_bytes / 1e9,
        }

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The whole state, a running update included.

        Args:
            folder: where the replay's files are; None leaves the replay out.
        """
        update = self.finish_update()
        demonstrations = self._demonstrations
        return {
            "learner": self.learner.state_dict(),
            "actor": self.actor.state_dict(),
            "bonus": None if self.bonus is None else self.bonus.state_dict(),
            "demonstrations": demonstrations.state_dict() if demonstrations is not None else None,
            "replay": None if folder is None else self.replay.save(folder),
            "update": None if update is None else update._asdict(),
            "steps": self._steps,
            "credit": self._credit,
            "observation": self._observation,
            "done": self._done,
        }

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned and wrote.

        Args:
            folder: where the replay's files are; None leaves the replay empty.
            state: what :meth:`save` returned.

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
        if self._demonstrations is not None:
            self._demonstrations.load_state_dict(state["demonstrations"])
        self._update = None
        if whole and state["update"] is not None:
            self._update = Future()
            self._update.set_result(Learned(**state["update"]))
        self._steps, self._credit = state["steps"], state["credit"] if whole else 0.0
        self._updates = self.learner.updates
        self._observation, self._done = state["observation"], state["done"]
        return whole

    def files(self, state: dict[str, Any]) -> set[str]:
        """Names of the replay's files that a state returned by :meth:`save` needs."""
        replay = state["replay"]
        return set() if replay is None else {file["name"] for file in replay["files"]}

    def close(self) -> None:
        """Wait for the update in progress and end its thread."""
        self._thread.shutdown(wait=True)

    def _hand_over(self) -> Figures:
        """Wait for the update in progress; give its weights and priorities to the acting side.

        Before the first update it gives the observations' moments to the learning side.
        """
        with self.stopwatch("waiting for the learner"):
            learned = self.finish_update()
        with self.stopwatch("handing over"):
            if self.bonus is not None:
                self.bonus.publish()
            if learned is None:
                return {}
            self.replay.update_priorities(learned.ids, learned.priorities)
            self.actor.load_weights(self.learner.network)
        return learned.metrics
