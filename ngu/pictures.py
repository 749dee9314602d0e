"""What a recorded episode looked like, in colour: it is played once more where it can be drawn.

Agents see small grey frames; people would rather see the game. A recording holds where its episode
began and what was done, so the same episode can be run again beside the training environments, in
one that draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from gymnasium.vector import VectorEnv
from jaxtyping import UInt8

from ngu.evaluation import Recording
from ngu.observed_pictures import picture_of
from ngu.settings import SettingsError, TrainSettings
from ngu_envs.atari import AtariEnvs
from ngu_envs.classic_control import ClassicControl
from ngu_envs.registered import SeededVectorEnv

Picture = UInt8[np.ndarray, "height width 3"]

_WIDTH = 420
# The console's pixels are about twice as wide as they are high.
_ATARI_ZOOM = (2, 3)


def draws(envs: VectorEnv) -> bool:
    """Whether `pictures` can show episodes of these environments."""
    space = envs.single_observation_space
    if isinstance(envs, ClassicControl):
        return True
    if isinstance(envs, SeededVectorEnv):
        return "rgb_array" in (envs.metadata.get("render_modes") or [])
    return isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 3


def pictures(recording: Recording, envs: VectorEnv, settings: TrainSettings) -> Iterator[Picture]:
    """Yield a picture of the state after each step of a recorded episode.

    Args:
        recording: Of the episode.
        envs: That it was played in, in their first round; they may be closed.
        settings: That the environments were made with.

    Raises:
        SettingsError: The environment cannot be drawn, or the episode does not repeat; says why.
    """
    if isinstance(envs, AtariEnvs):
        return _atari(recording, envs)
    if isinstance(envs, SeededVectorEnv | ClassicControl):
        return _rendered(recording, envs, settings)
    return _observations(recording, envs.single_observation_space)


def _observations(recording: Recording, space: gymnasium.Space[Any]) -> Iterator[Picture]:
    """Observations, their largest value white; other than 3 channels as the last one."""
    assert isinstance(space, gymnasium.spaces.Box)
    for observed in recording.observations:
        yield _enlarged(picture_of(observed, space))


def _atari(recording: Recording, envs: AtariEnvs) -> Iterator[Picture]:
    """The console's own screen, from an emulator of our own that is set to the same state.

    As in the observations, the brighter of an action's last two frames: many games draw some
    things in every second frame only.
    """
    assert recording.initial_state is not None
    settings = envs.config.settings
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", settings.sticky_probability)
    emulator.loadROM(str(roms.get_rom_path(envs.rom)))
    game = recording.initial_state["games"][recording.env]
    # It holds the emulator's random numbers too, so sticky actions fall as they did.
    emulator.restoreState(ale_py.ALEState(game["emulator"].tobytes()))
    full = settings.full_action_set
    actions = emulator.getLegalActionSet() if full else emulator.getMinimalActionSet()
    for action, reward in zip(recording.actions, recording.rewards, strict=True):
        paid = 0.0
        screens: list[np.ndarray] = []
        for frame in range(settings.action_repeat):
            paid += emulator.act(actions[action])
            over = emulator.game_over(with_truncation=False)
            if frame >= settings.action_repeat - 2 or over:
                screens.append(emulator.getScreenRGB())
            if over:
                break
        _compare(paid, reward)
        picture = np.maximum(screens[0], screens[-1])
        yield picture.repeat(_ATARI_ZOOM[0], 0).repeat(_ATARI_ZOOM[1], 1)


def _rendered(
    recording: Recording, envs: SeededVectorEnv | ClassicControl, settings: TrainSettings
) -> Iterator[Picture]:
    """What the environment itself draws, begun with the same seed or in the same state."""
    env: gymnasium.Env[Any, Any] | None = None
    try:
        env = gymnasium.make(settings.env, render_mode="rgb_array", **(settings.options or {}))
        env.reset(seed=envs.initial_seed + recording.env)
        if isinstance(envs, ClassicControl):
            assert recording.initial_state is not None
            begun: Any = env.unwrapped
            begun.state = recording.initial_state["arrays"]["state"][recording.env].copy()
        for action, reward in zip(recording.actions, recording.rewards, strict=True):
            _, paid, _, _, _ = env.step(action)
            _compare(float(paid), reward)
            yield _enlarged(np.asarray(env.render(), dtype=np.uint8))
    except gymnasium.error.Error as error:
        raise SettingsError(f"{settings.env} cannot be drawn: {error}") from error
    finally:
        if env is not None:
            env.close()


def _compare(paid: float, reward: float) -> None:
    if np.float32(paid) != np.float32(reward):
        raise SettingsError(
            f"the episode did not repeat: a step paid {paid} that had paid {reward}, so the "
            "environment does more than its seed and its actions decide and cannot be drawn"
        )


def _enlarged(picture: Picture) -> UInt8[np.ndarray, "zoomed_height zoomed_width 3"]:
    """A picture about 420 wide, each pixel as a square."""
    zoom = max(1, round(_WIDTH / picture.shape[1]))
    return picture.repeat(zoom, 0).repeat(zoom, 1)
