"""What random actions showed: pictures, actions and what came of them, in memory and in files.

Rows are only ever added, so each save writes those that no file holds yet, to a file of their own.

Shapes: T rows, E environments, A encoded action.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ngu.checkpoint import DamagedCheckpoint, load_tree, save_tree


class Collection:
    """T rows of E environments.

    Args:
        rows: T.
        num_envs: E.
        picture_shape: of one picture.
        action_size: width A of an encoded action.

    Attributes:
        size: rows so far.
        columns: the arrays [T, E, ...] by name: picture, first (the picture is an episode's first),
            action (encoded, done then), reward and terminated (of the step to the next row).
    """

    def __init__(
        self, rows: int, num_envs: int, picture_shape: tuple[int, ...], action_size: int
    ) -> None:
        self.size = 0
        self.columns = {
            "picture": np.zeros((rows, num_envs, *picture_shape), np.uint8),
            "first": np.zeros((rows, num_envs), bool),
            "action": np.zeros((rows, num_envs, action_size), np.float32),
            "reward": np.zeros((rows, num_envs), np.float32),
            "terminated": np.zeros((rows, num_envs), bool),
        }
        self._files: list[dict[str, Any]] = []

    @property
    def rows(self) -> int:
        """Rows T that there is room for."""
        return len(self.columns["first"])

    @property
    def full(self) -> bool:
        """Whether there is room for no more."""
        return self.size == self.rows

    def add(
        self,
        *,
        picture: UInt8[np.ndarray, "E ..."],
        first: Bool[np.ndarray, " E"],
        action: Float[np.ndarray, "E A"],
        reward: Float[np.ndarray, " E"],
        terminated: Bool[np.ndarray, " E"],
    ) -> None:
        """Add a row."""
        row = {
            "picture": picture, "first": first, "action": action, "reward": reward,
            "terminated": terminated,
        }  # fmt: skip
        for name, values in row.items():
            self.columns[name][self.size] = values
        self.size += 1

    def save(self, folder: Path) -> list[dict[str, Any]]:
        """Write what no file holds yet; returns which files hold the rows, in their order.

        Raises:
            OSError: it cannot be written; what was written before stays.
        """
        start = self._files[-1]["stop"] if self._files else 0
        if self.size > start:
            folder.mkdir(parents=True, exist_ok=True)
            part = {name: column[start : self.size] for name, column in self.columns.items()}
            # A run that goes on from an older checkpoint writes beside its abandoned future.
            crc = zlib.crc32(part["picture"].tobytes())
            name = f"collected-{start:09d}-{self.size:09d}-{crc:08x}.safetensors"
            save_tree(folder / name, part)
            self._files.append({"name": name, "stop": self.size})
        return [dict(file) for file in self._files]

    def load(self, folder: Path, files: list[dict[str, Any]]) -> None:
        """Take back the rows that :meth:`save` wrote.

        Raises:
            DamagedCheckpoint: a file is missing, damaged or of other rows.
        """
        self.size, self._files = 0, []
        for file in files:
            path = folder / file["name"]
            try:
                part = load_tree(path)
            except FileNotFoundError:
                raise DamagedCheckpoint(f"{path}: the file is missing") from None
            stop = file["stop"]
            for name, column in self.columns.items():
                expected = (stop - self.size, *column.shape[1:])
                if part[name].shape != expected:
                    raise DamagedCheckpoint(
                        f"{path}: {name} must have shape {list(expected)}, "
                        f"got {list(part[name].shape)}"
                    )
                column[self.size : stop] = part[name]
            self.size = stop
            self._files.append(dict(file))
