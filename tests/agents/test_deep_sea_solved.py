"""NGU's agent, with the preset's settings, finds DeepSea's treasure and learns to go for it.

One of 1,024 action sequences pays, and each step towards it costs: an agent that only exploits
learns to stay on the left.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ngu import NGU
from ngu.evaluation import play
from ngu.parsing import parse
from ngu.players import FamilyPlayer, Player, RandomPlayer
from ngu.session import Session
from ngu.settings import TrainSettings
from ngu_agents.recurrent_replay import RecurrentReplayAgent
from ngu_envs import make

EXPLOITING = 0
EPISODES = 100
SOLVED = 0.9
CHECKED_EVERY = 4_000
SETTINGS, _, _ = parse(
    ["--env", "deep-sea", "--device", "cpu", "--precision", "float32", "--seed", "0"], "ngu.train"
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained_for(settings: TrainSettings) -> Iterator[Session]:
    """The session again and again, each time `CHECKED_EVERY` steps older."""
    session = Session(settings)
    try:
        session.begin()
        checked = 0
        for progress in session:
            if progress.steps - checked >= CHECKED_EVERY:
                checked = progress.steps
                yield session
            if session.frames >= settings.frames:
                return
    finally:
        session.close()


def mean_return(player: Player, envs) -> float:
    episodes = list(play(envs, player, [EXPLOITING], EPISODES, max_steps=20))
    assert len(episodes) == EPISODES
    assert all(episode.length == 10 for episode in episodes)
    return float(np.mean([episode.total_reward for episode in episodes]))


@pytest.fixture
def envs():
    envs = make("deep-sea", 50, 0)
    yield envs
    envs.close()


def test_deep_sea_of_size_10_is_solved_by_the_exploiting_policy(envs):
    state = None
    returns = []
    for session in trained_for(SETTINGS):
        state = session.agent.save(None)
        player = FamilyPlayer(
            envs, SETTINGS, state, epsilon=0.01, seed=0, device=torch.device("cpu")
        )
        returns.append(mean_return(player, envs))
        if returns[-1] > SOLVED:
            break
    assert returns[0] < 0, "it takes more than the first steps"
    assert returns[-1] > SOLVED, f"mean returns every {CHECKED_EVERY} steps: {returns}"


def test_random_actions_do_not_solve_it(envs):
    assert mean_return(RandomPlayer(envs, seed=0), envs) < 0.1


def test_the_first_states_reached_become_known(envs):
    """Every episode begins with them: novelty that stays there would outshine any other."""
    session = next(trained_for(SETTINGS))
    assert isinstance(session.agent, RecurrentReplayAgent)
    bonus = session.agent.bonus
    assert isinstance(bonus, NGU)
    envs.reset()
    observations, *_ = envs.step(np.arange(50) % 2)
    assert len(np.unique(observations, axis=0)) == 2
    bonus.eval()
    with torch.no_grad():
        errors = bonus.distiller.error(torch.from_numpy(observations))
    assert errors.max() < 0.5
