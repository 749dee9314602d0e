"""A run put together: what its log points tell of a game with rooms."""

import numpy as np
import pytest
import torch

from ngu.bonuses import BONUSES
from ngu.evaluation import play
from ngu.parsing import parse
from ngu.players import FamilyPlayer
from ngu.session import Session
from ngu_envs import crafter_score, make


def test_rooms_are_counted_over_training_and_for_each_episode():
    arguments = ["--env=MontezumaRevenge", "--agent=random", "--num-envs=2", "--frames=100"]
    settings, _, _ = parse(arguments, "test")
    session = Session(settings)
    session.begin()
    ended = 0
    for progress in session:
        ended += int(progress.step.done.sum())
        if ended == 3:
            break
    figures = session.collect()
    session.close()
    assert figures["episodes"] == 3
    assert figures["rooms"] == 1
    assert figures["rooms_per_episode"] == 1.0
    assert session.frames == 4 * figures["steps"]


def test_achievements_are_counted_and_told_after_a_resume(tmp_path):
    arguments = ["--env=crafter", "--agent=random", "--num-envs=2", "--options.area=16"]
    settings, _, _ = parse([*arguments, "--options.length=50"], "test")
    session = Session(settings)
    assert session.collect()["crafter_score"] is None
    session.begin()
    unlocked = []
    for progress in session:
        unlocked += list(progress.info["achievements"][progress.step.done])
        if len(unlocked) >= 6:
            break
    figures = session.collect()
    assert "rooms" not in figures
    assert figures["achievements_per_episode"] == pytest.approx(np.sum(unlocked) / len(unlocked))
    assert figures["achievements_per_episode"] > 0
    rates = 100 * np.mean(unlocked, axis=0)
    assert figures["crafter_score"] == pytest.approx(crafter_score(rates))
    resumed = Session(settings)
    resumed.load(tmp_path, session.save(tmp_path))
    assert resumed.status()["crafter_score"] == figures["crafter_score"]
    session.close()
    resumed.close()


@pytest.mark.parametrize("bonus", BONUSES)
def test_each_bonus_is_paid_trained_and_evaluated(bonus):
    arguments = ["--env=deep-sea", "--num-envs=4", f"--bonus={bonus}"]
    small = ["--replay.min_sequences=4", "--learning.batch_size=4", "--learning.bonus_batch_size=8"]
    settings, _, _ = parse([*arguments, *small], "test")
    session = Session(settings)
    session.begin()
    for progress in session:
        if any(name.startswith("loss/") and name != "loss/value" for name in progress.learned):
            break
        assert progress.steps < 4000
    state = session.agent.save(None)
    session.close()
    envs = make("deep-sea", 1, 0)
    player = FamilyPlayer(envs, settings, state, epsilon=0.0, seed=0, device=torch.device("cpu"))
    (episode,) = play(envs, player, [0], 1, max_steps=20)
    envs.close()
    assert episode.means["intrinsic_reward"] > 0
