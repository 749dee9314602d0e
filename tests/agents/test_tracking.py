import copy

import numpy as np
import pytest

from ngu_agents.base import Step
from ngu_agents.loop import Progress
from ngu_agents.tracking import EpisodeTracker, MeanTracker, VisitTracker


def progress(
    reward, *, stepped=(1, 1), terminated=(0, 0), truncated=(0, 0), coverage=None, reward_int=(0, 0)
):
    step = Step(
        np.zeros((2, 1)), np.array(reward, np.float32), np.array(terminated, bool),
        np.array(truncated, bool),
    )  # fmt: skip
    info = {} if coverage is None else {"coverage": np.array(coverage, np.float32)}
    paid = np.array(reward_int, np.float32)
    return Progress(0, np.zeros(len(stepped)), step, np.array(stepped, bool), info, paid, {}, {})


def fed() -> EpisodeTracker:
    """Environment 0: 1 + 2 in two steps, then a reset, then 8 in one. Environment 1: 4 in four."""
    tracker = EpisodeTracker(2)
    tracker.update(progress((1, 1), coverage=(0.1, 0.1)))
    tracker.update(progress((2, 1), terminated=(1, 0), coverage=(0.25, 0.2)))
    tracker.update(progress((0, 1), stepped=(0, 1), coverage=(0.1, 0.3)))
    tracker.update(progress((8, 1), terminated=(1, 0), truncated=(0, 1), coverage=(0.125, 0.5)))
    return tracker


def test_episodes_by_hand():
    figures = fed().collect()
    assert figures == {
        "episodes": 3,
        "episode_return": (3 + 8 + 4) / 3,
        "episode_return_best": 8.0,
        "episode_length": (2 + 1 + 4) / 3,
        "coverage": (0.25 + 0.125 + 0.5) / 3,
    }


def test_means_are_of_the_episodes_since_the_last_log_point():
    tracker = fed()
    tracker.collect()
    assert tracker.collect() == {"episodes": 3, "episode_return_best": 8.0}
    # Both environments reset in this step: nothing of it counts.
    tracker.update(progress((0, 0), stepped=(0, 0)))
    tracker.update(progress((-1, 0), terminated=(1, 0)))
    assert tracker.collect() == {
        "episodes": 4, "episode_return": -1.0, "episode_return_best": 8.0, "episode_length": 1.0,
    }  # fmt: skip


def test_before_any_episode_there_are_only_totals():
    tracker = EpisodeTracker(2)
    tracker.update(progress((1, 1)))
    assert tracker.collect() == {"episodes": 0}


def test_the_best_return_may_be_negative():
    tracker = EpisodeTracker(2)
    tracker.update(progress((-3, -2), terminated=(1, 1)))
    assert tracker.collect()["episode_return_best"] == -2.0


def test_restart_forgets_episodes_in_progress_only():
    tracker = fed()
    tracker.update(progress((0, 0), stepped=(0, 0)))
    tracker.update(progress((7, 7)))
    tracker.restart()
    tracker.update(progress((1, 0), terminated=(1, 0)))
    figures = tracker.collect()
    assert figures["episodes"] == 4
    assert figures["episode_return"] == (3 + 8 + 4 + 1) / 4


def test_returns_do_not_round_away_small_rewards():
    tracker = EpisodeTracker(2)
    tracker.update(progress((2**25, 0)))
    tracker.update(progress((1, 0), terminated=(1, 0)))
    assert tracker.collect()["episode_return"] == 2**25 + 1


def test_a_loaded_tracker_goes_on_with_the_same_figures():
    tracker = EpisodeTracker(2)
    tracker.update(progress((1, 1), coverage=(0.1, 0.1)))
    tracker.update(progress((2, 1), terminated=(1, 0), coverage=(0.25, 0.2)))
    state = copy.deepcopy(tracker.state_dict())
    other = EpisodeTracker(2)
    other.load_state_dict(state)
    for each in (tracker, other):
        each.update(progress((0, 1), stepped=(0, 1), truncated=(0, 1), coverage=(0.1, 0.5)))
    assert other.collect() == tracker.collect()


def test_figures_are_averaged_over_the_times_they_came():
    tracker = MeanTracker()
    tracker.update({"a": 1.0, "b": 4.0})
    tracker.update({"a": 2.0})
    tracker.update({})
    state = copy.deepcopy(tracker.state_dict())
    assert tracker.collect() == {"a": 1.5, "b": 4.0}
    assert tracker.collect() == {}
    tracker.update({"a": 7.0})
    assert tracker.collect() == {"a": 7.0}
    other = MeanTracker()
    other.load_state_dict(state)
    other.update({"a": 6.0})
    assert other.collect() == {"a": 3.0, "b": 4.0}


def test_visits_by_hand():
    tracker = VisitTracker(2)
    tracker.begin(np.array([0.1, 0.1], np.float32))
    # Environment 0: a new cell, a repeat, a wall; then its reset. Environment 1: two new, a repeat.
    tracker.update(progress((0, 0), coverage=(0.2, 0.2), reward_int=(8, 6)))
    state = copy.deepcopy(tracker.state_dict())
    other = VisitTracker(2)
    other.load_state_dict(state)
    for each in (tracker, other):
        each.update(progress((0, 0), coverage=(0.2, 0.3), reward_int=(0.5, 4)))
        each.update(progress((0, 0), coverage=(0.2, 0.3), reward_int=(5, 0.7), terminated=(1, 0)))
        each.update(progress((0, 0), coverage=(0.1, 0.4), reward_int=(0, 10), stepped=(0, 1)))
        each.update(progress((0, 0), coverage=(0.2, 0.4), reward_int=(2, 0.3)))
        assert each.collect() == pytest.approx(
            {
                "intrinsic_reward/first_visit": (8 + 6 + 4 + 10 + 2) / 5,
                "intrinsic_reward/revisit": (0.5 + 0.7 + 0.3) / 3,
            }
        )
        assert each.collect() == {}
