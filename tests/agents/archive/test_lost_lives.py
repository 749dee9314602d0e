import numpy as np
import torch

from ngu_agents.archive.guide import Memory
from ngu_agents.archive.lost_lives import followed, unknown_lives
from ngu_agents.archive.splitting import Splitting
from ngu_agents.archive.visits import Life, Visit
from ngu_agents.archive.ways import Beginning
from tests.agents.archive.slippery import CONFIG, Slippery, cells_of, chains, way

UP, LEFT = 3, 2
MEMORY = Memory(torch.zeros(2, 1), 0, 0.0)


def snapshots_after(*moves: list[int]) -> list[bytes]:
    """Where these moves lead from the beginning, without chance."""
    envs = Slippery(1, chance=0.0)
    found = []
    for some in moves:
        envs.reset()
        for move in some:
            envs.step(np.array([move]))
        found += envs.snapshots(np.array([True]))
    return found


def life(snapshot: bytes, score: float = 0.0, memory: Memory | None = MEMORY) -> Life:
    return Life([b""], [score], [Visit(0, [], snapshot, memory)])


def test_the_same_actions_lead_on_from_some_states():
    envs, known = Slippery(4, chance=0.0), way()
    ahead, astray, home = snapshots_after([1, 0], [1, 1], [])
    begin = [Beginning(home, 0.0), Beginning(astray, 0.0), Beginning(ahead, 5.0)]
    (from_home, from_astray, further), steps = followed(
        envs, cells_of(envs), begin, known.actions, known.score
    )
    assert from_home == known
    assert from_astray is None  # it misses the key, which the door wants
    assert further is not None
    assert further.names == known.names[2:]
    assert further.scores == [5 + score for score in known.scores[2:]]
    assert (further.actions, further.score) == (known.actions[:-2], 16)
    assert 2 * len(known.actions) - 2 < steps <= 3 * len(known.actions) - 2


def test_a_way_ends_with_a_lost_life():
    class Mortal(Slippery):
        def _info(self):
            return {"lives": np.where(self._place.sum(1) > 3, 2, 3)}

    envs, known = Mortal(3, chance=0.0), way()
    home, one_on = snapshots_after([], [1])
    begin = [Beginning(home, 0.0), Beginning(one_on, 0.0)]  # fewer than environments
    ways, steps = followed(envs, cells_of(envs), begin, known.actions, known.score)
    assert (ways, steps) == ([None, None], 4 + 3)


def test_lives_that_are_in_no_known_cell_have_a_way_of_their_own():
    known = way()
    envs = Slippery(2, chance=0.0)
    cells = cells_of(envs)
    home, hidden = snapshots_after([], [1, 0, UP, LEFT])
    lives = [life(home), life(hidden), life(hidden, 11.0), life(hidden, memory=None)]
    found = unknown_lives(envs, cells, lives, known, waiting=UP)
    # Both stand where the way begins, and so their cells are known.
    assert found.way is None
    assert found.beginnings == []
    assert found.steps > 0
    foreign = known._replace(names=[b"another"] * len(known.names))
    found = unknown_lives(envs, cells, [*lives, life(home, 5.0)], foreign, waiting=UP)
    assert found.beginnings == [
        Beginning(home, 0.0),
        Beginning(hidden, 0.0),
        Beginning(home, 5.0),
    ]
    assert found.way is not None
    assert found.way.scores[0] == 0
    assert found.way.score == known.score
    assert found.way.names[-len(known.names) :] == known.names


def test_a_sweep_begins_in_lost_lives_alone():
    envs, known = Slippery(6), way()
    (ahead,) = snapshots_after([1, 0])
    begin = [Beginning(ahead, 0.0)]
    splitting = Splitting(
        envs, cells_of(envs), known, config=CONFIG, seed=0, beginnings=begin, episodes=False
    )
    while not splitting.over:
        splitting.step()
    shown = splitting.demonstrated()
    first = {tuple(np.argwhere(shown.frames[chain[0], 0])[0].tolist()) for chain in chains(shown)}
    assert first == {(1, 1)}
