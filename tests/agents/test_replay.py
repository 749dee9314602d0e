"""The sequence replay against a model that keeps every step ever taken in a list."""

import dataclasses

import gymnasium
import numpy as np
import psutil
import pytest
import torch

from ngu.checkpoint import DamagedCheckpoint
from ngu_agents import replay_files
from ngu_agents.replay import ReplayConfig, SequenceReplay
from ngu_agents.replay_layout import ReplayLayout, nbytes_for

CONFIG = ReplayConfig(
    capacity_steps=60,
    capacity_gb=None,
    trace_length=5,
    period=3,
    burn_in=2,
    priority_exponent=0.9,
    importance_exponent=0.6,
    min_sequences=1,
)
FRAME = (2, 3)
HIDDEN = 4


class World:
    """Environments that reset by a step of their own, an agent at random, and all they ever did."""

    def __init__(self, num_envs, seed=0, stack=1, padding="repeat", action_shape=(), end=0.15):
        self.num_envs, self.stack, self.padding, self.end = num_envs, stack, padding, end
        self.action_shape = action_shape
        self.generator = np.random.default_rng(seed)
        self.slots = []
        self.done = np.zeros(num_envs, bool)
        self.policy = np.zeros(num_envs, np.int64)

    def step(self):
        """The next slot, as the keywords of `add`."""
        draw, num_envs = self.generator, self.num_envs
        first = np.ones(num_envs, bool) if not self.slots else self.was_done
        self.policy = np.where(first, draw.integers(0, 9, num_envs), self.policy)
        resets = self.done & ~first
        ends = (draw.random(num_envs) < self.end) & ~resets
        by_limit = draw.random(num_envs) < 0.5
        slot = {
            "frame": draw.integers(0, 256, (num_envs, *FRAME)).astype(np.uint8),
            "first": first,
            "action": draw.integers(1, 9, (num_envs, *self.action_shape)),
            "behaviour_probability": draw.uniform(0.1, 1, num_envs).astype(np.float32),
            "reward_ext": np.where(resets, 0, draw.normal(size=num_envs)).astype(np.float32),
            "reward_int": np.where(resets, 0, draw.normal(size=num_envs)).astype(np.float32),
            "terminated": ends & ~by_limit,
            "truncated": ends & by_limit,
            "policy": self.policy.copy(),
            "recurrent_state": draw.normal(size=(2, num_envs, HIDDEN)).astype(np.float32),
            "resets": resets,
        }
        self.slots.append(slot)
        self.was_done, self.done = resets, ends
        # A reset step leads to a first observation.
        arguments = {k: v for k, v in slot.items() if k not in ("frame", "resets")}
        t = len(self.slots) - 1
        observation = np.stack([self.observation(t, e) for e in range(num_envs)])
        return {"observation": observation, **arguments}

    def observation(self, t, env):
        """What the environment showed, its stack built frame by frame."""
        if self.stack == 1:
            return self.slots[t]["frame"][env]
        frames, at_first = [], False
        for _ in range(self.stack):
            frame = self.slots[t]["frame"][env]
            frames.append(np.zeros_like(frame) if at_first and self.padding == "zero" else frame)
            at_first = at_first or self.slots[t]["first"][env]
            t = t if at_first else t - 1
        return np.stack(frames[::-1])

    def space(self):
        shape = FRAME if self.stack == 1 else (self.stack, *FRAME)
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)

    def make_replay(self, config=CONFIG, seed=1):
        return SequenceReplay(
            config,
            num_envs=self.num_envs,
            observation_space=self.space(),
            recurrent_size=HIDDEN,
            generator=np.random.default_rng(seed),
            action_shape=self.action_shape,
            stack=self.stack,
            stack_padding=self.padding,
        )

    def drawable(self, replay):
        """Ids of the sequences that the ring holds whole, with what comes before them."""
        config, history = replay.config, max(1, self.stack - 1)
        written = len(self.slots)
        held = range(max(0, written - replay.capacity_steps // self.num_envs), written)
        ids = set()
        for number in range(written):
            start = number * config.period
            last = start + config.burn_in + config.trace_length
            if last in held and max(0, start - history) in held:
                ids |= {number * self.num_envs + env for env in range(self.num_envs)}
        return ids

    def check(self, batch, config=CONFIG):
        """Compares each number of a batch with what happened."""
        steps = config.burn_in + config.trace_length
        assert batch.observation.shape[:2] == (steps + 1, len(batch.ids))
        for b, sequence in enumerate(batch.ids):
            number, env = divmod(int(sequence), self.num_envs)
            start = number * config.period
            state = self.slots[start]["recurrent_state"][:, env]
            np.testing.assert_array_equal(batch.recurrent_state[:, b], state)
            for i in range(steps + 1):
                slot, t = self.slots[start + i], start + i
                np.testing.assert_array_equal(batch.observation[i, b], self.observation(t, env))
                assert batch.first[i, b] == slot["first"][env]
                assert batch.policy[i, b] == slot["policy"][env]
                for name in ("action", "reward_ext", "reward_int"):
                    before = getattr(batch, f"{name}_tm1")[i, b]
                    if slot["first"][env]:
                        assert not np.any(before)
                    else:
                        np.testing.assert_array_equal(before, self.slots[t - 1][name][env])
                if i < steps:
                    for name in (
                        "action",
                        "behaviour_probability",
                        "reward_ext",
                        "reward_int",
                        "terminated",
                        "truncated",
                    ):
                        np.testing.assert_array_equal(getattr(batch, name)[i, b], slot[name][env])
                    assert batch.valid[i, b] != slot["resets"][env]


@pytest.mark.parametrize(
    ("num_envs", "stack", "padding", "burn_in", "action_shape"),
    [
        (1, 1, "repeat", 0, ()),
        (3, 1, "repeat", 2, (2,)),
        (3, 4, "repeat", 2, ()),
        (2, 5, "zero", 0, ()),
        (2, 2, "zero", 2, ()),
    ],
)
def test_every_batch_is_what_happened(num_envs, stack, padding, burn_in, action_shape):
    world = World(num_envs, stack=stack, padding=padding, action_shape=action_shape)
    config = dataclasses.replace(CONFIG, burn_in=burn_in, capacity_steps=24 * num_envs)
    replay = world.make_replay(config)
    priorities = np.random.default_rng(2)
    seen = {True: 0, False: 0}
    for _ in range(150):
        replay.add(**world.step())
        drawable = world.drawable(replay)
        assert replay.num_sequences == len(drawable)
        if not drawable:
            continue
        batch = replay.sample(8)
        assert set(batch.ids.tolist()) <= drawable
        world.check(batch, config)
        seen[True] += batch.valid.sum()
        seen[False] += (~batch.valid).sum()
        replay.update_priorities(batch.ids, priorities.uniform(0.1, 2, 8))
    assert all(count > 500 for count in seen.values())


@pytest.mark.parametrize("stack", [1, 6])
def test_every_sequence_is_drawn(stack):
    """With a period of 1 and stacks longer than it, from the first sequence on."""
    world = World(2, stack=stack)
    config = dataclasses.replace(
        CONFIG, period=1, capacity_steps=40, trace_length=3, priority_exponent=0.0
    )
    replay = world.make_replay(config)
    for _ in range(45):
        replay.add(**world.step())
        drawable = world.drawable(replay)
        if drawable and len(world.slots) % 3 == 0:
            batch = replay.sample(4 * len(drawable))
            assert set(batch.ids.tolist()) == drawable
            world.check(batch, config)


@pytest.mark.parametrize(
    ("stack", "padding", "action_shape"), [(1, "repeat", ()), (4, "repeat", (2,)), (3, "zero", ())]
)
@pytest.mark.parametrize("slots", [12, 50])
def test_every_step_is_drawn_equally_often(stack, padding, action_shape, slots):
    world = World(2, stack=stack, padding=padding, action_shape=action_shape, end=0.3)
    config = dataclasses.replace(CONFIG, capacity_steps=42)
    replay = world.make_replay(config)
    for _ in range(slots):
        replay.add(**world.step())
    # A whole ring lacks the older frames of its first slots.
    oldest = 0 if slots < 21 else slots - 21 + stack - 1
    expected = {
        world.observation(t, env).tobytes(): (t, env)
        for t in range(oldest, slots - 1)
        for env in range(2)
        if not world.slots[t]["resets"][env]
    }
    count = 2000 * len(expected)
    drawn = replay.sample_transitions(count)
    times = dict.fromkeys(expected.values(), 0)
    for before, action, after in zip(*drawn, strict=True):
        t, env = expected[before.tobytes()]
        np.testing.assert_array_equal(action, world.slots[t]["action"][env])
        np.testing.assert_array_equal(after, world.observation(t + 1, env))
        times[t, env] += 1
    np.testing.assert_allclose(np.array(list(times.values())) / 2000, 1, atol=0.1)


def test_batches_are_ready_for_torch():
    world = World(3, stack=2)
    replay = world.make_replay()
    for _ in range(12):
        replay.add(**world.step())
    for value in vars(replay.sample(4)).values():
        torch.from_numpy(value)


def test_batches_are_copies():
    world = World(3)
    replay = world.make_replay()
    for _ in range(14):
        replay.add(**world.step())
    batch = replay.sample(4)
    for _ in range(40):
        replay.add(**world.step())
    world.check(batch)


def test_draws_follow_priorities():
    world = World(2)
    config = dataclasses.replace(CONFIG, capacity_steps=600, priority_exponent=0.5)
    replay = world.make_replay(config)
    for _ in range(17):
        replay.add(**world.step())
    # Starts 0, 3, 6, 9 in two environments; priorities 1, 4, 9 and so on, whose roots are drawn.
    ids = np.arange(8)
    replay.update_priorities(ids, np.arange(1.0, 9.0) ** 2)
    drawn = np.concatenate([replay.sample(10).ids for _ in range(1000)])
    np.testing.assert_allclose(np.bincount(drawn) / 10_000, np.arange(1, 9) / 36, atol=0.01)
    # New ones get the largest seen, 64, whose root is 8: start 12 in both environments.
    for _ in range(3):
        replay.add(**world.step())
    drawn = np.concatenate([replay.sample(10).ids for _ in range(1000)])
    shares = np.array([*range(1, 9), 8, 8]) / 52
    np.testing.assert_allclose(np.bincount(drawn) / 10_000, shares, atol=0.01)


def test_importance_weights_by_hand():
    world = World(2)
    config = dataclasses.replace(
        CONFIG, capacity_steps=600, priority_exponent=1.0, importance_exponent=0.5
    )
    replay = world.make_replay(config)
    for _ in range(8):
        replay.add(**world.step())
    replay.update_priorities(np.arange(2), np.array([1.0, 3.0]))
    batch = replay.sample(4)
    # N p = 2/4 and 6/4: weights sqrt(2) and sqrt(2/3), which over the larger are 1 and sqrt(1/3).
    np.testing.assert_array_equal(batch.ids, [0, 1, 1, 1])
    np.testing.assert_allclose(batch.importance_weight, [1, *[3**-0.5] * 3], rtol=1e-6)


def test_priorities_of_overwritten_sequences_are_skipped():
    world = World(1)
    replay = world.make_replay(dataclasses.replace(CONFIG, capacity_steps=15))
    for _ in range(9):
        replay.add(**world.step())
    stale = replay.sample(1).ids
    np.testing.assert_array_equal(stale, [0])
    for _ in range(9):
        replay.add(**world.step())
    before = replay._index.state_dict()
    assert before["oldest"] > 0
    replay.update_priorities(stale, np.array([50.0]))
    np.testing.assert_equal(replay._index.state_dict(), before)


def test_a_restart_hides_the_step_that_it_cut():
    """After a restart of the program the environments begin anew without having ended."""
    world = World(2, end=0.0)
    replay = world.make_replay(dataclasses.replace(CONFIG, burn_in=0))
    slots = [world.step() for _ in range(6)]
    slots[3]["first"] = np.array([True, True])
    slots[2]["terminated"] = np.array([False, True])
    for slot in slots:
        replay.add(**slot)
    batch = replay.sample(40)
    cut, ended = batch.ids == 0, batch.ids == 1
    # A termination stands, since it needs no observation.
    expected = np.array([True, True, False, True, True])
    assert (batch.valid[:, cut] == expected[:, None]).all()
    assert batch.valid[:, ended].all()


def test_memory_is_that_of_the_frames():
    config = ReplayConfig(capacity_steps=16_000, capacity_gb=None, min_sequences=1)
    space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    replay = SequenceReplay(
        config,
        num_envs=16,
        observation_space=space,
        recurrent_size=512,
        generator=np.random.default_rng(0),
        stack=4,
    )
    assert replay.nbytes <= 1.1 * replay.capacity_steps * 84 * 84
    assert replay.nbytes == nbytes_for(config, replay.layout)
    assert replay.capacity_steps == 16_000
    assert replay.fill == 0


def layout(num_envs=4):
    return ReplayLayout(num_envs, (84, 84), np.uint8, (), np.int64, 512)


def test_the_smaller_limit_holds():
    by_steps = ReplayConfig(capacity_steps=64_000, capacity_gb=4.0, min_sequences=1)
    by_gb = ReplayConfig(capacity_steps=640_000, capacity_gb=0.25, min_sequences=1)
    assert nbytes_for(by_steps, layout()) < 0.5e9
    assert 0.24e9 < nbytes_for(by_gb, layout()) <= 0.25e9


def test_too_little_memory_is_an_error(monkeypatch):
    free = type("Memory", (), {"available": 10**8})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(ValueError, match=r"takes 0\.2\d* GB, but only 0\.1 GB.*capacity_gb"):
        SequenceReplay(
            ReplayConfig(capacity_gb=0.25, min_sequences=1),
            num_envs=4,
            observation_space=gymnasium.spaces.Box(0, 255, (84, 84), np.uint8),
            recurrent_size=512,
            generator=np.random.default_rng(0),
        )


def test_limits_that_hold_too_few_sequences_say_what_would_do():
    config = ReplayConfig(capacity_steps=3_000, min_sequences=100)
    with pytest.raises(ValueError, match=r"room for \d+ sequences.*allow (\d+) steps") as caught:
        nbytes_for(config, layout())
    steps = int(str(caught.value).split("allow ")[1].split(" steps")[0])
    nbytes_for(dataclasses.replace(config, capacity_steps=steps), layout())
    with pytest.raises(ValueError, match="room for"):
        nbytes_for(dataclasses.replace(config, capacity_steps=steps - 1), layout())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity_steps": None, "capacity_gb": None}, "both are none"),
        ({"capacity_steps": 0}, "capacity_steps must be at least 1, got 0"),
        ({"capacity_gb": 0.0}, r"capacity_gb must be positive, got 0\.0"),
        ({"trace_length": 0}, "trace_length"),
        ({"period": 0}, "period"),
        ({"burn_in": -1}, "burn_in"),
        ({"min_sequences": 0}, "min_sequences"),
        ({"priority_exponent": 1.5}, r"priority_exponent must be in \[0, 1\], got 1\.5"),
        ({"importance_exponent": -0.5}, "importance_exponent"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        ReplayConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"observation": np.zeros((3, 2, 2), np.uint8)}, ValueError, "observation must have shape"),
        ({"observation": np.zeros((3, 2, 3), np.float32)}, TypeError, "observation must be of"),
        ({"action": np.zeros(3)}, TypeError, "action must be of type int64, got float64"),
        ({"action": np.zeros((3, 1), np.int64)}, ValueError, r"action .* \(3,\), got \(3, 1\)"),
        ({"reward_ext": np.array([0, np.nan, 0])}, ValueError, "reward_ext must be finite"),
        ({"first": np.zeros(3)}, TypeError, "first must be of type bool"),
        ({"first": np.zeros(3, bool)}, ValueError, "first must be all True in the first slot"),
        ({"recurrent_state": None}, ValueError, "recurrent_state .* must be given"),
        ({"recurrent_state": np.zeros((2, 3, 5))}, ValueError, "recurrent_state must have shape"),
    ],
)
def test_bad_slots_change_nothing(changes, error, message):
    world = World(3)
    replay = world.make_replay()
    good = world.step()
    with pytest.raises(error, match=message):
        replay.add(**(good | changes))
    assert replay.slots_written == 0
    assert replay.wants_recurrent_state
    replay.add(**good)
    assert replay.slots_written == 1
    assert not replay.wants_recurrent_state


def test_environments_that_reset_by_themselves_are_refused():
    world = World(2, end=0.0)
    replay = world.make_replay()
    slots = [world.step() for _ in range(3)]
    slots[0]["truncated"] = np.array([False, True])
    replay.add(**slots[0])
    replay.add(**slots[1])
    with pytest.raises(ValueError, match=r"environments \[1\] ended an episode.*NEXT_STEP"):
        replay.add(**slots[2])


def test_bad_calls():
    world = World(2)
    replay = world.make_replay()
    assert not replay.ready
    with pytest.raises(ValueError, match="no complete sequence to sample yet"):
        replay.sample(1)
    with pytest.raises(ValueError, match="no complete sequence to sample yet"):
        replay.sample_transitions(1)
    for _ in range(8):
        replay.add(**world.step())
    assert replay.ready
    with pytest.raises(ValueError, match="size must be at least 1"):
        replay.sample(0)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        replay.sample_transitions(0)
    with pytest.raises(ValueError, match="shape of ids"):
        replay.update_priorities(np.array([0, 1]), np.array([1.0]))
    with pytest.raises(ValueError, match="finite and at least 0"):
        replay.update_priorities(np.array([0]), np.array([np.nan]))
    with pytest.raises(ValueError, match="must come from a sample, got 2 to 2"):
        replay.update_priorities(np.array([2]), np.array([1.0]))
    with pytest.raises(TypeError, match="observation_space must have a shape"):
        SequenceReplay(
            CONFIG,
            num_envs=1,
            observation_space=gymnasium.spaces.Dict(),
            recurrent_size=1,
            generator=np.random.default_rng(0),
        )


def same_batches(one, other):
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.fixture(params=[1, 2000, 10**9], ids=["one period", "some periods", "whole ring"])
def segments(request, monkeypatch):
    monkeypatch.setattr(replay_files, "_SEGMENT_NBYTES", request.param)


@pytest.mark.parametrize("every", [1, 7, 13, 41])
def test_resumed_is_uninterrupted(every, segments, tmp_path):
    """A replay that is saved, thrown away and loaded again and again, beside one that is not."""
    world = World(3, stack=3)
    whole, resumed = world.make_replay(), world.make_replay()
    state = resumed.save(tmp_path)
    draw = np.random.default_rng(3)
    for t in range(130):
        slot = world.step()
        whole.add(**slot)
        resumed.add(**slot)
        if whole.num_sequences:
            batch, other = whole.sample(4), resumed.sample(4)
            same_batches(batch, other)
            if t > 100:
                world.check(other)
            priorities = draw.uniform(0.01, 3, 4)
            whole.update_priorities(batch.ids, priorities)
            resumed.update_priorities(other.ids, priorities)
        if t % every == 0:
            previous, state = state, resumed.save(tmp_path)
            delete_all_but(tmp_path, previous, state)
            resumed = world.make_replay(seed=t)
            resumed.load(tmp_path, state)


def test_complete_segments_are_written_once(monkeypatch, tmp_path):
    monkeypatch.setattr(replay_files, "_SEGMENT_NBYTES", 1)
    world = World(2)
    replay = world.make_replay(dataclasses.replace(CONFIG, capacity_steps=120))
    assert replay._files.segment_slots == 3
    written = []
    save_tree = replay_files.save_tree
    monkeypatch.setattr(
        replay_files, "save_tree", lambda p, t: (written.append(p.name), save_tree(p, t))
    )
    for _ in range(10):
        replay.add(**world.step())
    replay.save(tmp_path)
    assert [name[6:31] for name in written] == [
        "000000000000-000000000003",
        "000000000003-000000000006",
        "000000000006-000000000009",
        "000000000009-000000000010",
    ]
    written.clear()
    for _ in range(3):
        replay.add(**world.step())
    files = replay.save(tmp_path)["files"]
    assert [name[6:31] for name in written] == [
        "000000000009-000000000012",
        "000000000012-000000000013",
    ]
    assert [file["stop"] for file in files] == [3, 6, 9, 12, 13]
    written.clear()
    replay.save(tmp_path)
    assert written == []
    # A file that is gone is written again.
    (tmp_path / files[1]["name"]).unlink()
    replay.save(tmp_path)
    assert written == [files[1]["name"]]


def test_an_abandoned_future_stays_beside_the_new_one(tmp_path):
    world = World(2)
    replay = world.make_replay()
    for _ in range(10):
        replay.add(**world.step())
    past = replay.save(tmp_path)
    futures = []
    for seed in (5, 6):
        branch = world.make_replay()
        branch.load(tmp_path, past)
        world.generator = np.random.default_rng(seed)
        del world.slots[10:]
        world.done = world.slots[-1]["terminated"] | world.slots[-1]["truncated"]
        world.was_done = world.slots[-1]["resets"]
        for _ in range(6):
            branch.add(**world.step())
        futures.append((branch.save(tmp_path), branch.sample(8)))
    for state, batch in futures:
        again = world.make_replay()
        again.load(tmp_path, state)
        same_batches(again.sample(8), batch)
    delete_all_but(tmp_path, futures[1][0])
    world.make_replay().load(tmp_path, futures[1][0])
    with pytest.raises(DamagedCheckpoint, match="missing"):
        world.make_replay().load(tmp_path, futures[0][0])


def delete_all_but(directory, *states):
    names = {file["name"] for state in states for file in state["files"]}
    for path in directory.iterdir():
        if path.name not in names:
            path.unlink()


def saved(world, tmp_path, steps=40):
    replay = world.make_replay()
    for _ in range(steps):
        replay.add(**world.step())
    return replay.save(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "swap", "unlisted"])
def test_damage_is_found(damage, monkeypatch, tmp_path):
    monkeypatch.setattr(replay_files, "_SEGMENT_NBYTES", 600)
    world = World(2)
    state = saved(world, tmp_path)
    path, other = (tmp_path / state["files"][i]["name"] for i in (2, 3))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-20] ^= 4
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:-1])
    elif damage == "remove":
        path.unlink()
    elif damage == "swap":
        path.write_bytes(other.read_bytes())
    else:
        del state["files"][2]
    replay = world.make_replay()
    for _ in range(3):
        replay.add(**World(2).step())
    with pytest.raises(DamagedCheckpoint, match="slots"):
        replay.load(tmp_path, state)
    assert replay.slots_written == 0
    assert replay.num_sequences == 0


def test_a_failed_save_leaves_the_last_one_whole(monkeypatch, tmp_path):
    world = World(2)
    replay = world.make_replay()
    for _ in range(20):
        replay.add(**world.step())
    state = replay.save(tmp_path)
    batch = replay.sample(4)
    for _ in range(20):
        replay.add(**world.step())

    def full(path, tree):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(replay_files, "save_tree", full)
        with pytest.raises(OSError, match="No space left"):
            replay.save(tmp_path)
    again = world.make_replay()
    again.load(tmp_path, state)
    same_batches(again.sample(4), batch)
    later = replay.save(tmp_path)
    again.load(tmp_path, later)
    same_batches(again.sample(4), replay.sample(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity_steps": 90}, "capacity_steps 60, this one 90"),
        ({"trace_length": 4}, "unroll_length 7, this one 6"),
        ({"priority_exponent": 0.5}, r"priority_exponent 0\.9, this one 0\.5"),
    ],
)
def test_other_settings_are_refused(changes, message, tmp_path):
    world = World(2)
    state = saved(world, tmp_path)
    replay = world.make_replay(dataclasses.replace(CONFIG, **changes))
    replay.add(**World(2).step())
    with pytest.raises(ValueError, match=message):
        replay.load(tmp_path, state)
    assert replay.slots_written == 1
