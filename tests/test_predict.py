"""Open-loop prediction, and the command that shows it."""

import json
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from ngu import train
from ngu.open_loop import OpenLoop
from ngu.predict import main
from ngu.video import STEPS_PER_SECOND
from ngu.world.codec import make_codec

TINY = [
    *("--agent", "dreamer", "--bonus", "none", "--num-envs", 2, "--device", "cpu"),
    *("--learning.world.rssm.deterministic_size", 8, "--learning.world.rssm.hidden", 8),
    *("--learning.world.rssm.latents", 2, "--learning.world.filters", 2),
    *("--learning.world.hidden", 8, "--learning.hidden", 8, "--learning.batch_size", 2),
    *("--learning.horizon", 2, "--learning.replay_ratio", 1, "--replay.trace_length", 6),
    *("--replay.period", 3, "--replay.min_sequences", 4, "--replay.capacity_steps", 400),
]
MAZE = ["--env", "disco-maze", "--options.size", 17]


def codec_of(space):
    return make_codec(space, 4, filters=2, hidden=4, generator=torch.Generator())


def test_errors_of_pictures_by_hand():
    codec = codec_of(gym.spaces.Box(0, 255, (16, 16), np.uint8))
    seen = np.zeros((3, 2, 16, 16), np.uint8)
    seen[2, 0] = 255  # the truth of the only predicted step
    seen[2, 1] = 51
    predicted = np.full((1, 2, 16, 16), 255, np.uint8)
    alive = np.ones((3, 2), bool)
    found = OpenLoop(seen, predicted, alive, 2, codec).errors()
    assert found["model"] == pytest.approx([(0 + 0.8**2) / 2])
    assert found["last frame"] == pytest.approx([(1 + 0.2**2) / 2])
    mean = (1 + 0.2) / 6
    assert found["mean frame"] == pytest.approx([((1 - mean) ** 2 + (0.2 - mean) ** 2) / 2])


def test_an_episode_that_is_over_does_not_count():
    codec = codec_of(gym.spaces.Box(0, 255, (16, 16), np.uint8))
    seen = np.zeros((3, 2, 16, 16), np.uint8)
    predicted = np.zeros((2, 2, 16, 16), np.uint8)
    predicted[0, 1] = 255
    alive = np.array([[True, True], [True, False], [False, False]])
    found = OpenLoop(seen, predicted, alive, 1, codec).errors()["model"]
    assert found[0] == 0.0
    assert np.isnan(found[1])


def test_errors_of_grids_are_shares_of_wrong_symbols():
    codec = codec_of(gym.spaces.Box(0, 3, (2, 2), np.uint8))
    seen = np.array([[[[0, 3], [3, 3]]], [[[0, 3], [3, 2]]], [[[0, 1], [3, 2]]]], np.uint8)
    predicted = np.array([[[[0, 3], [0, 2]]]], np.uint8)
    found = OpenLoop(seen, predicted, np.ones((3, 1), bool), 2, codec).errors()
    assert found["model"] == pytest.approx([0.5])
    assert found["last frame"] == pytest.approx([0.25])
    assert found["mean frame"] == pytest.approx([0.25])  # the commonest: 0 3 / 3 2


def test_errors_of_vectors_are_of_symlog_numbers():
    codec = codec_of(gym.spaces.Box(-np.inf, np.inf, (1,), np.float32))
    seen = np.array([[[0.0]], [[np.e - 1]]], np.float32)
    predicted = np.array([[[1 - np.e]]], np.float32)
    found = OpenLoop(seen, predicted, np.ones((2, 1), bool), 1, codec).errors()
    assert found["model"] == pytest.approx([4.0])


def test_a_film_shows_truth_above_prediction():
    codec = codec_of(gym.spaces.Box(0, 255, (3, 16, 16), np.uint8))
    seen = np.full((2, 2, 3, 16, 16), 100, np.uint8)
    predicted = np.full((1, 2, 3, 16, 16), 200, np.uint8)
    film = OpenLoop(seen, predicted, np.ones((2, 2), bool), 1, codec).frames(2)
    assert [frame.shape for frame in film] == [(68, 68, 3)] * 2
    assert (film[0][:32, :32] == 100).all()
    assert (film[0][36:, :32] == 100).all()  # the context is shown as it is
    assert (film[1][36:, :32] == 200).all()
    assert (film[0][32:36, 0] != film[1][32:36, 0]).any()


@pytest.fixture
def command(run_command):
    """Runs the command in an empty folder; returns its exit code and what it wrote."""
    return partial(run_command, main)


def object_of(said: str) -> str:
    return next(line for line in said.splitlines() if line.startswith("{"))


def test_the_command_prints_errors_and_writes_a_film(command, run_command, tmp_path):
    code, said = run_command(train.main, *MAZE, *TINY, "--frames", 60, "--run-dir", "run")
    assert code == 0, said
    words = ["run", "--episodes", 3, "--context", 2, "--horizon", 4]
    code, said = command(*words, "--video", "film.gif", "--json")
    assert code == 0, said
    told = json.loads(object_of(said))
    assert told["measure"] == "mean squared error of pixels in [0, 1]"
    assert told["errors"].keys() == {"model", "last frame", "mean frame"}
    assert all(len(error) == 4 for error in told["errors"].values())
    with Image.open(tmp_path / "film.gif") as film:
        # Equal pictures are shown longer instead of twice.
        shown = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert sum(shown) / 1000 * STEPS_PER_SECOND == pytest.approx(6, rel=0.1)
    assert object_of(command(*words, "--json")[1]) == json.dumps(told)  # once more the same


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--horizon", 0], "--horizon must be at least 1, got 0"),
        (["--seed", -1], "--seed must be at least 0, got -1"),
        (["--video", "film.png"], "video must end in .mp4 or .gif"),
        ([], "a dreamer's run is expected, but the agent of run is random"),
    ],
)
def test_wrong_input_gets_a_sentence(command, run_command, words, sentence):
    train_words = ["--env", "deep-sea", "--agent", "random", "--frames", 20, "--num-envs", 2]
    assert run_command(train.main, *train_words, "--run-dir", "run")[0] == 0
    code, said = command("run", *words)
    assert code == 2
    assert sentence in " ".join(said.split())


def test_vectors_have_no_film(command, run_command):
    words = ["--env", "CartPole-v1", *TINY, "--frames", 40, "--run-dir", "run"]
    assert run_command(train.main, *words)[0] == 0
    code, said = command("run", "--video", "film.gif")
    assert code == 2
    assert "CartPole-v1 shows vectors, of which there is no film" in " ".join(said.split())
    code, said = command("run", "--episodes", 2, "--horizon", 3)
    assert code == 0
    assert "symlog" in said
