"""From the steps of environments to the states of a dataset, as `DatasetWriter` takes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ngu.analysis.columns import STD
from ngu.analysis.dataset_file import DatasetWriter
from ngu.analysis.parquet_schema import LABEL, NEIGHBOURS
from ngu.embedders import Embedded, Embedder
from ngu_agents.base import Step
from ngu_envs.labels import labels_of

_THREADS = 2

Draw = Callable[[np.ndarray, dict[str, Any]], Any]
"""Pictures [E, H, W, 3] of what environments show, from their observations and info."""


class StateRecorder:
    """Writes each state that environments come to.

    Args:
        envs: E environments in next-step autoreset.
        embedder: embeds the states.
        writer: takes them.
        draw: their pictures; None for none.
        policies: index of the policy that plays each environment [E]; None where there is one.
        environments: how many of them are recorded, from the first on; None: all.
    """

    def __init__(
        self,
        envs: VectorEnv,
        embedder: Embedder,
        writer: DatasetWriter,
        *,
        draw: Draw | None = None,
        policies: np.ndarray | None = None,
        environments: int | None = None,
    ) -> None:
        self._envs, self._embedder, self._writer = envs, embedder, writer
        self._draw, self._policies = draw, policies
        self._environments = envs.num_envs if environments is None else environments
        self._episode = np.full(envs.num_envs, -1)
        self._step = np.zeros(envs.num_envs, np.int64)
        self._episodes = 0
        self._waiting: tuple[np.ndarray, dict[str, Any], Embedded] | None = None
        self._pool = ThreadPoolExecutor(_THREADS)

    def begin(self, observation: np.ndarray, info: dict[str, Any]) -> None:
        """Take the first states of the episodes that begin everywhere.

        They are written with the first step, which tells what columns there are. Without this call
        an environment is recorded from where its next episode begins.

        Args:
            observation: [E, ...].
            info: of the reset.
        """
        none = np.zeros(self._envs.num_envs, dtype=bool)
        self._waiting = (observation.copy(), dict(info), self._embedder.embed(observation, none))

    def add(
        self,
        action: np.ndarray,
        step: Step,
        stepped: np.ndarray,
        info: dict[str, Any],
        figures: dict[str, np.ndarray],
        *,
        most: int | None = None,
    ) -> int:
        """Take what environments answered, after it was scored.

        Args:
            action: taken, [E, ...].
            step: the answer.
            stepped: False [E] where an episode only began.
            info: of the step.
            figures: of the states reached, [E] by name.
            most: states to write at most; None: all.

        Returns:
            How many were written.
        """
        embedded = self._embedder.embed(step.observation, stepped)
        figures = {"reward": step.reward, **figures, **embedded.figures}
        empty = dict.fromkeys(figures, np.full(len(stepped), np.nan, np.float32))
        empty["reward"] = np.zeros(len(stepped), np.float32)
        written = 0
        if self._waiting is not None:
            observation, first_info, first = self._waiting
            self._waiting = None
            none = np.zeros_like(stepped)
            columns = self._columns(observation, first_info, first, empty, action, none)
            written += self._write(columns, most)
            most = None if most is None else most - written
        figures = {name: np.where(stepped, values, empty[name]) for name, values in figures.items()}
        columns = self._columns(step.observation, info, embedded, figures, action, stepped)
        return written + self._write(columns, most)

    def close(self) -> None:
        """Write what is buffered."""
        self._pool.shutdown()
        self._writer.close()

    def _columns(
        self,
        observation: np.ndarray,
        info: dict[str, Any],
        embedded: Embedded,
        figures: dict[str, np.ndarray],
        action: np.ndarray,
        reached: np.ndarray,
    ) -> dict[str, Any]:
        """The columns of E states, one of each environment."""
        begun = np.flatnonzero(~reached)
        self._episode[begun] = self._episodes + np.arange(len(begun))
        self._episodes += len(begun)
        self._step = np.where(reached, self._step + 1, 0)
        taken = np.asarray(action).reshape(len(reached), -1)
        mask = np.broadcast_to(~reached[:, None], taken.shape)
        taken = np.ma.masked_array(taken, mask)
        columns: dict[str, Any] = {"episode": self._episode.copy(), "step": self._step}
        if self._policies is not None:
            columns["policy"] = self._policies
        columns["action"] = taken if np.ndim(action) > 1 else taken[:, 0]
        columns |= {name: values.astype(np.float32) for name, values in figures.items()}
        columns["embedding"] = embedded.embedding
        if embedded.std is not None:
            columns[STD[0]] = embedded.std
        if embedded.near is not None:
            columns |= dict(zip(NEIGHBOURS, embedded.near, strict=True))
        for name, values in labels_of(self._envs, info).items():
            columns[LABEL + name] = values
        if "ram" in info:
            columns["ram"] = info["ram"]
        if self._draw is not None:
            drawn = self._draw(observation[: self._environments], info)
            columns["frame"] = list(self._pool.map(encoded, drawn[: self._environments]))
        return columns

    def _write(self, columns: dict[str, Any], most: int | None) -> int:
        rows = np.flatnonzero(columns["episode"][: self._environments] >= 0)[:most]
        if rows.size:
            self._writer.add({name: _taken(values, rows) for name, values in columns.items()})
        return len(rows)


def _taken(values: Any, rows: np.ndarray) -> Any:
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]


def encoded(picture: np.ndarray) -> bytes:
    """The picture as the bytes of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
