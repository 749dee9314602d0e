import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from ngu_envs import (
    AtariConfig,
    DeepSeaConfig,
    config_type,
    environment_family,
    is_restorable,
    known_names,
    make,
)
from ngu_envs.atari_names import ROM_OF_GAME


def test_families():
    expected = {
        "MontezumaRevenge": "atari",
        "TicTacToe3D": "atari",
        "disco-maze": "disco-maze",
        "deep-sea": "deep-sea",
        "noisy-tv": "noisy-tv",
        "crafter": "image",
        "MiniGrid-DoorKey-8x8-v0": "grid",
        "CartPole-v1": "vector",
        "Pendulum-v1": "vector",
    }
    assert {name: environment_family(name) for name in expected} == expected
    with pytest.raises(ValueError, match="FrozenLake-v1 observes Discrete"):
        environment_family("FrozenLake-v1")


def test_known_names():
    names = known_names()
    assert len(names) == len(set(names))
    assert {"MontezumaRevenge", "disco-maze", "CartPole-v1", "MiniGrid-Empty-5x5-v0"} <= set(names)
    assert ROM_OF_GAME["MontezumaRevenge"] == "montezuma_revenge"
    assert len(ROM_OF_GAME) >= 100


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("montezuma", "MontezumaRevenge"),
        ("MontezumaRevange", "MontezumaRevenge"),
        ("disco_maze", "disco-maze"),
        ("CartPole-v7", "CartPole-v1"),
        ("MiniGrid-DoorKey-8x8", "MiniGrid-DoorKey-8x8-v0"),
    ],
)
@pytest.mark.parametrize("call", [lambda n: make(n, 1, 0), environment_family, config_type])
def test_an_unknown_name_lists_the_closest(wrong, right, call):
    with pytest.raises(ValueError, match=f"no environment is called '{wrong}'.* {right}"):
        call(wrong)


def test_no_name_is_close():
    with pytest.raises(ValueError, match="no name is close"):
        make("?!?!?!", 1, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("disco-maze", {"sise": 5}, "no option 'sise'; it has size, max_steps"),
        ("disco-maze", {"size": 4}, "size must be at least 5, got 4"),
        ("disco-maze", {"size": 8}, "size must be odd, got 8"),
        ("disco-maze", {"max_steps": 0}, "max_steps must be at least 1"),
        ("deep-sea", {"size": 1}, "size must be at least 2, got 1"),
        ("noisy-tv", {"size": 3}, "no option 'size'; it has max_steps"),
        ("crafter", {"size": 17}, "size must be at least 18, got 17"),
        ("crafter", {"area": 8}, "area must be at least 9, got 8"),
        ("crafter", {"length": 0}, "length must be at least 1, got 0"),
        ("crafter", {"view": 9}, "no option 'view'; it has reward, size, area, length"),
        ("Pong", {"sticky_probability": 2.0}, r"in \[0, 1\], got 2.0"),
        ("Pong", {"frame_stack": 0}, "frame_stack must be at least 1"),
        ("Pong", {"num_workers": 0}, "num_workers must be at least 1"),
        ("Pong", {"frames": 3}, "no option 'frames'; it has protocol"),
        ("CartPole-v1", {"gravity": 3}, "no option 'gravity'; it has max_episode"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, 1, 0, **options)


@pytest.mark.parametrize("name", ["disco-maze", "crafter", "Pong", "CartPole-v1"])
def test_wrong_numbers_are_named(name):
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make(name, 0, 0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        make(name, 1, -1)


def test_wrong_types_are_named():
    """In a process of its own: here the annotations are checked before the library can."""
    script = """
from ngu_envs import make
for arguments, options in [
    (("disco-maze", 1, 0), {"size": "8"}),
    (("disco-maze", 1, 0), {"colour_noise": 1}),
    (("Pong", 1, 0), {"protocol": "papers"}),
    (("Pong", 1, 0), {"sticky_probability": "x"}),
    (("Pong", 2.0, 0), {}),
    (("CartPole-v1", 1, "0"), {}),
]:
    try:
        make(*arguments, **options)
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.splitlines() == [
        "TypeError: size must be an integer, got '8'",
        "TypeError: colour_noise must be true or false, got 1",
        "ValueError: protocol must be one of ['paper', 'sticky'], got 'papers'",
        "TypeError: sticky_probability must be a probability, got 'x'",
        "TypeError: num_envs must be an integer, got 2.0",
        "TypeError: seed must be an integer, got '0'",
    ]


def test_config_types():
    assert config_type("deep-sea") is DeepSeaConfig
    assert config_type("Venture") is AtariConfig
    assert config_type("CartPole-v1") is None


def test_gymnasium_options_reach_the_environment():
    envs = make("CartPole-v1", 2, 0, max_episode_steps=3)
    envs.reset()
    ends = [bool(envs.step(np.array([i % 2, i % 2]))[3][0]) for i in range(4)]
    assert ends == [False, False, True, False]
    assert envs.metadata["progress"] is None


def test_minigrid_shows_its_picture_alone():
    envs = make("MiniGrid-DoorKey-8x8-v0", 2, 0)
    assert not is_restorable(envs)
    space = envs.single_observation_space
    assert (space.shape, space.dtype, int(space.high.max())) == ((7, 7, 3), np.uint8, 10)
    observation, _ = envs.reset()
    assert observation.shape == (2, 7, 7, 3)
    assert observation.max() <= 10


@pytest.mark.parametrize(
    ("package", "env"), [("minigrid", "MiniGrid-DoorKey-8x8-v0"), ("crafter", "crafter")]
)
def test_a_missing_extra_is_named(monkeypatch, package, env):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else real(name)
    )
    with pytest.raises(ImportError, match=r'pip install "never-give-up\[envs\]"'):
        make(env, 1, 0)
