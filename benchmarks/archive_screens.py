"""How well an archive with controlled cells tells screens apart, by the rooms in the game's memory.

    python benchmarks/archive_screens.py runs/archive

Restores the state of each cell. Prints in how many of them the screen is the one that most cells of
their room are on, and the rooms that lie on several. Then random actions go on from some of them:
prints how much of the picture that stood still changes in a step that leads to another room, and in
one that does not; how often the agents are lost where they are seen; and how often they are counted
to move otherwise than most do from the one room to the other, or from one to itself.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.run_folder import RunFolder
from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.bearings import CUT, Bearings, sudden
from ngu_agents.archive.cells import last_channel
from ngu_agents.archive.snapshots import SnapshotStore
from ngu_agents.archive.trials import Trials
from ngu_envs import RestorableVectorEnv, is_restorable

_NUM_ENVS, _STEPS = 16, 60


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--returns", type=int, default=60, help="to be explored from (%(default)s)")
    known = parser.parse_args()
    folder = RunFolder.open(known.run)
    settings, _, _ = parse([], "archive_screens", base=folder.path / "config.yaml")
    _, state = folder.checkpoints.latest()
    archive = state["session"]["envs"]["archive"]
    store = SnapshotStore(int(settings.learning.memory_gb * 1e9), None)
    store.load_state_dict(archive["snapshots"])
    envs = make_envs(settings, _NUM_ENVS, 0)
    assert is_restorable(envs)
    envs.reset()
    _screens(envs, store, np.floor(archive["embeddings"]).astype(int))
    _steps(envs, store, known.returns)
    positions = archive["embeddings"].astype(np.float32)
    bearings = Bearings(_NUM_ENVS, areas=settings.learning.place_areas)
    alone = Bearings(_NUM_ENVS, areas=1).state_dict()
    screens = ("screens", "scenes", "pictures", "stays")
    counted = state["session"]["envs"]["whereabouts"]["bearings"]
    bearings.load_state_dict(alone | {key: counted[key] for key in screens})
    _follow(envs, store, bearings, positions, settings.learning.trial_steps, known.returns)
    envs.close()


def _screens(envs: RestorableVectorEnv, store: SnapshotStore, screens: np.ndarray) -> None:
    on: defaultdict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    cells = list(range(len(store)))
    for first in range(0, len(cells), _NUM_ENVS):
        part = cells[first : first + _NUM_ENVS]
        where = np.arange(_NUM_ENVS) < len(part)
        _, info = envs.restore(where, [store[cell] for cell in part])
        for cell, room in zip(part, info["room"].tolist(), strict=False):
            on[room][tuple(screens[cell].tolist())] += 1
    right = sum(counts.most_common(1)[0][1] for counts in on.values())
    print(
        f"{len(cells):,} cells in {len(on)} rooms: {right / len(cells):.1%} on their room's screen"
    )
    for room, counts in sorted(on.items()):
        (screen, most), *others = counts.most_common()
        if others:
            elsewhere = ", ".join(f"{where} {count}" for where, count in others)
            print(f"room {room}: {screen} {most}, {elsewhere}")


def _follow(
    envs: RestorableVectorEnv,
    store: SnapshotStore,
    bearings: Bearings,
    positions: np.ndarray,
    every: int,
    returns: int,
) -> None:
    generator = np.random.default_rng(0)
    agent = ArchiveAgent(envs.single_action_space, _NUM_ENVS, repeat_probability=0.95, seed=0)
    trials = Trials(envs, every=every, seed=0)
    everywhere = np.ones(_NUM_ENVS, dtype=bool)
    moves: defaultdict[tuple[int, int], Counter[tuple[int, ...]]] = defaultdict(Counter)
    lost = seen = 0
    for _ in range(returns):
        cells = generator.integers(len(store), size=_NUM_ENVS)
        observation, info = envs.restore(everywhere, [store[cell] for cell in cells.tolist()])
        bearings.put(everywhere, positions[cells])
        observation, lives, lived = observation.copy(), info["lives"], everywhere.copy()
        rooms: list[np.ndarray] = []
        known: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(_NUM_ENVS)]
        for step in range(_STEPS):
            actions = agent.act()
            trial = trials(actions, everywhere, lives)
            after, _, terminated, truncated, info = envs.step(actions)
            lived &= ~(terminated | truncated | (info["lives"] < lives))
            lives, pictures = info["lives"], trials.pictures(after)
            bearings.step(trials.pictures(observation), pictures, everywhere)
            rooms.append(info["room"])
            if trial:
                looks = trials.compare(trial, after, lived)
                before = bearings.positions.copy()
                bearings.follow(looks, pictures)
                found = bearings.state_dict()
                lost, seen = lost + np.sum(found["lost"] & looks.seen), seen + looks.seen.sum()
                for env in np.flatnonzero(looks.seen & (found["unseen"] == 0)).tolist():
                    moved = np.floor(bearings.positions[env, :2]) - np.floor(before[env, :2])
                    known[env].append((step, moved.astype(int)))
            observation = after.copy()
        for env, steps in enumerate(known):
            room, moved = None, np.zeros(2, int)
            for step, move in steps:
                moved = moved + move
                # The memory may be a step ahead of the picture.
                near = {int(each[env]) for each in rooms[max(step - 3, 0) : step + 4]}
                if len(near) == 1:
                    (now,) = near
                    if room is not None:
                        moves[room, now][tuple(moved.tolist())] += 1
                    room, moved = now, np.zeros(2, int)
    print(f"lost in {lost / seen:.2%} of {seen:,} looks at which the agent was seen")
    for name, within in (("into another room", False), ("in the same one", True)):
        found = [counts for (one, other), counts in moves.items() if (one == other) == within]
        total = sum(counts.total() for counts in found)
        if not total:
            print(f"moves {name}: none")
            continue
        most = sum(counts.most_common(1)[0][1] for counts in found)
        print(
            f"moves {name}: {total:,}, {1 - most / total:.3%} of them counted otherwise than most"
        )


def _steps(envs: RestorableVectorEnv, store: SnapshotStore, returns: int) -> None:
    generator = np.random.default_rng(0)
    agent = ArchiveAgent(envs.single_action_space, _NUM_ENVS, repeat_probability=0.95, seed=0)
    everywhere = np.ones(_NUM_ENVS, dtype=bool)
    crossings, others = [], []
    for _ in range(returns):
        cells = generator.integers(len(store), size=_NUM_ENVS).tolist()
        observation, info = envs.restore(everywhere, [store[cell] for cell in cells])
        pictures, rooms = [last_channel(observation, 0).copy()], [info["room"]]
        lives, lived = info["lives"], everywhere.copy()
        alive = []
        for _ in range(_STEPS):
            observation, _, terminated, truncated, info = envs.step(agent.act())
            lived &= ~(terminated | truncated | (info["lives"] < lives))
            pictures.append(last_channel(observation, 0).copy())
            rooms.append(info["room"])
            alive.append(lived.copy())
        changed = [before != after for before, after in pairwise(pictures)]
        # Of the first two steps it is not known what stood still before.
        changes = np.stack([sudden(*changed[i - 2 : i + 1][::-1]) for i in range(2, len(changed))])
        left, still_alive = np.diff(np.stack(rooms), axis=0)[2:] != 0, np.stack(alive)[2:]
        for step, env in np.argwhere(left[:-2] & still_alive[2:]):
            # The memory may be a step ahead of the picture.
            crossings.append(changes[step : step + 3, env].max())
        near = left.copy()
        for shift in (1, 2):
            near[shift:] |= left[:-shift]
            near[:-shift] |= left[shift:]
        others.append(changes[~near & still_alive])
    for name, found in (("into another room", crossings), ("others", np.concatenate(others))):
        found = np.array(found)
        print(
            f"steps {name}: {len(found):,}, {np.mean(found > CUT):.2%} of them change more than "
            f"{CUT:.4f} of the picture; quantiles .01, .5, .99: "
            + ", ".join(f"{value:.4f}" for value in np.quantile(found, [0.01, 0.5, 0.99]))
        )


if __name__ == "__main__":
    main()
