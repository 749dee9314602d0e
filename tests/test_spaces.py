import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu.spaces import ActionSpec, ObservationSpec, check_where

IMAGES = gym.spaces.Box(0, 255, (1, 84, 84), np.uint8)
VECTORS = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)


@pytest.mark.parametrize(
    ("shape", "kind", "image_shape"),
    [
        ((1, 84, 84), "image", (1, 84, 84)),
        ((84, 84, 3), "image", (3, 84, 84)),
        ((40, 60), "image", (1, 40, 60)),
        ((210, 35, 3), "grid", (3, 210, 35)),
        ((7, 7, 3), "grid", (3, 7, 7)),
        ((4, 8, 4), "grid", (4, 8, 4)),  # a tie: the first axis
        ((9, 8, 5), "grid", (5, 9, 8)),  # neither is small: the smaller one
    ],
)
def test_kind_and_channels(shape, kind, image_shape):
    spec = ObservationSpec(gym.spaces.Box(0, 255, shape, np.uint8))
    assert spec.kind == kind
    assert spec.image_shape == image_shape


@pytest.mark.parametrize(
    ("space", "scale"),
    [
        (IMAGES, 1 / 255),
        (gym.spaces.Box(0, 10, (7, 7, 3), np.uint8), 1 / 10),
        (gym.spaces.Box(-20, 10, (7,), np.int64), 1 / 20),
        (gym.spaces.Box(0, np.iinfo(np.int64).max, (7,), np.int64), 1.0),
        (VECTORS, 1.0),
    ],
)
def test_scale_comes_from_the_bounds(space, scale):
    assert ObservationSpec(space).scale == pytest.approx(scale)


def test_arrays_are_not_copied():
    frames = np.zeros((2, 1, 84, 84), np.uint8)
    tensor = ObservationSpec(IMAGES).check(frames, "obs", 2)
    frames[1, 0, 3, 4] = 9
    assert tensor[1, 0, 3, 4] == 9


def test_read_only_and_reversed_arrays_are_taken():
    frames = np.arange(6, dtype=np.float32).reshape(2, 3)
    frames.flags.writeable = False
    spec = ObservationSpec(VECTORS)
    assert spec.check(frames, "obs").tolist() == frames.tolist()
    assert spec.check(frames[::-1], "obs").tolist() == frames[::-1].tolist()


@pytest.mark.parametrize(
    ("space", "value", "error", "message"),
    [
        (IMAGES, [[1]], TypeError, "obs_t must be a numpy array or a tensor, got list"),
        (
            IMAGES,
            np.zeros((2, 84, 84), np.uint8),
            ValueError,
            r"shape \[2, 1, 84, 84\], got \[2, 8",
        ),
        (
            IMAGES,
            np.zeros((3, 1, 84, 84), np.uint8),
            ValueError,
            r"shape \[2, 1, 84, 84\], got \[3",
        ),
        (IMAGES, np.zeros((2, 1, 84, 84), np.float32), TypeError, "dtype uint8.*got float32"),
        (VECTORS, np.zeros((2, 3)), TypeError, "dtype float32.*got float64"),
        (VECTORS, np.float32([[0, 0, np.nan]] * 2), ValueError, "obs_t must be finite, got a NaN"),
        (VECTORS, np.float32([[0, 0, np.inf]] * 2), ValueError, "finite, got an infinity"),
        (VECTORS, np.array([["a"] * 3] * 2), TypeError, "array of numbers, got dtype"),
        (gym.spaces.Discrete(4), np.array([0, 4]), ValueError, r"within 0 to 3, got \[0, 4\]"),
        (gym.spaces.Discrete(4), np.array([0.0, 1.0]), TypeError, "must be integers, got float64"),
    ],
)
def test_wrong_observations_are_refused(space, value, error, message):
    with pytest.raises(error, match=message) as caught:
        ObservationSpec(space).check(value, "obs_t", 2)
    assert str(caught.value).startswith("obs_t must ")


def test_wrong_device_is_refused():
    value = torch.zeros((2, 3), device="meta")
    with pytest.raises(ValueError, match="obs_t must be on device cpu, got meta"):
        ObservationSpec(VECTORS).check(value, "obs_t", 2, torch.device("cpu"))


def test_one_hot_of_discrete_with_a_start():
    spec = ActionSpec(gym.spaces.Discrete(3, start=5))
    actions = spec.check(np.array([5, 7]), "action_tm1", 2)
    assert spec.size == 3
    assert spec.index(actions).tolist() == [0, 2]
    assert spec.encode(actions).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert spec.encode(actions.reshape(2, 1)).shape == (2, 1, 3)


def test_multi_discrete_encoding():
    spec = ActionSpec(gym.spaces.MultiDiscrete([2, 3], start=[1, -1]))
    actions = spec.check(np.array([[2, -1], [1, 1]]), "action_tm1", 2)
    assert spec.size == 5
    assert spec.encode(actions).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_box_encoding():
    spec = ActionSpec(gym.spaces.Box(-1, 1, (2, 2), np.float32))
    actions = spec.check(np.linspace(-1, 1, 8).reshape(2, 2, 2), "action_tm1", 2)
    assert spec.size == 4
    assert spec.encode(actions).shape == (2, 4)
    assert spec.encode(actions).dtype == torch.float32


@pytest.mark.parametrize(
    ("space", "value", "error", "message"),
    [
        (
            gym.spaces.Discrete(3, start=5),
            np.array([4, 5]),
            ValueError,
            r"within 5 to 7, got \[4, 5",
        ),
        (gym.spaces.Discrete(3), np.array([0.0, 1.0]), TypeError, "must be integers"),
        (gym.spaces.Discrete(3), np.array([True, False]), TypeError, "must be integers, got bool"),
        (gym.spaces.Discrete(3), np.array([[0], [1]]), ValueError, r"shape \[2\], got \[2, 1\]"),
        (
            gym.spaces.MultiDiscrete([2, 3]),
            np.array([[0, 3], [0, 0]]),
            ValueError,
            "inside the act",
        ),
        (gym.spaces.Box(-1, 1, (1,)), np.array([[0.0], [1.5]]), ValueError, "inside the action"),
        (gym.spaces.Box(-1, 1, (1,)), np.array([[0.0], [np.nan]]), ValueError, "got a NaN"),
        (gym.spaces.Box(-1, 1, (1,)), np.array([[0], [1]]), TypeError, "must be floats, got int64"),
    ],
)
def test_wrong_actions_are_refused(space, value, error, message):
    with pytest.raises(error, match=message) as caught:
        ActionSpec(space).check(value, "action_tm1", 2)
    assert str(caught.value).startswith("action_tm1 must ")


@pytest.mark.parametrize(
    "space", [gym.spaces.Dict({"a": gym.spaces.Discrete(2)}), gym.spaces.Box(0, 3, (2,), np.int64)]
)
def test_unread_action_spaces_name_a_wrapper(space):
    with pytest.raises(TypeError, match=r"gymnasium\.wrappers"):
        ActionSpec(space)


def test_masks():
    assert check_where(None, 2, "where") is None
    mask = check_where(np.array([True, False]), 2, "where")
    assert mask is not None
    assert mask.tolist() == [True, False]
    with pytest.raises(TypeError, match="where must be of dtype bool, got int64"):
        check_where(np.array([1, 0]), 2, "where")
    with pytest.raises(ValueError, match=r"where must have shape \[2\], got \[3\]"):
        check_where(np.array([True] * 3), 2, "where")
    with pytest.raises(TypeError, match="where must be a numpy array or a tensor, got list"):
        check_where([True, False], 2, "where")
