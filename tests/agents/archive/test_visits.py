from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv

from ngu_agents.archive.cells import DownscaledCells
from ngu_agents.archive.guide import Guide, Memory
from ngu_agents.archive.visits import Visits

# A life of 10 steps, two of them in an episode.
LIFE, EPISODE, SIDE = 10, 20, 16


class Mortal(VectorEnv):
    """Shows the steps since the episode began; each brings what its action is called."""

    num_envs, single_action_space = 3, Discrete(2)

    def __init__(self, stack: int) -> None:
        shape = (stack, SIDE, SIDE)
        self.single_observation_space = Box(0, 255, shape, np.uint8)
        self.metadata = {"frame_stack": stack}
        self._stack = stack
        self._times = np.zeros(self.num_envs, np.int64)

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        self._times[:] = 0
        return self._seen()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        over = self._times == EPISODE
        self._times = np.where(over, 0, self._times + 1)
        seen, info = self._seen()
        never = np.zeros(self.num_envs, bool)
        return seen, np.where(over, 0, actions), self._times == EPISODE, never, info

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        return [bytes([int(time)]) for time in self._times[where]]

    def _seen(self) -> tuple[np.ndarray, dict[str, Any]]:
        ages = np.arange(self._stack)[::-1]
        seen = np.maximum(self._times[:, None] - ages, 0).astype(np.uint8)
        lives = 2 - self._times // LIFE
        shape = (self.num_envs, self._stack, SIDE, SIDE)
        return np.broadcast_to(seen[:, :, None, None], shape), {"lives": lives}


class Counting(Guide):
    """Takes action 1 from the second environment on; remembers how many steps it has seen."""

    def __init__(self) -> None:
        self.steps, self.recalled = 0, list[tuple[int, int]]()

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.minimum(np.arange(len(observation)), 1)

    def observe(self, actions: np.ndarray, reward: np.ndarray) -> None:
        self.steps += 1

    def memory(self, env: int) -> Memory:
        return Memory(torch.zeros(2, 1), 0, float(self.steps))

    def recall(self, env: int, memory: Memory | None) -> None:
        assert memory is None
        self.recalled.append((env, self.steps))


@pytest.mark.parametrize("stack", [1, 3])
def test_a_policys_lives_and_the_states_to_go_back_to(stack):
    envs, guide = Mortal(stack), Counting()
    cells = DownscaledCells(envs.single_observation_space, width=1, height=1, levels=256)
    visits = Visits(envs, cells, guide)
    assert sum(visits.step() for _ in range(45)) == 3 * 45
    lives = visits.lives
    assert guide.steps == 45
    # An episode's last state is no state to go on from.
    assert sum(len(life.names) for life in lives) == 3 * 45 - 6
    times = [[name[0] for name in life.names] for life in lives if life.names]
    whole = [[*range(LIFE)], [*range(LIFE, EPISODE)]]
    assert sorted(times) == sorted(3 * [*whole, *whole, [0, 1, 2]])
    assert sorted(guide.recalled)[:3] == [(0, 0), (0, 21), (0, 42)]
    kept = [(life, visit) for life in lives for visit in life.visits]
    assert len(kept) == 3 * 11  # of every fourth step, but for that after an episode's last state
    for life, visit in kept:
        time = visit.snapshot[0]
        assert life.names[visit.place][0] == time
        assert visit.memory.reward % 4 == 0 if time else visit.memory is None
        seen = list(range(time))[-max(stack - 1, 1) :]
        assert [int(frame.max()) for frame in visit.before] == seen
    # In two of the three each step brings a point, and a lost life takes none away.
    scores = [life.scores for life in lives if life.names and life.names[0][0] == LIFE]
    assert sorted(scores) == sorted(2 * [LIFE * [0.0]] + 4 * [[float(one) for one in whole[1]]])
