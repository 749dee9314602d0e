"""What the training loop asks of an agent, and what it tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ngu.stopwatch import Stopwatch

Figures = dict[str, int | float]
"""Figures by name, for logging."""


class Step(NamedTuple):
    """What a vector of E environments in next-step autoreset answered to one call of ``step``."""

    observation: np.ndarray
    """Observations [E, ...]; the true final one where an episode ended."""
    reward: np.ndarray
    """Extrinsic rewards [E] float32."""
    terminated: np.ndarray
    """True [E] where the environment ended the episode."""
    truncated: np.ndarray
    """True [E] where a time limit cut the episode."""

    @property
    def done(self) -> np.ndarray:
        """True [E] where an episode ended, one way or the other."""
        return self.terminated | self.truncated


@runtime_checkable
class Agent(Protocol):
    """Acts in E environments at once and learns from what they answer."""

    stopwatch: Stopwatch

    @property
    def reward_int(self) -> np.ndarray:
        """Intrinsic rewards [E] float32 of the step observed last; zeros where none are paid."""
        ...

    def begin(self, observation: np.ndarray) -> None:
        """Take the observations [E, ...] of a reset of all environments."""
        ...

    def act(self) -> np.ndarray:
        """Actions [E] for the last observations."""
        ...

    def observe(self, step: Step) -> Figures:
        """Take what the environments answered; returns means over them, for logging."""
        ...

    def learn(self) -> Figures:
        """Train if it is time to; returns the metrics of an update that has finished, if any."""
        ...

    def status(self) -> Figures:
        """Figures that are read rather than averaged, such as how full the memory is."""
        ...

    def save(self, folder: Path | None) -> dict[str, Any]:
        """The whole state; what was collected goes to files in ``folder``, None leaves it out."""
        ...

    def load(self, folder: Path | None, state: dict[str, Any]) -> bool:
        """Take back what :meth:`save` returned and wrote.

        Returns:
            Whether episodes can go on; False where nothing collected was loaded, and they have to
            begin anew.
        """
        ...

    def files(self, state: dict[str, Any]) -> set[str]:
        """Names of the files that a state returned by :meth:`save` needs."""
        ...

    def close(self) -> None:
        """Wait for background work and free it."""
        ...
