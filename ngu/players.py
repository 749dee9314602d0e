"""Who plays an evaluation: a trained family or policy, an archive's trajectory, random actions.

Source: Never Give Up (arXiv 2002.06038), tables 6 and 7: evaluation is greedy but for a small share
of random actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from ngu.played_novelty import Figures, Novelty
from ngu.precision import resolve_precision
from ngu.seeding import Seeds
from ngu.settings import TrainSettings
from ngu_agents.acting import Actor
from ngu_agents.archive.returning import best_trajectory
from ngu_agents.base import Step
from ngu_agents.networks import RecurrentQNetwork, make_network
from ngu_agents.ppo_acting import PPOActor
from ngu_agents.ppo_network import make_actor_critic
from ngu_agents.random_agent import RandomAgent
from ngu_envs import RestorableVectorEnv


@runtime_checkable
class Player(Protocol):
    """Plays one policy in each of E environments."""

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Begin an episode everywhere, from observations [E, ...], with policies [E]."""
        ...

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        ...

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """Take what came of the actions; returns [E] figures by name.

        Args:
            step: The environments' answer.
            playing: False [E] where the episode is over and the step means nothing.
        """
        ...


@runtime_checkable
class LastingPlayer(Player, Protocol):
    """Plays episodes on end in each environment."""

    def restart(self, where: np.ndarray) -> None:
        """Begin the next episode in the environments ``where`` [E], with the same policies.

        Its first state is what `observe` was given last.
        """
        ...


class RandomPlayer:
    """Plays uniformly drawn actions, whatever the policy.

    Args:
        envs: The environments to play in.
        seed: Of the actions.
    """

    def __init__(self, envs: VectorEnv, *, seed: int) -> None:
        self._agent = RandomAgent(envs.single_action_space, envs.num_envs, seed=seed)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Nothing to take note of."""

    def restart(self, where: np.ndarray) -> None:
        """Nothing to take note of."""

    def act(self) -> np.ndarray:
        """Actions [E], uniformly drawn."""
        return self._agent.act()

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """No figures."""
        return {}


class TrajectoryPlayer:
    """Plays the best trajectory of an archive once more, from where it began.

    Args:
        envs: Environments that can go back, made with the run's settings.
        state: Of the run's environments, as a checkpoint holds it.

    Raises:
        KeyError, ValueError: The state is not of an archive's run.
    """

    def __init__(self, envs: RestorableVectorEnv, state: Mapping[str, Any]) -> None:
        self._envs = envs
        best = best_trajectory(state)
        self._root = best.root
        self._actions = np.frombuffer(best.actions, np.uint8).astype(np.int64)
        self.length = len(self._actions)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Go to where the trajectory began, in all environments."""
        num_envs = self._envs.num_envs
        self._envs.restore(np.ones(num_envs, dtype=bool), [self._root] * num_envs)
        self._played = 0

    def act(self) -> np.ndarray:
        """The trajectory's next action, [E]."""
        action = self._actions[self._played]
        self._played += 1
        return np.full(self._envs.num_envs, action)

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """No figures."""
        return {}


def trained_network(
    envs: VectorEnv, settings: TrainSettings, state: Mapping[str, Any], device: torch.device
) -> RecurrentQNetwork:
    """The network of a family that was trained, in the precision that it plays in.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it.
        device: Where the network plays.

    Raises:
        TypeError: The action space is not Discrete.
        KeyError, RuntimeError, ValueError: The state is not of a run with these settings.
    """
    network = make_network(
        envs.single_observation_space,
        envs.single_action_space,
        settings.learning,
        generator=torch.Generator(),
    )
    network.load_state_dict(state["learner"]["network"])
    return network.to(device, resolve_precision(settings.precision, device))


class FamilyPlayer:
    """Plays the policies of a trained family, and measures the novelty that they reach.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it; the replay is not needed.
        epsilon: Share of random actions.
        seed: Of the random actions.
        device: Where the networks play.

    Attributes:
        novelty: What it reaches, measured.

    Raises:
        TypeError: The action space is not Discrete.
        KeyError, RuntimeError, ValueError: The state is not of a run with these settings.
    """

    def __init__(
        self,
        envs: VectorEnv,
        settings: TrainSettings,
        state: Mapping[str, Any],
        *,
        epsilon: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._device = device
        self._epsilons = np.full(envs.num_envs, epsilon)
        self._generator = Seeds(seed).numpy("evaluation acting")
        self._network = trained_network(envs, settings, state, device)
        # The network has seen to it that the space has a first action.
        self._action_start = int(cast(gymnasium.spaces.Discrete, envs.single_action_space).start)
        self._temperature = settings.learning.temperature
        self.novelty = Novelty(envs, settings, state, device)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Begin an episode everywhere, from observations [E, ...], with policies [E]."""
        self._observation = observation
        self._actor = Actor(
            self._network,
            self._epsilons,
            generator=self._generator,
            device=self._device,
            policies=policies,
            temperature=self._temperature,
        )
        self.novelty.begin(observation)

    def restart(self, where: np.ndarray) -> None:
        """Begin the next episode, with the same policies, in the environments ``where`` [E]."""
        self._actor.begin(where)
        self.novelty.restart(where)

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        action, _ = self._actor.act(self._observation)
        return action + self._action_start

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """Score the states reached where ``playing``; returns intrinsic reward and its parts."""
        action = self._actor.action + self._action_start
        figures = self.novelty.score(action, step.observation, playing)
        none = np.zeros(len(playing), dtype=np.float32)
        reward_int = figures.get("intrinsic_reward", none)
        self._actor.observe(step.reward, reward_int, first=np.zeros(len(playing), dtype=bool))
        self._observation = step.observation
        return figures


class PPOPlayer:
    """Plays the policy of a trained PPO agent, and measures the novelty that it reaches.

    Args:
        envs: The environments to play in.
        settings: Of the run.
        state: Its agent's state, as a checkpoint holds it.
        seed: Of the actions.
        device: Where the networks play.

    Raises:
        KeyError, RuntimeError, ValueError: The state is not of a run with these settings.
    """

    def __init__(
        self,
        envs: VectorEnv,
        settings: TrainSettings,
        state: Mapping[str, Any],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        generator = Seeds(seed).torch("evaluation network")
        network = make_actor_critic(
            envs.single_observation_space,
            envs.single_action_space,
            settings.learning,
            generator=generator,
        )
        network.load_state_dict(state["learner"]["network"])
        self._actor = PPOActor(
            network.to(device),
            envs.num_envs,
            generator=Seeds(seed).torch("evaluation acting"),
            device=device,
            dtype=resolve_precision(settings.precision, device),
        )
        self.novelty = Novelty(envs, settings, state, device)

    def begin(self, observation: np.ndarray, policies: np.ndarray) -> None:
        """Begin an episode everywhere, from observations [E, ...]; there is one policy."""
        self._observation = observation
        self._actor.begin(np.ones(len(observation), dtype=bool))
        self.novelty.begin(observation)

    def restart(self, where: np.ndarray) -> None:
        """Begin the next episode in the environments ``where`` [E]."""
        self._actor.begin(where)
        self.novelty.restart(where)

    def act(self) -> np.ndarray:
        """Actions [E, ...], drawn from the policy for the last observations."""
        action = self._actor.act(self._actor.infer(self._observation))
        self._action = self._actor.network.policy.for_environments(action)
        return self._action

    def observe(self, step: Step, playing: np.ndarray) -> Figures:
        """Score the states reached where ``playing``; returns intrinsic reward and its parts."""
        self._observation = step.observation
        self._actor.begin(np.zeros(len(playing), dtype=bool))
        return self.novelty.score(self._action, step.observation, playing)
