import numpy as np
import pytest

from ngu_envs.rooms import RoomCounter


def rooms(*values):
    return np.array(values, np.int32)


def flags(*values):
    return np.array(values, bool)


def test_rooms_of_training_and_of_episodes():
    counter = RoomCounter(2)
    counter.begin(rooms(1, 1))
    assert counter.total == 1
    assert counter.update(rooms(2, 1), flags(False, False)).tolist() == [2, 1]
    assert counter.update(rooms(2, 255), flags(False, False)).tolist() == [2, 2]
    assert counter.total == 3
    # Environment 0 is at its reset step: a new episode, nothing is forgotten overall.
    assert counter.update(rooms(1, 0), flags(True, False)).tolist() == [1, 3]
    assert counter.total == 4
    counter.begin(rooms(1, 1))
    assert counter.per_episode().tolist() == [1, 1]
    assert counter.total == 4


def test_a_loaded_counter_goes_on():
    counter = RoomCounter(2)
    counter.begin(rooms(1, 2))
    state = counter.state_dict()
    counter.update(rooms(3, 4), flags(False, False))
    loaded = RoomCounter(2)
    loaded.load_state_dict(state)
    assert loaded.total == 2
    assert loaded.update(rooms(3, 4), flags(False, True)).tolist() == [2, 1]
    assert loaded.total == 4
    with pytest.raises(ValueError, match="3 environments, got 2"):
        RoomCounter(3).load_state_dict(state)
