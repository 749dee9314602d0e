"""When whitening helps: how well the episodic novelty tells new places from places seen before.

    python benchmarks/whitening.py [--updates 1000]

Sixteen walkers go through Random Disco Mazes of 11 x 11 cells, whose walls blink. Each step either
enters a cell that is new in its episode or one that was there before; printed is the area under the
curve (AUC) of telling the two apart by NGU's episodic novelty, 1 for always right, .5 for guessing,
with distances in the embedding as it is and in the whitened one. The embeddings are made of the
position, measured with an error of a tenth of a cell, or learned from the picture.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch

from ngu import NGU, NGUConfig
from ngu_envs.disco_maze import DiscoMaze, DiscoMazeConfig

NUM_ENVS, SIZE, STEPS = 16, 11, 600
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
WARM_UP = 50
"""Steps that are scored but not counted, in which the running means settle."""


class Walk(NamedTuple):
    """What the walkers saw and where they were; E walkers, T steps."""

    frames: np.ndarray
    """uint8 [T + 1, E, 3, 11, 11]."""
    places: np.ndarray
    """Row and column, int64 [T + 1, E, 2]."""
    actions: np.ndarray
    """int64 [T, E]."""
    stepped: np.ndarray
    """Bool [T, E], False where an episode began instead."""


def main() -> None:
    """Walks, trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=1000, help="of the embedding (%(default)s)")
    updates = parser.parse_args().updates
    torch.set_num_threads(1)
    envs = DiscoMaze(NUM_ENVS, 0, DiscoMazeConfig(size=SIZE, max_steps=200))
    training, walk = walked(envs, 1), walked(envs, 2)
    print(f"{'embedding':<52} {'as it is':>8} {'whitened':>8}")
    for name, features in positions(walk).items():
        report(name, features, torch.nn.Identity(), walk)
    bonus = NGU(
        envs.single_observation_space,
        envs.single_action_space,
        NUM_ENVS,
        config=NGUConfig(learning_rate=1e-3),
        precision="float32",
    )
    assert bonus.inverse_dynamics is not None
    generator = np.random.default_rng(0)
    steps = np.argwhere(training.stepped)
    done = 0
    for goal in (0, updates // 10, updates):
        for _ in range(goal - done):
            t, env = steps[generator.integers(len(steps), size=128)].T
            frames = training.frames
            bonus.update(frames[t, env], training.actions[t, env], frames[t + 1, env])
        done = goal
        name = f"picture, inverse dynamics after {goal} updates"
        report(name, walk.frames, bonus.inverse_dynamics.embedding, walk)


def walked(envs: DiscoMaze, seed: int) -> Walk:
    """Walks along free cells, straight on five times as often as elsewhere."""
    generator = np.random.default_rng(seed)
    everyone = np.arange(NUM_ENVS)
    frames, _ = envs.reset(seed=seed)
    seen, places, actions, stepped = [frames.copy()], [placed(frames)], [], []
    last, done = np.zeros(NUM_ENVS, np.int64), np.zeros(NUM_ENVS, bool)
    for _ in range(STEPS):
        row, column = (places[-1][:, None] + MOVES).transpose(2, 0, 1)
        weights = (seen[-1][everyone[:, None], :, row, column] == 0).all(-1).astype(float)
        weights[everyone, last] *= 5
        weights /= weights.sum(1, keepdims=True)
        last = (weights.cumsum(1) < generator.random((NUM_ENVS, 1))).sum(1)
        frames, _, terminated, truncated, _ = envs.step(last)
        actions.append(last)
        stepped.append(~done)
        done = terminated | truncated
        seen.append(frames.copy())
        places.append(placed(frames))
    return Walk(np.stack(seen), np.stack(places), np.stack(actions), np.stack(stepped))


def placed(frames: np.ndarray) -> np.ndarray:
    """Where the agent is, the one white cell; int64 [E, 2]."""
    cell = frames.min(1).reshape(NUM_ENVS, -1).argmax(1)
    return np.stack(np.divmod(cell, SIZE), axis=-1)


def positions(walk: Walk) -> dict[str, np.ndarray]:
    """Embeddings made of the position, float32 [T + 1, E, D], by what was done to it."""
    generator = np.random.default_rng(3)
    shape = walk.places.shape[:2]
    exact = walk.places + 0.1 * generator.standard_normal(walk.places.shape)
    row, column = exact[..., :1], exact[..., 1:]
    noise = generator.standard_normal((*shape, 30))
    made = {
        "row, column": [exact],
        "100 row, column": [100 * row, column],
        "row 30 times, column": [row] * 30 + [column],
        "10 row + column, 10 row - column, a dead dimension": [
            10 * row + column,
            10 * row - column,
            0 * row,
        ],
        "row, column, 30 dimensions of noise, 0.1 cells": [exact, 0.1 * noise],
        "row, column, 30 dimensions of noise, 10 cells": [exact, 10 * noise],
    }
    return {name: np.concatenate(parts, -1).astype(np.float32) for name, parts in made.items()}


def report(name: str, observations: np.ndarray, encoder: torch.nn.Module, walk: Walk) -> None:
    """Prints one line of the table."""
    plain, whitened = (told_apart(observations, encoder, walk, whiten) for whiten in (False, True))
    print(f"{name:<52} {plain:8.3f} {whitened:8.3f}", flush=True)


def told_apart(
    observations: np.ndarray, encoder: torch.nn.Module, walk: Walk, whiten: bool
) -> float:
    """The AUC of new places against old ones by the episodic novelty of a frozen embedding."""
    shape, pictures = observations.shape[2:], observations.dtype == np.uint8
    low, high = (0, 255) if pictures else (-np.inf, np.inf)
    space = gym.spaces.Box(low, high, shape, observations.dtype.type)
    bonus = NGU(
        space,
        gym.spaces.Discrete(4),
        NUM_ENVS,
        config=NGUConfig(whiten=whiten),
        encoder=encoder,
        precision="float32",
    )
    bonus.begin(observations[0])
    visited = [{tuple(place)} for place in walk.places[0]]
    novelty, new = [], []
    for t, where in enumerate(walk.stepped):
        bonus.score(observations[t], walk.actions[t], observations[t + 1], where=where)
        bonus.begin(observations[t + 1], where=~where)
        for env, place in enumerate(map(tuple, walk.places[t + 1])):
            if not where[env]:
                visited[env] = set()
            elif t >= WARM_UP:
                novelty.append(bonus.parts["episodic_novelty"][env])
                new.append(place not in visited[env])
            visited[env].add(place)
    return area_under_curve(np.array(novelty), np.array(new))


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive one scores higher than a negative one, ties by half (Mann-Whitney U)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n = positive.sum()
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum()))


if __name__ == "__main__":
    main()
