"""The checkpoints of one run: the last few are kept, and the newest whole one is found again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ngu.state_file import DamagedCheckpoint as DamagedCheckpoint
from ngu.state_file import load_tree as load_tree
from ngu.state_file import save_tree as save_tree

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run: the last few are kept, and the newest whole one is found.

    Looking (`paths`, `latest`, `whole`) changes nothing in the folder, so another process may look
    while training writes. What a killed process left half-written is removed by the next `save`.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3) -> None:
        """Opens or makes a folder of checkpoints.

        Args:
            folder: The folder; made with its parents if it is not there.
            keep: How many checkpoints stay, at least 1.

        Raises:
            ValueError: ``keep`` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected at least 1")
        self.folder = Path(folder)
        self.keep = keep
        self._damaged: set[Path] = set()
        self.folder.mkdir(parents=True, exist_ok=True)

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first, whole or not."""
        return sorted(self.folder.glob("step-[0-9]*.safetensors"), key=_step)

    def save(self, step: int, tree: object) -> Path:
        """Writes a checkpoint and, once it is safe on the disk, removes what is too old.

        Args:
            step: Environment steps taken so far; the file is named after it.
            tree: The state, as `save_tree` takes it.

        Returns:
            The file written.

        Raises:
            ValueError: ``step`` is negative.
            TypeError: The state holds what a checkpoint cannot.
            OSError: The disk is full or not writable; the earlier checkpoints are untouched.
        """
        if step < 0:
            raise ValueError(f"step is {step}, expected at least 0")
        # Before writing, since what a killed process left may be what fills the disk.
        for leftover in self.folder.glob(".step-*.tmp"):
            leftover.unlink(missing_ok=True)
        path = self.folder / f"step-{step:012d}.safetensors"
        save_tree(path, tree)
        self._damaged.discard(path)
        whole = [other for other in self.paths() if other not in self._damaged and other != path]
        # Damaged ones count for nothing, though their steps may be the highest.
        surplus = whole[: max(0, len(whole) - (self.keep - 1))]
        for old in [*self._damaged, *surplus]:
            old.unlink(missing_ok=True)
        self._damaged.clear()
        return path

    def latest(self, device: str | torch.device = "cpu") -> tuple[Path, Any]:
        """The newest checkpoint that is whole; damaged ones are named in a warning and passed over.

        Args:
            device: Where torch tensors go.

        Returns:
            The file and the state it holds.

        Raises:
            FileNotFoundError: The folder holds no checkpoint.
            DamagedCheckpoint: It holds some, and all are damaged.
        """
        for found in self.whole(device):
            return found
        paths = self.paths()
        if not paths:
            raise FileNotFoundError(f"there is no checkpoint in {self.folder}")
        raise DamagedCheckpoint(f"each of the {len(paths)} checkpoints in {self.folder} is damaged")

    def whole(self, device: str | torch.device = "cpu") -> Iterator[tuple[Path, Any]]:
        """All checkpoints that are whole, newest first; damaged ones are named in a warning.

        Args:
            device: Where torch tensors go.

        Yields:
            The file and the state it holds, each read when it is asked for.
        """
        for path in reversed(self.paths()):
            try:
                tree = load_tree(path, device)
            except DamagedCheckpoint as error:
                self.mark_damaged(path)
                logger.warning("damaged checkpoint passed over: %s", error)
            else:
                yield path, tree

    def mark_damaged(self, path: Path) -> None:
        """Notes that a checkpoint is of no use: it does not count, and the next `save` removes it.

        Args:
            path: A checkpoint of this folder, for instance one that refers to a damaged file.
        """
        self._damaged.add(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").removesuffix(".safetensors"))
