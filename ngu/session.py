"""A run in memory: environments, agent and trackers, stepping, saved and loaded together.

The commands share it: train goes on with a session, bench times one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import psutil
import torch

from ngu.parts import make_agent, make_envs, returning
from ngu.settings import ARCHIVE_AGENTS, SettingsError, TrainSettings, resolve_device
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.base import Figures
from ngu_agents.embedding_tracking import EmbeddingTracker
from ngu_agents.loop import Loop, Progress
from ngu_agents.tracking import EpisodeTracker, MeanTracker, VisitTracker
from ngu_envs import AchievementCounter, RoomCounter, is_restorable

logger = logging.getLogger(__name__)

EVERY_LOG_POINT = (
    "episode_return",
    "intrinsic_reward",
    "episodic_novelty",
    "lifelong_modulator",
    "loss/value",
)
"""Figures that each log point has, be it as None."""

_OF_MEASURE = {
    "coverage": ("coverage",),
    "achievements": ("achievements_per_episode", "crafter_score"),
}
"""Figures of how far the episodes got, by the environments' measure; for others it is rooms."""


_THREADS = torch.get_num_threads()


def use_threads(device: torch.device) -> None:
    """Share the processor's cores between the learner's thread and the acting thread."""
    torch.set_num_threads(max(1, _THREADS // 2) if device.type == "cpu" else _THREADS)


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
            if settings.agent in ARCHIVE_AGENTS:
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
        self._embedding = EmbeddingTracker(
            getattr(self.agent, "bonus", None), getattr(self.agent, "latents", None)
        )
        self._achievements = AchievementCounter(len(self.envs.metadata.get("achievements", ())))
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
            if not isinstance(self.envs, ReturningEnvs):  # there they begin anywhere
                self._episodes.update(progress)
            self._figures.update(progress.figures)
            self._learned.update(progress.learned)
            self._embedding.update(progress)
            if self._measure == "coverage":
                self._visits.update(progress)
            elif self._measure == "room":
                rooms = self._room_counter.update(progress.info["room"], ~progress.stepped)
                for count in rooms[progress.step.done].tolist():
                    self._figures.update({"rooms_per_episode": count})
            elif self._measure == "achievements":
                unlocked = progress.info["achievements"][progress.step.done]
                self._achievements.update(unlocked)
                for count in unlocked.sum(1).tolist():
                    self._figures.update({"achievements_per_episode": count})
            yield progress

    def status(self) -> Figures:
        """Figures of this moment: counts, fill and memory; cheap, and changes nothing."""
        status: Figures = {"frames": self.frames, "steps": self.loop.steps, **self.agent.status()}
        if isinstance(self.envs, ReturningEnvs):
            status |= self.envs.status()
        if self._measure == "room":
            status["rooms"] = self._room_counter.total
        score = self._achievements.score()
        if score is not None:
            status["crafter_score"] = score
        status["memory_gb"] = memory_used() / 1e9
        return status

    def collect(self) -> dict[str, int | float | None]:
        """All figures of a log point, None where there is none yet; the means start anew."""
        places = _OF_MEASURE.get(self._measure or "", ("rooms",))
        figures: dict[str, int | float | None] = dict.fromkeys((*EVERY_LOG_POINT, *places))
        trackers = (
            self._episodes,
            self._figures,
            self._visits,
            self._learned,
            self._embedding,
        )
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
            "embedding": self._embedding.state_dict(),
            "achievements": self._achievements.state_dict(),
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
        if "embedding" in state:  # older checkpoints have none
            self._embedding.load_state_dict(state["embedding"])
        self._achievements.load_state_dict(state["achievements"])
        if is_restorable(self.envs) and (whole or isinstance(self.envs, ReturningEnvs)):
            self.envs.load_state_dict(state["envs"])
            if whole:
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
