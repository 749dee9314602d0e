"""What a run is made of, put together from its settings: environments, bonus, agent, trackers.

The commands share it: train goes on with a session, evaluate looks at one, bench times one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch
from gymnasium.vector import VectorEnv

from ngu.bonuses import make_bonus
from ngu.settings import SettingsError, TrainSettings, resolve_device
from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.base import Agent, Figures
from ngu_agents.loop import Loop, Progress
from ngu_agents.ppo import PPOAgent
from ngu_agents.random_agent import RandomAgent
from ngu_agents.recurrent_replay import RecurrentReplayAgent
from ngu_agents.tracking import EpisodeTracker, MeanTracker, VisitTracker
from ngu_envs import RoomCounter, is_restorable, make

logger = logging.getLogger(__name__)

EVERY_LOG_POINT = (
    "episode_return",
    "intrinsic_reward",
    "episodic_novelty",
    "lifelong_modulator",
    "loss/value",
)
"""Figures that each log point has, be it as None."""


_THREADS = torch.get_num_threads()


def use_threads(device: torch.device) -> None:
    """Share the processor's cores between the learner's thread and the acting thread."""
    torch.set_num_threads(max(1, _THREADS // 2) if device.type == "cpu" else _THREADS)


def make_envs(settings: TrainSettings, num_envs: int, seed: int) -> VectorEnv:
    """The environments of a run's settings."""
    options: dict[str, Any] = settings.options or {}
    if dataclasses.is_dataclass(settings.options):
        fields = dataclasses.fields(settings.options)
        options = {field.name: getattr(settings.options, field.name) for field in fields}
    return make(settings.env, num_envs, seed, **options)


def make_agent(settings: TrainSettings, envs: VectorEnv) -> Agent:
    """The agent of a run's settings, with its intrinsic reward, for these environments."""
    observation_space, action_space = envs.single_observation_space, envs.single_action_space
    num_envs, seed = envs.num_envs, settings.seed
    if settings.agent == "random":
        return RandomAgent(action_space, num_envs, seed=seed)
    if isinstance(envs, ReturningEnvs):
        return ArchiveAgent(
            action_space,
            num_envs,
            archive=envs.archive,
            repeat_probability=settings.learning.repeat_probability,
            seed=seed,
        )
    device = resolve_device(settings.device)
    bonus = make_bonus(
        settings.bonus,
        observation_space,
        action_space,
        num_envs,
        config=settings.novelty,
        seed=seed,
        device=device,
        precision=settings.precision,
    )
    if settings.agent == "ppo":
        return PPOAgent(
            observation_space,
            action_space,
            num_envs,
            bonus=bonus,
            config=settings.learning,
            seed=seed,
            device=device,
            precision=settings.precision,
        )
    return RecurrentReplayAgent(
        observation_space,
        action_space,
        num_envs,
        bonus=bonus,
        config=settings.learning,
        replay=settings.replay,
        seed=seed,
        stack=envs.metadata.get("frame_stack", 1),
        device=device,
        precision=settings.precision,
    )


def returning(envs: VectorEnv, settings: TrainSettings) -> ReturningEnvs:
    """The environments of an archive's run.

    Raises:
        ValueError: They cannot go back to a state, or not by the same actions.
    """
    if not is_restorable(envs):
        raise ValueError(
            f"the archive goes back to saved states, which {settings.env} has none of; Atari "
            "games, deep-sea, CartPole, MountainCar and Acrobot have them"
        )
    if not envs.repeatable:
        raise ValueError(
            f"the archive's trajectories must lead to the same states again, but {settings.env} "
            "draws chance at its steps; Atari games without sticky actions (--options.protocol "
            "paper), deep-sea, CartPole, MountainCar and Acrobot do not"
        )
    return ReturningEnvs(envs, config=settings.learning, seed=settings.seed)


class Session:
    """A run in memory.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        use_threads(resolve_device(settings.device))
        self.envs = make_envs(settings, settings.num_envs, settings.seed)
        try:
            if settings.agent == "archive":
                self.envs = returning(self.envs, settings)
            self.agent = make_agent(settings, self.envs)
        except BaseException:
            self.envs.close()
            raise
        self.loop = Loop(self.agent, self.envs)
        self.frames_per_step = int(self.envs.metadata.get("frames_per_step", 1))
        self._episodes = EpisodeTracker(settings.num_envs)
        self._figures = MeanTracker()
        self._learned = MeanTracker()
        self._room_counter = RoomCounter(settings.num_envs)
        self._visits = VisitTracker(settings.num_envs)
        self._measure = self.envs.metadata.get("progress")

    @property
    def frames(self) -> int:
        """Emulator frames so far."""
        return self.loop.steps * self.frames_per_step

    def begin(self) -> None:
        """Begin an episode in each environment."""
        info = self.loop.begin()
        if self._measure == "room":
            self._room_counter.begin(info["room"])
        elif self._measure == "coverage":
            self._visits.begin(info["coverage"])

    def __iter__(self) -> Iterator[Progress]:
        """Step for ever, with the trackers following."""
        for progress in self.loop:
            if not isinstance(self.agent, ArchiveAgent):  # its episodes begin anywhere
                self._episodes.update(progress)
            self._figures.update(progress.figures)
            self._learned.update(progress.learned)
            if self._measure == "coverage":
                self._visits.update(progress)
            elif self._measure == "room":
                rooms = self._room_counter.update(progress.info["room"], ~progress.stepped)
                for count in rooms[progress.step.done].tolist():
                    self._figures.update({"rooms_per_episode": count})
            yield progress

    def status(self) -> Figures:
        """Figures of this moment: counts, fill and memory; cheap, and changes nothing."""
        status: Figures = {"frames": self.frames, "steps": self.loop.steps, **self.agent.status()}
        if self._measure == "room":
            status["rooms"] = self._room_counter.total
        status["memory_gb"] = memory_used() / 1e9
        return status

    def collect(self) -> dict[str, int | float | None]:
        """All figures of a log point, None where there is none yet; the means start anew."""
        place = "coverage" if self._measure == "coverage" else "rooms"
        figures: dict[str, int | float | None] = dict.fromkeys((*EVERY_LOG_POINT, place))
        trackers = (self._episodes, self._figures, self._visits, self._learned)
        for tracker in trackers:
            figures |= tracker.collect()
        return figures | self.status()

    def save(self, folder: Path) -> dict[str, Any]:
        """The whole state; what the agent collected goes to files in ``folder``."""
        return {
            "agent": self.agent.save(folder if self.settings.checkpoint.replay else None),
            "loop": self.loop.state_dict(),
            "episodes": self._episodes.state_dict(),
            "figures": self._figures.state_dict(),
            "learned": self._learned.state_dict(),
            "rooms": self._room_counter.state_dict(),
            "visits": self._visits.state_dict(),
            "envs": self.envs.state_dict() if is_restorable(self.envs) else None,
        }

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Take back what :meth:`save` returned and wrote.

        New episodes begin where the environments cannot be restored, or without a replay.

        Raises:
            DamagedCheckpoint: a file in ``folder`` is damaged.
        """
        keep_replay = self.settings.checkpoint.replay
        whole = self.agent.load(folder if keep_replay else None, state["agent"])
        self.loop.load_state_dict(state["loop"])
        self._figures.load_state_dict(state["figures"])
        self._learned.load_state_dict(state["learned"])
        self._episodes.load_state_dict(state["episodes"])
        self._room_counter.load_state_dict(state["rooms"])
        self._visits.load_state_dict(state["visits"])
        if whole and is_restorable(self.envs):
            self.envs.load_state_dict(state["envs"])
            return
        reason = "these environments cannot be restored" if whole else "there is no replay"
        logger.info("%s: new episodes begin", reason)
        self._episodes.restart()
        self.begin()

    def close(self) -> None:
        """Wait for background work and close the environments."""
        self.agent.close()
        self.envs.close()


def open_session(settings: TrainSettings) -> Session:
    """A session of these settings.

    Raises:
        SettingsError: something in them does not fit; says what.
    """
    try:
        return Session(settings)
    except (ValueError, TypeError, ImportError, gymnasium.error.Error) as error:
        raise SettingsError(str(error)) from error


def memory_used(*, workers: bool = True) -> int:
    """Bytes of memory that this process holds, and its worker processes."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children() if workers else ():
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
