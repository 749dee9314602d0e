"""Trackers: they consume what the loop yields and answer with the figures of a log point."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from ngu_agents.base import Figures
from ngu_agents.loop import Progress


class EpisodeTracker:
    """Returns, lengths and coverage of the episodes that ended since the last log point.

    Args:
        num_envs: environments E.
    """

    def __init__(self, num_envs: int) -> None:
        self._return = np.zeros(num_envs, dtype=np.float64)
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._ended: dict[str, list[float]] = defaultdict(list)
        self._episodes = 0
        self._best: float | None = None

    def update(self, progress: Progress) -> None:
        """Take one step of all environments."""
        self._return[progress.stepped] += progress.step.reward[progress.stepped]
        self._length += progress.stepped
        done = np.flatnonzero(progress.step.done)
        for env in done:
            value = float(self._return[env])
            self._ended["episode_return"].append(value)
            self._ended["episode_length"].append(float(self._length[env]))
            if "coverage" in progress.info:
                self._ended["coverage"].append(float(progress.info["coverage"][env]))
            self._best = value if self._best is None else max(self._best, value)
        self._episodes += len(done)
        self._return[done] = 0.0
        self._length[done] = 0

    def collect(self) -> Figures:
        """Means over the episodes since the last call; without any only the totals."""
        figures: Figures = {"episodes": self._episodes}
        if self._best is not None:
            figures["episode_return_best"] = self._best
        figures |= {name: float(np.mean(values)) for name, values in self._ended.items()}
        self._ended.clear()
        return figures

    def restart(self) -> None:
        """Forget the episodes in progress, which a resume could not restore."""
        self._return[:] = 0.0
        self._length[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "return": self._return,
            "length": self._length,
            "ended": dict(self._ended),
            "episodes": self._episodes,
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._return, self._length = state["return"], state["length"]
        self._ended = defaultdict(list, state["ended"])
        self._episodes, self._best = state["episodes"], state["best"]


class VisitTracker:
    """What new places and exact repeats are paid, where the environments tell their coverage.

    An embedding that ignores what the agent cannot influence pays repeats little. A place where an
    episode terminates, as the wall of a maze, is neither.

    Args:
        num_envs: environments E.
    """

    def __init__(self, num_envs: int) -> None:
        self._coverage = np.zeros(num_envs, dtype=np.float32)
        self._means = MeanTracker()

    def begin(self, coverage: np.ndarray) -> None:
        """Begin an episode everywhere; ``coverage`` [E] is that of the first places."""
        self._coverage = coverage

    def update(self, progress: Progress) -> None:
        """Take one step of all environments."""
        coverage = progress.info["coverage"]
        first_visit = progress.stepped & (coverage > self._coverage)
        revisit = progress.stepped & ~first_visit & ~progress.step.terminated
        self._coverage = coverage
        for name, where in (("first_visit", first_visit), ("revisit", revisit)):
            for paid in progress.reward_int[where].tolist():
                self._means.update({f"intrinsic_reward/{name}": paid})

    def collect(self) -> Figures:
        """Mean intrinsic rewards since the last call."""
        return self._means.collect()

    def state_dict(self) -> dict[str, Any]:
        """Coverage and means."""
        return {"coverage": self._coverage, "means": self._means.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._coverage = state["coverage"]
        self._means.load_state_dict(state["means"])


class MeanTracker:
    """Means of named figures since the last log point, each over the times it came."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def update(self, figures: Figures) -> None:
        """Take figures by name."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def collect(self) -> Figures:
        """The means since the last call."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._sums, self._counts = state["sums"], state["counts"]
