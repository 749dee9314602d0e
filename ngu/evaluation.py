"""Playing whole episodes: nothing is learned, and each episode counts once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ngu.players import Figures, Player
from ngu_agents.base import Step
from ngu_envs import RoomCounter
from ngu_envs.vectorized import RestorableVectorEnv


@dataclass(frozen=True)
class Episode:
    """What one episode brought."""

    policy: int
    """Index of the policy that played it."""
    total_reward: float
    """Sum of its extrinsic rewards."""
    length: int
    """Its steps."""
    cut: bool
    """Whether it was left unfinished, at the most steps that an evaluation plays."""
    progress: float | None
    """How far it got, in the measure of its environment: rooms, coverage or achievements unlocked;
    None for none."""
    means: dict[str, float]
    """Intrinsic reward and its parts, each the mean over its steps."""
    achievements: tuple[bool, ...] | None = None
    """Which achievements it unlocked, where there are any to unlock."""


@dataclass
class Recording:
    """One episode as it happened, so that it can be shown: a list over its T steps of each."""

    env: int
    """Index of the environment that it is played in."""
    initial_state: dict[str, Any] | None = None
    """Where it began, of environments that can be restored."""
    observations: list[np.ndarray] = field(default_factory=list)
    """Observations that the steps led to."""
    actions: list[Any] = field(default_factory=list)
    """Actions taken."""
    rewards: list[float] = field(default_factory=list)
    """Extrinsic rewards."""
    novelty: list[float] = field(default_factory=list)
    """What `novelty_name` names, of the states reached; empty where none is computed."""

    def begin(self, envs: VectorEnv) -> None:
        """Note where the episode begins, before its first step."""
        if isinstance(envs, RestorableVectorEnv):
            self.initial_state = envs.state_dict()

    def add(
        self, observation: np.ndarray, action: np.ndarray, reward: np.ndarray, figures: Figures
    ) -> None:
        """Take one step of all environments; that of this one is kept."""
        self.observations.append(observation[self.env].copy())
        self.actions.append(action[self.env])
        self.rewards.append(float(reward[self.env]))
        name = novelty_name(figures)
        if name is not None:
            self.novelty.append(float(figures[name][self.env]))


def novelty_name(figures: Mapping[str, Any]) -> str | None:
    """The figure that tells novelty best: the episodic one, else what is paid."""
    return next(
        (name for name in ("episodic_novelty", "intrinsic_reward") if name in figures), None
    )


def play(
    envs: VectorEnv,
    player: Player,
    policies: Sequence[int],
    episodes: int,
    *,
    max_steps: int,
    recording: Recording | None = None,
) -> Iterator[Episode]:
    """Play so many episodes of each policy, in rounds of one episode in each environment.

    Which episodes count is settled before they are played, so that short ones, which would be
    over first, are not preferred.

    Args:
        envs: E environments in next-step autoreset; at least as many as there are policies, so
            that environment i plays the first episode of the i-th policy, in the first round.
        player: Chooses the actions.
        policies: Indices of the policies.
        episodes: How many of each.
        max_steps: Steps after which an episode is cut.
        recording: Takes the first round's episode of one environment.

    Yields:
        The episodes, as they end.

    Raises:
        ValueError: There are fewer environments than policies.
    """
    if envs.num_envs < len(policies):
        raise ValueError(f"envs must be at least {len(policies)}, got {envs.num_envs}")
    slots = np.tile(np.asarray(policies, dtype=np.int64), episodes)
    for start in range(0, len(slots), envs.num_envs):
        part = slots[start : start + envs.num_envs]
        yield from _play_round(envs, player, part, max_steps, recording if start == 0 else None)


def _play_round(
    envs: VectorEnv,
    player: Player,
    slots: np.ndarray,
    max_steps: int,
    recording: Recording | None,
) -> Iterator[Episode]:
    num_envs = envs.num_envs
    playing = np.arange(num_envs) < len(slots)
    # Environments without a slot of their own play along, uncounted.
    policies = np.resize(slots, num_envs)
    observation, info = envs.reset()
    measure = _Progress(envs, info)
    player.begin(observation, policies)
    if recording is not None:
        recording.begin(envs)
    total_reward = np.zeros(num_envs)
    sums: dict[str, np.ndarray] = {}
    for length in range(1, max_steps + 1):
        action = player.act()
        observation, reward, terminated, truncated, info = envs.step(action)
        step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
        figures = player.observe(step, playing)
        if recording is not None and playing[recording.env]:
            recording.add(observation, action, step.reward, figures)
        total_reward += step.reward
        for name, values in figures.items():
            sums[name] = sums.get(name, np.zeros(num_envs)) + values
        progress = measure.update(info)
        for env in np.flatnonzero(playing & (step.done | (length == max_steps))):
            yield Episode(
                policy=int(policies[env]),
                total_reward=float(total_reward[env]),
                length=length,
                cut=not step.done[env],
                progress=None if progress is None else float(progress[env]),
                means={name: float(values[env]) / length for name, values in sums.items()},
                achievements=measure.achievements(info, int(env)),
            )
        playing &= ~step.done
        if not playing.any():
            return


class _Progress:
    """How far each environment's first episode since a reset got; None where nothing tells."""

    def __init__(self, envs: VectorEnv, info: dict[str, Any]) -> None:
        self._key = envs.metadata.get("progress")
        self._rooms = RoomCounter(envs.num_envs)
        if self._key == "room":
            self._rooms.begin(info["room"])

    def update(self, info: dict[str, Any]) -> np.ndarray | None:
        """Take a step's info; returns rooms, coverage or achievements [E] of the episode so far."""
        if self._key == "room":
            return self._rooms.update(info["room"], np.zeros(len(info["room"]), dtype=bool))
        if self._key == "achievements":
            return info["achievements"].sum(1)
        return None if self._key is None else info[self._key]

    def achievements(self, info: dict[str, Any], env: int) -> tuple[bool, ...] | None:
        """Which achievements an environment's episode has unlocked; None where there are none."""
        return tuple(info["achievements"][env].tolist()) if self._key == "achievements" else None
