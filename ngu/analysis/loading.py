"""Embeddings of any origin, made ready for the measures: `load`.

Of more states than are asked for some are drawn, see `ngu.analysis.sampling`; what is not drawn is
never held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from ngu.analysis.array_files import ArraySource, NpzSource, open_npy
from ngu.analysis.columns import as_integers, as_stds
from ngu.analysis.data import EmbeddingData, Frames, Neighbours
from ngu.analysis.parquet_files import ParquetSource
from ngu.analysis.parquet_frames import ParquetFrames
from ngu.analysis.sampling import draw
from ngu.analysis.source import Source
from ngu.seeding import Seeds
from ngu.sentences import SettingsError, reason

_READ = (".npy", ".npz", ".parquet")


def load(
    path_or_array: Any,
    *,
    labels: Any = None,
    episodes: Any = None,
    stds: Any = None,
    limit: int | None = 200_000,
    seed: int = 0,
) -> EmbeddingData:
    """Load embeddings, and what is known of the states that they stand for.

    Args:
        path_or_array: a dataset that ``python -m ngu.record`` wrote, a ``.npy``, ``.npz`` or
            ``.parquet`` file of any tool, or an array [N, D].
        labels: whole numbers [N] by name, beside those of the file.
        episodes: number of the episode of each state [N], in place of the file's; the states of
            an episode stand in the order of its steps.
        stds: numbers [N, D] in place of the file's: standard deviations of the posteriors of a
            variational autoencoder whose means the embeddings are.
        limit: states at most; of more, whole episodes are drawn, where none are known single
            states. None takes all.
        seed: of what is drawn.

    Returns:
        The states episode after episode; `EmbeddingData.sampling` tells how they were drawn.

    Raises:
        SettingsError: there is nothing of that kind; says in a sentence what was found.
        OSError: a file cannot be read.
    """
    if limit is not None and limit < 2:
        raise SettingsError(f"limit must be at least 2, got {limit}")
    source, name = _source(path_or_array)
    count = source.rows
    given = {
        key: as_integers(values, count, f"labels[{key!r}]")
        for key, values in _by_name(labels).items()
    }
    known = source.episodes() if episodes is None else as_integers(episodes, count, "episodes")
    drawn = draw(count, known, limit, Seeds(seed).numpy("states"))
    order = np.argsort(drawn.rows)
    rows = drawn.rows[order]
    taken = source.take(rows)
    stds = taken.stds if stds is None else as_stds(stds, (count, source.dim), "stds")[rows]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    few = f", fewer than the {source.dim:,} dimensions" if len(rows) < source.dim else ""
    return EmbeddingData(
        embeddings=taken.embeddings[back],
        stds=None if stds is None else stds[back],
        episodes=None if known is None else known[drawn.rows],
        steps=drawn.steps if taken.steps is None else taken.steps[back],
        labels={key: values[back] for key, values in taken.labels.items()}
        | {key: values[drawn.rows] for key, values in given.items()},
        figures={key: values[back] for key, values in taken.figures.items()},
        neighbours=_reordered(taken.neighbours, back),
        frames=_frames(taken.frames, back),
        source=name,
        rows=count,
        sampling=f"{drawn.told}{few}, {source.how}",
    )


def _source(path_or_array: Any) -> tuple[Source, str]:
    if not isinstance(path_or_array, str | os.PathLike):
        try:
            array = np.asarray(path_or_array)
        except (ValueError, TypeError, RuntimeError) as error:
            raise SettingsError(
                f"embeddings must be an array of numbers [N, D]: {reason(error)}"
            ) from error
        return ArraySource(array, "embeddings"), "array"
    path = Path(path_or_array)
    if path.is_dir():
        return ParquetSource(_parts(path)), str(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    suffix = path.suffix.lower()
    if suffix not in _READ:
        raise SettingsError(
            f"{path} must be a recorded dataset or a file that ends with {', '.join(_READ)}"
        )
    if path.stat().st_size == 0:
        raise SettingsError(f"{path} is empty")
    if suffix == ".parquet":
        return ParquetSource([path]), str(path)
    return (open_npy if suffix == ".npy" else NpzSource)(path), str(path)


def _parts(folder: Path) -> list[Path]:
    """The files of a dataset.

    Raises:
        SettingsError: the folder is something else; says what it looks like.
    """
    parts = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    if parts:
        return parts
    if (folder / "states").is_dir():
        return _parts(folder / "states")
    if (folder / "config.yaml").is_file():
        raise SettingsError(
            f"{folder} is the folder of a run, which holds no embeddings: "
            f"python -m ngu.record {folder} writes a dataset of it"
        )
    raise SettingsError(f"{folder} is no recorded dataset: there is no .parquet file in it")


def _by_name(labels: Any) -> Mapping[str, Any]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise SettingsError(
            f"labels must be arrays [N] by name, as in {{'room': rooms}}, got a "
            f"{type(labels).__name__}"
        )
    return labels


def _reordered(neighbours: Neighbours | None, order: Int64[np.ndarray, " n"]) -> Neighbours | None:
    if neighbours is None:
        return None
    distance: Float32[np.ndarray, "n K"] = neighbours.squared_distance[order]
    return Neighbours(neighbours.step[order], distance, neighbours.kernel[order])


def _frames(frames: Frames | None, order: Int64[np.ndarray, " n"]) -> Frames | None:
    return frames.reordered(order) if isinstance(frames, ParquetFrames) else None
