import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def reference():
    """The slow reference beside this file, which is no package."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("novelty_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def montezuma():
    """10,240 real frames under random actions: frames [T + 1, E, ...], actions, stepped [T, E]."""
    import ale_py.vector_env

    num_envs, steps = 32, 320
    envs = ale_py.vector_env.AtariVectorEnv(
        "montezuma_revenge",
        num_envs=num_envs,
        frameskip=4,
        stack_num=1,
        repeat_action_probability=0.0,
        full_action_space=True,
    )
    assert envs.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    rng = np.random.default_rng(0)
    frames = [envs.reset(seed=0)[0].copy()]
    actions, stepped = [], []
    done = np.zeros(num_envs, bool)
    for _ in range(steps):
        actions.append(rng.integers(envs.single_action_space.n, size=num_envs))
        obs, _, terminated, truncated, _ = envs.step(actions[-1])
        frames.append(obs.copy())
        stepped.append(~done)
        done = terminated | truncated
    spaces = envs.single_observation_space, envs.single_action_space
    envs.close()
    return *spaces, np.stack(frames), np.stack(actions), np.stack(stepped)
