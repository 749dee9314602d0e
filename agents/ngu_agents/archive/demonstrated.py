"""What is demonstrated: steps of many ways that have their beginnings in common, and their file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from ngu.state_file import load_tree, save_tree


class Demonstrated(NamedTuple):
    """Steps of many ways, which have their beginnings in common.

    M frames, of which each is a step but the last one of a segment, and those that only show what
    was seen before a way that does not begin where an episode does.
    """

    frames: Shaped[np.ndarray, "M ..."]
    """What a step's action was taken on, or what a segment led to."""
    action: Int[np.ndarray, " M"]
    """The action, counted from zero; -1 where a segment ends or a frame is no step."""
    reward: Float32[np.ndarray, " M"]
    """What it brought."""
    terminated: Bool[np.ndarray, " M"]
    """Whether it ended the episode."""
    previous: Int[np.ndarray, " M"]
    """Number of the step before, or of the frame seen before; -1 where there is none."""


def joined(parts: list[Demonstrated]) -> Demonstrated:
    """The steps of all parts, at least one."""
    starts = np.cumsum([0, *(len(part.action) for part in parts[:-1])])
    moved = [
        part._replace(previous=np.where(part.previous >= 0, part.previous + start, -1))
        for part, start in zip(parts, starts, strict=True)
    ]
    return Demonstrated(*(np.concatenate(arrays) for arrays in zip(*moved, strict=True)))


class Shown(NamedTuple):
    """What a file of demonstrations holds."""

    env: str
    """Name of the environment."""
    actions: int
    """That it has."""
    score: float
    """That the ways lead to."""
    steps: int
    """Taken in the environment to find them."""
    demonstrated: Demonstrated
    """Their steps."""

    def save(self, path: Path) -> None:
        """Write the file, or put it in the place of another one.

        Raises:
            OSError: it cannot be written.
        """
        about = self._asdict() | {"demonstrated": self.demonstrated._asdict()}
        save_tree(path, about)

    @classmethod
    def load(cls, path: Path) -> Shown:
        """What was written.

        Raises:
            ValueError: the file holds something else.
            OSError: it cannot be read.
            DamagedCheckpoint: it is damaged.
        """
        tree = load_tree(path)
        try:
            shown = cls(**tree)
            return shown._replace(demonstrated=Demonstrated(**tree["demonstrated"]))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} holds no demonstrations, python -m ngu.demonstrate writes them"
            ) from error
