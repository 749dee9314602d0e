"""How far agents explore in equal environment steps: imagination, disagreement, and neither.

    python benchmarks/imagined_exploration.py [--steps STEPS] [--seeds 3] [--folder FOLDER]
    python benchmarks/imagined_exploration.py --table

Five agents on two tasks. What counts is how they play while they train.

    rooms      MiniGrid-MultiRoom-N4-S5-v0: six rooms in a row, a closed door between each two,
               anew in each episode of 120 steps; the goal in the last pays, as usual there
    crafter    Crafter without its reward

Each run is a run folder of ngu.train in FOLDER. Runs that have their steps are left alone and
others go on, so Ctrl-C costs nothing. The seeds come one after the other, the tasks in turn.
The table is printed after the last run, and by --table of what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.vector import SyncVectorEnv
from minigrid.envs.multiroom import MultiRoomEnv
from rich.console import Console
from rich.table import Table

from ngu.command import exit_code_of
from ngu.console import log_to_console
from ngu.display import Display
from ngu.parsing import parse
from ngu.run_folder import RunFolder
from ngu.session import Session
from ngu.settings import TrainSettings
from ngu.training import Stop, Training
from ngu_agents.loop import Progress
from ngu_agents.tracking import MeanTracker


class Places:
    """The places that episodes visit: means over those that ended since the last log point.

    Args:
        num_envs: environments that tell the agent's row and column.
    """

    def __init__(self, num_envs: int) -> None:
        self._visited: list[set[tuple[int, int]]] = [set() for _ in range(num_envs)]
        self.means = MeanTracker()

    def begin(self) -> None:
        """Begin an episode everywhere."""
        for visited in self._visited:
            visited.clear()

    def update(self, progress: Progress) -> None:
        """Take one step of all environments."""
        for i, visited in enumerate(self._visited):
            if not progress.stepped[i]:
                visited.clear()
            visited.add(self._place(i, progress))
            if progress.step.done[i]:
                self.means.update(self._figures(i, progress))

    def _place(self, i: int, progress: Progress) -> tuple[int, int]:
        return int(progress.info["row"][i]), int(progress.info["column"][i])

    def _figures(self, i: int, progress: Progress) -> dict[str, float]:
        """Of an episode that has ended."""
        return {"places": len(self._visited[i])}


class Rooms(Places):
    """The same in MultiRooms, with the rooms entered and whether the goal was reached.

    Args:
        mazes: the environments.
    """

    def __init__(self, mazes: Sequence[MultiRoomEnv]) -> None:
        super().__init__(len(mazes))
        self._mazes = mazes

    def _place(self, i: int, progress: Progress) -> tuple[int, int]:
        x, y = self._mazes[i].agent_pos
        return int(x), int(y)

    def _figures(self, i: int, progress: Progress) -> dict[str, float]:
        entered = 0
        for room in self._mazes[i].rooms:
            (left, top), (width, height) = room.top, room.size
            entered += any(  # a door is in neither
                left < x < left + width - 1 and top < y < top + height - 1
                for x, y in self._visited[i]
            )
        goal = float(progress.step.terminated[i])
        return super()._figures(i, progress) | {"rooms_entered": entered, "goal": goal}


class WatchedSession(Session):
    """A session that tells how far the episodes got."""

    def __init__(self, settings: TrainSettings) -> None:
        super().__init__(settings)
        envs = self.envs.unwrapped
        if isinstance(envs, SyncVectorEnv):
            self._places = Rooms([cast(MultiRoomEnv, maze.unwrapped) for maze in envs.envs])
        else:
            self._places = Places(settings.num_envs)

    def begin(self) -> None:
        """Begin an episode in each environment."""
        super().begin()
        self._places.begin()

    def __iter__(self) -> Iterator[Progress]:
        """Step for ever."""
        for progress in super().__iter__():
            self._places.update(progress)
            yield progress

    def collect(self) -> dict[str, int | float | None]:
        """All figures of a log point."""
        return super().collect() | self._places.means.collect()

    def save(self, folder: Path) -> dict[str, Any]:
        """The whole state."""
        return super().save(folder) | {"places": self._places.means.state_dict()}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Take back what `save` returned; new episodes begin."""
        super().load(folder, state)
        self._places.means.load_state_dict(state["places"])


@dataclass(frozen=True)
class Task:
    """Where agents explore."""

    words: str
    """Words of ngu.train that make it."""
    replay_ratio: int
    """Replayed steps for each step, of all agents that learn."""
    steps: int
    """Steps of a run."""
    columns: dict[str, tuple[str, float]]
    """Figures of the table and how many of each are one, by heading; those that are not running
    totals are means over the episodes of the second half of the log points."""

    def words_of(self, agent: str) -> str:
        """Words of ngu.train for an agent."""
        if agent == RANDOM:
            return f"{self.words} --agent random --num_envs 8"
        return f"{self.words} {_AGENTS[agent]} --learning.replay_ratio {self.replay_ratio}"


# Sized for two hours of one core: the dreamers' updates have a quarter of their presets' steps,
# and there are fewer. All agents replay as many steps for each that they take. With fewer random
# actions Never Give Up's policies are fixed before their values know anything.
_DREAMER = (
    "--agent dreamer --learning.batch_size 8 --replay.trace_length 32 --replay.period 16 "
    "--learning.starts_per_sequence 8 --learning.bonus_batch_size 128 "
    "--learning.learning_rate 0.001 "
)
_AGENTS = {
    "imagined novelty": _DREAMER + "--bonus ngu",
    "disagreement": _DREAMER + "--bonus disagreement",
    "dreamer, no bonus": _DREAMER + "--bonus none",
    "recurrent NGU": (
        "--agent ngu --num_envs 8 --replay.min_sequences 64 "
        "--learning.epsilon 0.4 --learning.epsilon_exponent 8"
    ),
}
RANDOM = "random actions"
"""The agent that no settings of learning are for."""

TASKS = {
    "rooms": Task(
        words="--env MiniGrid-MultiRoom-N4-S5-v0",
        replay_ratio=16,
        steps=40_000,
        columns={
            "rooms of 6": ("rooms_entered", 1),
            "places": ("places", 1),
            "goal %": ("goal", 0.01),
        },
    ),
    "crafter": Task(
        words="--env crafter --options.reward false",
        replay_ratio=8,
        steps=24_000,
        columns={
            "score %, all episodes": ("crafter_score", 1),
            "achievements": ("achievements_per_episode", 1),
            "places": ("places", 1),
            "steps an episode": ("episode_length", 1),
        },
    ),
}
AGENTS = (*_AGENTS, RANDOM)
RUNNING_TOTALS = {"crafter_score", "steps", "updates", "seconds"}


def main() -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, help="of each run; the task's own by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/imagined-exploration"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    known = parser.parse_args()
    if not known.table:
        code = exit_code_of(lambda: train_all(known.folder, known.seeds, known.steps))
        if code:
            return code
    for name in TASKS:
        print_table(name, known.folder, known.seeds)
    return 0


def train_all(folder: Path, seeds: int, steps: int | None) -> int:
    """Train what is missing; returns an exit code, that of a signal where one came."""
    console = log_to_console()
    for seed in range(seeds):
        for name, task in TASKS.items():
            for agent in AGENTS:
                path = run_path(folder, name, agent, seed)
                code = train(task, agent, seed, steps or task.steps, path, console)
                if code:
                    return code
    return 0


def run_path(folder: Path, task: str, agent: str, seed: int) -> Path:
    """Where a run is."""
    return folder / f"{task}-{agent.replace(',', '').replace(' ', '-')}-seed{seed}"


def train(task: Task, agent: str, seed: int, steps: int, path: Path, console: Console) -> int:
    """Train one run to its end, from wherever it is; returns an exit code as ngu.train does."""
    summary = path / "summary.json"
    if summary.exists() and json.loads(summary.read_text())["steps"] >= steps:
        return 0
    resumed = (path / "config.yaml").exists()
    if resumed:
        folder = RunFolder.open(path)
        settings, _, _ = parse(["--frames", str(steps)], "ngu.train", base=path / "config.yaml")
    else:
        words = (
            f"{task.words_of(agent)} --seed {seed} --frames {steps} --log.steps 2000 --device cpu"
        )
        settings, text, _ = parse(words.split(), "ngu.train")
        folder = RunFolder.create(path, config=text, seed=seed)
    session = WatchedSession(settings)
    display = Display(settings.frames, str(path), console)
    with closing(session), folder.held(), Stop() as stop, display:
        training = Training(session, folder, display)
        if resumed:
            training.resume()
        else:
            session.begin()
        training.run(stop)
    if stop.signal is not None:
        return 128 + stop.signal
    folder.finish(training.final_figures())
    return 0


def figure(path: Path, name: str) -> float | None:
    """What a run that is done came to; None without one, or without an episode."""
    if not (path / "summary.json").exists():
        return None
    rows = RunFolder.open(path).metrics()
    rows = [row for row in rows if row.get(name) is not None]
    if not rows:
        return None
    if name in RUNNING_TOTALS:
        return rows[-1][name]
    ended = np.diff([row["episodes"] for row in rows], prepend=0)
    late = slice(len(rows) // 2, None)
    return float(np.average([row[name] for row in rows[late]], weights=ended[late]))


def print_table(name: str, folder: Path, seeds: int) -> None:
    """Print a task's table: for each agent the mean over seeds, and each seed."""
    task = TASKS[name]
    table = Table(title=name)
    for heading in ("agent", *task.columns, "steps", "updates", "minutes"):
        table.add_column(heading)
    for agent in AGENTS:
        paths = [run_path(folder, name, agent, seed) for seed in range(seeds)]
        cells = []
        for figure_name, unit in task.columns.values():
            values = [figure(path, figure_name) for path in paths]
            values = [value / unit for value in values if value is not None]
            each = ", ".join(f"{value:.2f}" for value in values)
            cells.append(f"{np.mean(values):.2f} ({each})" if values else "-")
        for figure_name, unit in (("steps", 1), ("updates", 1), ("seconds", 60)):
            values = [figure(path, figure_name) for path in paths]
            cells.append(", ".join(f"{v / unit:.0f}" for v in values if v is not None) or "-")
        table.add_row(agent, *cells)
    Console(width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    sys.exit(main())
