import os
import signal
import subprocess
import sys
import time

import ale_py
import numpy as np
import psutil
import pytest
from ale_py.vector_env import AtariVectorEnv

from ngu_envs import AtariConfig, WorkerDiedError, atari_wire, make
from ngu_envs.atari import PROTOCOLS
from ngu_envs.atari_frames import AreaResize
from ngu_envs.atari_names import ROM_OF_GAME, ROOM_BYTES
from ngu_envs.atari_ram import RAM_LABELS
from ngu_envs.labels import label_meanings, labels_of


def actions_of(envs, steps, seed=0):
    n = int(envs.single_action_space.n)
    return np.random.default_rng(seed).integers(0, n, size=(steps, envs.num_envs))


def outputs(envs, actions):
    return [
        tuple(np.asarray(part).copy() for part in (*step[:4], step[4]["lives"]))
        for step in map(envs.step, actions)
    ]


def same(run, other, who=slice(None)):
    return all(
        np.array_equal(a[who], b[who])
        for step, step_of_other in zip(run, other, strict=True)
        for a, b in zip(step, step_of_other, strict=True)
    )


def gone(pid, seconds=20):
    """Whether a process ends within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("game", ["MontezumaRevenge", "Breakout"])
def test_frames_and_rewards_are_those_of_ale_pys_vector_environment(game):
    ours = make(game, 2, 0, noop_max=0, frame_stack=4, full_action_set=False, num_workers=1)
    theirs = AtariVectorEnv(
        ROM_OF_GAME[game], 2, num_threads=1, noop_max=0, use_fire_reset=False, reward_clipping=False
    )
    actions = actions_of(ours, 500)
    assert ours.single_action_space == theirs.single_action_space
    assert ours.single_observation_space == theirs.single_observation_space
    pairs = [(ours.reset()[0], theirs.reset(seed=0)[0])]
    rewards, ends = 0.0, 0
    for action in actions:
        mine, reward, terminated, _, info = ours.step(action)
        other, other_reward, other_terminated, _, other_info = theirs.step(action)
        assert np.array_equal(reward, other_reward)
        assert np.array_equal(terminated, other_terminated)
        assert np.array_equal(info["lives"], other_info["lives"])
        rewards += float(reward.sum())
        ends += int(terminated.sum())
        # At an end in the middle of an action theirs repeats older frames, ours shows the last.
        pairs.append((mine[~terminated], other[~terminated]))
        if terminated.any():
            break
    assert ends > 0
    if game == "Breakout":
        assert rewards > 0
    mine, other = (np.concatenate(part).astype(int) for part in zip(*pairs, strict=True))
    difference = np.abs(mine - other)
    # Only means that lie between two grey levels may be rounded otherwise.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4
    ours.close()


def test_what_happens_does_not_depend_on_workers_or_on_the_number_of_environments():
    options = {"sticky_probability": 0.25, "max_steps": 30}
    runs = []
    for num_envs, num_workers in [(3, 1), (3, 3), (2, 1)]:
        envs = make("SpaceInvaders", num_envs, 7, num_workers=num_workers, **options)
        assert len(envs.unwrapped.worker_pids) == num_workers
        start = envs.reset()[0]
        actions = actions_of(envs, 1)[0, 0] + np.zeros((70, num_envs), np.int64)
        runs.append([(start,), *outputs(envs, actions)])
        envs.close()
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2], slice(0, 2))
    # Each environment has its own no-ops and sticky actions.
    assert not np.array_equal(runs[0][40][0][0], runs[0][40][0][1])


def test_a_state_can_be_loaded_with_another_number_of_workers():
    options = {"protocol": "sticky", "noop_max": 10, "max_steps": 25}
    envs = make("Pong", 3, 1, num_workers=1, **options)
    actions = actions_of(envs, 90)
    envs.reset()
    outputs(envs, actions[:40])
    state = envs.state_dict()
    rest = outputs(envs, actions[40:])
    envs.close()
    loaded = make("Pong", 3, 2, num_workers=2, **options)
    loaded.load_state_dict(state)
    assert same(outputs(loaded, actions[40:]), rest)
    loaded.close()
    other = make("Pong", 3, 2, num_workers=1)
    with pytest.raises(ValueError, match="other settings"):
        other.load_state_dict(state)
    other.close()


@pytest.mark.parametrize("rom", ROOM_BYTES)
def test_rooms_are_read_from_the_games_memory(rom):
    game = next(name for name, known in ROM_OF_GAME.items() if known == rom)
    envs = make(game, 1, 0, noop_max=0, num_workers=1)
    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    path = ale_py.roms.get_rom_path(rom)
    assert path is not None
    emulator.loadROM(path)
    emulator.reset_game()
    assert envs.metadata["progress"] == "room"
    info = envs.reset()[1]
    assert info["room"].dtype == np.int32
    seen = {int(info["room"][0])}
    legal = emulator.getLegalActionSet()
    left = legal.index(ale_py.Action.LEFT)
    for _ in range(150):
        info = envs.step(np.array([left]))[4]
        for _ in range(4):
            emulator.act(legal[left])
        assert info["room"][0] == emulator.getRAM()[ROOM_BYTES[rom]]
        seen.add(int(info["room"][0]))
    if rom in ("private_eye", "pitfall"):  # games where left leads out of the first screen
        assert len(seen) > 1
    if rom == "montezuma_revenge":
        assert 1 in seen
    envs.close()


def test_a_game_without_rooms_and_with_a_taller_picture():
    envs = make("Pooyan", 2, 0, num_workers=1, full_action_set=False)
    observation, info = envs.reset()
    assert observation.shape == (2, 1, 84, 84)
    assert sorted(info) == ["lives", "ram"]
    assert envs.metadata["progress"] is None
    envs.close()


@pytest.mark.parametrize(("name", "rows"), [("MontezumaRevenge", 210), ("Pooyan", 220)])
def test_the_consoles_picture_comes_where_it_is_asked_for(name, rows):
    envs = make(name, 3, 0, num_workers=2, screens=True)
    observation, info = envs.reset()
    assert info["screen"].shape == (3, rows, 160, 3)
    resize = AreaResize(rows)
    # The console's grey levels are these weights' of its colours, rounded.
    grey_of = np.array([0.2989, 0.5870, 0.1140])
    for _ in range(20):
        observation, _, _, _, info = envs.step(np.full(3, 3))
        for screen, frame in zip(info["screen"], observation[:, 0], strict=True):
            grey = resize(np.rint(screen @ grey_of).astype(np.uint8))
            # The brighter of two frames in each colour is no darker than the brighter grey.
            assert np.abs(grey.astype(int) - frame).mean() < 0.5
    envs.close()


def test_the_consoles_memory_is_that_of_the_state():
    envs = make("MontezumaRevenge", 2, 0, num_workers=1)
    _, info = envs.reset()
    assert info["ram"].shape == (2, 128)
    labels = labels_of(envs, info)
    assert labels["room"].tolist() == [1, 1] == info["room"].tolist()
    assert set(labels) == set(label_meanings(envs, info)) == set(RAM_LABELS["montezuma_revenge"])
    before = labels["player_x"]
    for _ in range(5):
        _, _, _, _, info = envs.step(np.full(2, 3))
    assert (labels_of(envs, info)["player_x"] > before).all()  # action 3 walks to the right
    assert labels_of(envs, info)["num_lives"].tolist() == [5, 5]
    envs.close()


def test_protocols():
    assert AtariConfig().settings == PROTOCOLS["paper"]
    assert AtariConfig(protocol="sticky").settings == PROTOCOLS["sticky"]
    changed = AtariConfig(protocol="sticky", frame_stack=1, noop_max=5).settings
    assert (changed.frame_stack, changed.noop_max, changed.sticky_probability) == (1, 5, 0.25)
    assert PROTOCOLS["paper"].max_steps * PROTOCOLS["paper"].action_repeat == 30 * 60 * 60


def test_time_limit_and_stack_after_a_reset():
    envs = make("Pong", 1, 0, num_workers=1, max_steps=3, frame_stack=3, noop_max=0)
    observation, _ = envs.reset()
    assert not observation[0, :2].any()
    assert observation[0, 2].any()
    ends = []
    for _ in range(4):
        previous = observation
        observation, _, terminated, truncated, _ = envs.step(np.array([3]))
        ends.append((bool(terminated[0]), bool(truncated[0])))
        if len(ends) < 4:
            assert np.array_equal(observation[0, :2], previous[0, 1:])
    assert ends == [(False, False), (False, False), (False, True), (False, False)]
    assert not observation[0, :2].any()
    envs.close()


def test_a_killed_worker_is_named():
    envs = make("Pong", 3, 0, num_workers=2)
    envs.reset()
    pid = envs.unwrapped.worker_pids[1]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match=rf"worker {pid} of environments 1 to 2 ended .* -9"):
        envs.step(np.zeros(3, np.int64))
    envs.close()


def test_an_interrupted_step_cannot_be_mistaken_for_the_next(monkeypatch):
    envs = make("Pong", 2, 0, num_workers=1)
    envs.reset()
    real = atari_wire.read_into

    def interrupt(descriptor, buffer):
        raise KeyboardInterrupt

    monkeypatch.setattr(atari_wire, "read_into", interrupt)
    with pytest.raises(KeyboardInterrupt):
        envs.step(np.zeros(2, np.int64))
    monkeypatch.setattr(atari_wire, "read_into", real)
    with pytest.raises(RuntimeError, match="interrupted"):
        envs.step(np.zeros(2, np.int64))
    envs.close()


def test_workers_end_with_their_environments():
    envs = make("Pong", 2, 0, num_workers=2)
    envs.reset()
    pids = envs.unwrapped.worker_pids
    envs.close()
    assert all(gone(pid, 0.1) for pid in pids)
    with pytest.raises(RuntimeError, match="closed"):
        envs.step(np.zeros(2, np.int64))
    envs.close()


def test_workers_end_with_a_killed_parent():
    script = (
        "import time; from ngu_envs import make\n"
        "e = make('Pong', 2, 0, num_workers=2); e.reset()\n"
        "print(*e.worker_pids, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in pids)
