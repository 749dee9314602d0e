"""Where pictures to learn from come from: an environment, a run's replay, or a file."""

from __future__ import annotations

import zipfile
from collections.abc import Generator
from pathlib import Path

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import UInt8

from ngu.analysis.loading import load
from ngu.checkpoint import load_tree
from ngu.run_folder import RunFolder
from ngu.sentences import SettingsError
from ngu.spaces import ObservationSpec
from ngu.world.convolutions import resized
from ngu_agents.held_actions import HeldActions

_AT_ONCE = 256  # pictures that are decoded before they are made smaller


def collect(
    envs: VectorEnv, *, size: int | None, seed: int
) -> Generator[UInt8[np.ndarray, "E ..."]]:
    """Yield what E environments show while random actions are held in them, for ever.

    Args:
        envs: in next-step autoreset; their first episodes begin here.
        size: height and width that images are brought to; None leaves them. Grids are left.
        seed: of the actions.

    Raises:
        SettingsError: they show no pictures of bytes.
    """
    space = envs.single_observation_space
    if space.dtype != np.uint8 or len(space.shape or ()) not in (2, 3):
        raise SettingsError(f"observations must be pictures of bytes, got {space}")
    if ObservationSpec(space).kind == "grid":
        size = None
    actions = HeldActions(envs.single_action_space, envs.num_envs, seed=seed)
    observations, _ = envs.reset()
    while True:
        yield resized(observations, size)
        observations, *_ = envs.step(actions())


def read_pictures(path: Path, count: int, size: int | None) -> UInt8[np.ndarray, "N ..."]:
    """The pictures of a recorded dataset, or the last ones of a run's replay or of a .npz file.

    Args:
        path: a dataset of ``python -m ngu.record``, a run folder with checkpoints, or a file with
            one array, or one called "images".
        count: pictures at most.
        size: height and width that images are brought to; None leaves them.

    Raises:
        SettingsError: there are none; says what is there.
        OSError: there is no such file or folder.
        DamagedCheckpoint: a file of the replay is damaged.
    """
    if path.suffix == ".parquet" or any(path.glob("*.parquet")):
        return _of_dataset(path, count, size)
    pictures = _of_replay(path, count) if path.is_dir() else _of_file(path)
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or not len(pictures):
        raise SettingsError(
            f"{path} must hold pictures as uint8 [N, H, W], [N, H, W, C] or [N, C, H, W], got "
            f"{pictures.dtype} {list(pictures.shape)}"
        )
    return resized(pictures[-count:], size)


def _of_dataset(path: Path, count: int, size: int | None) -> np.ndarray:
    frames = load(path, limit=max(count, 2)).frames
    if frames is None:
        raise SettingsError(f"{path} holds no frames")
    parts = list[np.ndarray]()
    for first in range(0, min(count, len(frames)), _AT_ONCE):
        rows = range(first, min(first + _AT_ONCE, count, len(frames)))
        parts.append(resized(np.stack([frames[row] for row in rows]), size))
    return np.concatenate(parts)


def _of_file(path: Path) -> np.ndarray:
    path.stat()  # says that there is no such file
    if not zipfile.is_zipfile(path):
        raise SettingsError(f"{path} is no whole .npz file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            if "images" not in names and len(names) != 1:
                raise SettingsError(
                    f"{path} must hold one array, or one called images; it holds {names}"
                )
            return arrays["images" if "images" in names else names[0]]
    except SettingsError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise SettingsError(f"{path} is no .npz file of numbers: {error}") from error


def _of_replay(path: Path, count: int) -> np.ndarray:
    folder = RunFolder.open(path).checkpoints.folder / "replay"
    parts, found = list[np.ndarray](), 0
    for file in sorted(folder.glob("slots-*.safetensors"), reverse=True):
        observations = load_tree(file)["columns"]["observation"]
        for part in reversed(observations):
            pictures = np.asarray(part)
            parts.insert(0, pictures.reshape(-1, *pictures.shape[2:]))
            found += len(parts[0])
        if found >= count:
            break
    if not parts:
        raise SettingsError(f"{path} has no replay in its checkpoints to take pictures from")
    return np.concatenate(parts)
