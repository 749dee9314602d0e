"""A run folder is all that a run leaves: what made it, what it measured, where it can go on.

```
config.yaml       the settings
versions.json     seed, versions, platform, commit and command line of each time it was started
metrics.jsonl     one JSON object for each log point
events.out.*      the same for TensorBoard
checkpoints/      the last few states
summary.json      at the end
```
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ngu.checkpoint import Checkpoints
from ngu.durable import append_whole, replacing
from ngu.event_file import EventFile

logger = logging.getLogger(__name__)

_PACKAGES = ("never-give-up", "torch", "numpy", "gymnasium", "ale-py", "faiss-cpu")


class RunFolder:
    """The folder of one run; made by `create`, found again by `open`."""

    def __init__(self, path: Path, seed: int, keep: int) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.seed = seed
        self.checkpoints = Checkpoints(path / "checkpoints", keep)
        self._events: EventFile | None = None
        self._purge_step: int | None = None
        self._losing = False

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], *, config: str, seed: int, keep: int = 3
    ) -> RunFolder:
        """Makes the folder of a new run and writes what makes it.

        Args:
            path: The folder, with its parents; an empty one may exist.
            config: The settings as YAML.
            seed: The seed of the run.
            keep: How many checkpoints stay.

        Raises:
            FileExistsError: Something is there already; nothing of it is changed.
            OSError: The folder cannot be written.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(
                f"the run folder {path} exists and is not empty: go on with it by "
                f"--resume {path}, or choose another one by --run-dir"
            )
        path.mkdir(parents=True, exist_ok=True)
        with replacing(path / "config.yaml") as file:
            file.write(config.encode())
        _write_json(path / "versions.json", {"seed": seed, "started": [describe_machine()]})
        return cls(path, seed, keep)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, keep: int = 3) -> RunFolder:
        """Opens the folder of a run that is there, changing nothing.

        Args:
            path: The folder.
            keep: How many checkpoints stay if the run goes on.

        Raises:
            FileNotFoundError: It is no run folder.
        """
        path = Path(path)
        for name in ("config.yaml", "versions.json"):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is no run folder: it has no {name}")
        return cls(path, json.loads((path / "versions.json").read_text())["seed"], keep)

    @property
    def config(self) -> str:
        """The settings as YAML."""
        return (self.path / "config.yaml").read_text(encoding="utf-8")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes from training in this folder; the system lets go of a dead one's.

        Raises:
            BlockingIOError: Another process trains in it.
        """
        try:
            with FileLock(self.path / ".lock", blocking=False):
                yield
        except Timeout:
            raise BlockingIOError(f"another process is training in {self.path}") from None

    def resume(self, steps: int) -> None:
        """Makes the folder what it was at a checkpoint, and notes that the run goes on from there.

        Log points after the checkpoint leave ``metrics.jsonl`` and are hidden in TensorBoard, since
        the run will write them again; a summary of an earlier end is removed.

        Args:
            steps: Environment steps of the checkpoint; 0 if there is none.

        Raises:
            OSError: The folder cannot be written; ``metrics.jsonl`` is the old or the new one.
        """
        rows = self.metrics()
        kept = [row for row in rows if row["steps"] <= steps]
        with replacing(self.path / "metrics.jsonl") as file:
            file.writelines(_encode(row) for row in kept)
        (self.path / "summary.json").unlink(missing_ok=True)
        self._purge_step = int(kept[-1]["frames"]) + 1 if kept else 0
        self._events = None
        versions = json.loads((self.path / "versions.json").read_text())
        versions["started"].append({"steps": steps, **describe_machine()})
        _write_json(self.path / "versions.json", versions)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Writes one log point to ``metrics.jsonl`` and, by its frames, to TensorBoard.

        A full disk loses the log point, with a warning, and not the run.

        Args:
            metrics: Numbers by name, ``frames`` and ``steps`` among them; None where there is
                none yet. What is not finite becomes null.

        Raises:
            ValueError: ``frames`` or ``steps`` is missing.
            TypeError: A value is no number.
        """
        row = {name: _number(name, value) for name, value in metrics.items()}
        frames, steps = row.get("frames"), row.get("steps")
        if frames is None or steps is None:
            raise ValueError("metrics has no 'frames' or no 'steps', expected both each time")
        scalars = {name: float(value) for name, value in row.items() if value is not None}
        try:
            append_whole(self.path / "metrics.jsonl", _encode(row))
            if self._events is None:
                self._events = EventFile(self.path, self._purge_step)
            self._events.add(int(frames), scalars)
        except OSError as error:
            if not self._losing:
                logger.warning("log points are lost from step %s on: %s", steps, error)
            self._losing = True
        else:
            self._losing = False

    def metrics(self) -> list[dict[str, Any]]:
        """The log points so far, oldest first; a row cut off by a crash is left out."""
        path = self.path / "metrics.jsonl"
        rows = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                logger.warning("%s: an unreadable row is left out", path)
        return rows

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes ``summary.json``.

        Args:
            summary: Numbers, strings, lists and dicts by name; what is not finite becomes null.

        Raises:
            OSError: It cannot be written.
        """
        _write_json(self.path / "summary.json", _finite(summary))


def default_run_path(env: str, agent: str, seed: int, root: str | os.PathLike[str]) -> Path:
    """The folder of a run that was given none: ``root/env-agent-seedN-date-time``."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path(root) / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', env)}-{agent}-seed{seed}-{now}"


def describe_machine() -> dict[str, Any]:
    """Versions, platform, commit and command line: what a run depends on besides its settings."""
    now = datetime.datetime.now(datetime.UTC)
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "time": now.isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": packages,
        **_commit(),
    }


def _commit() -> dict[str, Any]:
    """The commit of the checkout this package lies in, and whether files differ from it."""
    checkout = Path(__file__).resolve().parent.parent
    # Only its own: an installed package may lie inside somebody else's checkout.
    if not (checkout / ".git").exists():
        return {}
    try:
        head, changes = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(checkout), *command],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError) as error:
        logger.info("the commit is not recorded: %s", error)
        return {}
    return {"commit": head, "modified": bool(changes)}


def _number(name: str, value: object) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float):
        raise TypeError(f"metrics[{name!r}] is of type {type(value).__qualname__}, expected number")
    return value


def _finite(value: Any) -> Any:
    """A copy fit for JSON, which knows no infinity and no NaN."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _encode(row: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(row), allow_nan=False).encode() + b"\n"


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")
