"""World Models' agent: its controller, its evolution, what it collects, and its four stages."""

import copy
import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu.checkpoint import DamagedCheckpoint
from ngu.state_file import load_tree, save_tree
from ngu.world.mdn_rnn import MDNRNN, MDNRNNConfig
from ngu.world.mdn_rnn_training import Batch, MDNRNNTrainingConfig
from ngu.world.vae import VAEConfig
from ngu.world.vae_training import VAETrainingConfig
from ngu_agents.base import Agent
from ngu_agents.loop import Loop
from ngu_agents.world_models.agent import STAGES, WorldModelsAgent
from ngu_agents.world_models.collection import Collection
from ngu_agents.world_models.config import WorldModelsConfig
from ngu_agents.world_models.controller import LinearController
from ngu_agents.world_models.dreaming import beginnings, dream_returns
from ngu_agents.world_models.evolution import Evolution
from ngu_agents.world_models.trials import Trials

CONFIG = WorldModelsConfig(
    collected=60,
    vae=VAEConfig(latent_dim=3),
    seeing=VAETrainingConfig(epochs=2, batch_size=16, held_out_share=0.1),
    rnn=MDNRNNConfig(hidden=8, mixtures=2),
    predicting=MDNRNNTrainingConfig(
        updates=25, batch_size=4, sequence_length=6, held_out_share=0.1
    ),
    population=6,
    rollouts=2,
    dream_generations=3,
    dream_length=5,
)
DREAMER = dataclasses.replace(CONFIG, dream=True)


class Slope(gymnasium.Env):
    """A bright column in 16 columns; up to 6 steps move it by the action, its place is the pay."""

    observation_space = Box(0, 255, (16, 16, 1), np.uint8)

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(6, 10)), 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        right = action == 2 if isinstance(self.action_space, Discrete) else action[0] > 0
        self.place = int(np.clip(self.place + (1 if right else -1), 0, 15))
        self.steps += 1
        return self._observation(), self.place / 15, self.place == 0, self.steps == 6, {}

    def _observation(self):
        picture = np.zeros((16, 16, 1), np.uint8)
        picture[:, self.place] = 255
        return picture


def make_envs(num_envs=3, action_space=None) -> SyncVectorEnv:
    space = action_space or Discrete(2, start=1)
    kinds = [lambda: Slope(space)] * num_envs
    envs = SyncVectorEnv(kinds, autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)  # what comes without a seed goes on from here
    return envs


def make_agent(envs, config=CONFIG, *, seed=0, num_envs=None) -> WorldModelsAgent:
    return WorldModelsAgent(
        envs.single_observation_space,
        envs.single_action_space,
        num_envs or envs.num_envs,
        config=config,
        seed=seed,
        precision="float32",
    )


def start(agent, envs) -> Loop:
    loop = Loop(agent, envs)
    loop.begin()
    return loop


def run(loop: Loop, iterations: int) -> list[dict[str, Any]]:
    rows = []
    for _, progress in zip(range(iterations), loop, strict=False):
        rows.append({**progress.learned, **loop.agent.status()})
    return rows


def run_to(loop: Loop, stage: str, more: int = 0) -> list[dict[str, Any]]:
    rows = []
    while loop.agent.stage != stage:
        rows += run(loop, 1)
        assert len(rows) < 500
    return rows + run(loop, more)


def sphere(evolution: Evolution) -> np.ndarray:
    return -np.square(evolution.candidates - 1).sum(1)


def make_evolution(seed=0, size=5) -> Evolution:
    return Evolution(size, population=8, deviation=0.3, seed=seed)


def test_evolution_finds_the_top_and_leaves_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # what must not change
    evolution = make_evolution()
    for _ in range(60):
        evolution.tell(sphere(evolution))
    np.testing.assert_allclose(evolution.mean, 1, atol=1e-3)
    assert evolution.generation == 60
    assert evolution.deviation < 0.01
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002  # what must not change


# With many weights the covariance is decomposed in some of the generations only.
@pytest.mark.parametrize(("generations", "size"), [(0, 5), (1, 5), (17, 5), (7, 400)])
def test_a_loaded_evolution_goes_on_to_the_last_bit(tmp_path, generations, size):
    evolution, fresh, used = (make_evolution(seed, size) for seed in (0, 8, 9))
    for _ in range(generations):
        evolution.tell(sphere(evolution))
    for _ in range(4):
        used.tell(-sphere(used))
    save_tree(tmp_path / "state", evolution.state_dict())
    for other in (fresh, used):
        other.load_state_dict(load_tree(tmp_path / "state"))
    for _ in range(30):
        for other in (fresh, used):
            np.testing.assert_array_equal(other.candidates, evolution.candidates)
        for one in (evolution, fresh, used):
            one.tell(sphere(one))
    assert fresh.deviation == used.deviation == evolution.deviation
    assert fresh.generation == used.generation == evolution.generation


def test_what_evolution_does_not_take():
    evolution = make_evolution()
    before = evolution.candidates.copy()
    with pytest.raises(FloatingPointError, match="the fitness of a controller is nan"):
        evolution.tell(np.array([0, 1, 2, np.nan, 4, 5, 6, 7]))
    np.testing.assert_array_equal(evolution.candidates, before)
    with pytest.raises(ValueError, match="the controllers must have 5 weights, got 4"):
        evolution.load_state_dict(make_evolution(size=4).state_dict())


@pytest.mark.parametrize("memory", [True, False])
def test_many_controllers_act_as_each_would(memory):
    controller = LinearController(Discrete(3, start=4), 2, 5, memory=memory)
    assert controller.shape == (3, 8 if memory else 3)
    draw = torch.Generator().manual_seed(0)
    weights, latents, hidden = (
        torch.empty(shape).normal_(generator=draw)
        for shape in ((7, *controller.shape), (7, 2, 2), (7, 2, 5))
    )
    found = controller.act(weights, latents, hidden)
    assert found.shape == (7, 2, 3)
    for p in range(7):
        for r in range(2):
            inputs = torch.cat((latents[p, r], hidden[p, r])) if memory else latents[p, r]
            outputs = weights[p, :, :-1] @ inputs + weights[p, :, -1]
            assert found[p, r].tolist() == np.eye(3)[int(outputs.argmax())].tolist()
    actions = controller.for_environments(found[:, 0])
    np.testing.assert_array_equal(actions, found[:, 0].argmax(-1) + 4)


def outputs_of(controller, outputs):
    """What comes of outputs, by weights that are nothing but biases."""
    weights = torch.zeros(len(outputs), *controller.shape)
    weights[..., -1] = torch.tensor(outputs)
    none = torch.zeros(len(outputs), 1, 1)
    return controller.act(weights, none, none)[:, 0]


def test_a_box_is_left_at_rest_and_reached_to_its_bounds():
    car = Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))
    controller = LinearController(car, 1, 1, memory=True)
    found = outputs_of(controller, [[0.0] * 3, [-50.0] * 3, [50.0] * 3, [-0.5, 0.5, -0.5]])
    half = np.tanh(0.5)
    expected = [[0, 0, 0], [-1, 0, 0], [1, 1, 1], [-half, half, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    actions = controller.for_environments(found)
    assert actions.dtype == np.float32
    assert all(car.contains(action) for action in actions)
    above = LinearController(Box(1.0, 3.0, (1,), np.float32), 1, 1, memory=True)
    np.testing.assert_allclose(outputs_of(above, [[-50.0], [0.0], [50.0]]), [[1], [1], [3]])
    with pytest.raises(ValueError, match="action_space must be a Box with bounds, got Box"):
        LinearController(Box(0, np.inf, (1,), np.float32), 1, 1, memory=True)
    with pytest.raises(TypeError, match="action_space must be Discrete, MultiDiscrete or a Box"):
        LinearController(Dict(), 1, 1, memory=True)


def test_each_part_of_several_is_chosen():
    space = MultiDiscrete([2, 3], start=[0, 5])
    controller = LinearController(space, 1, 1, memory=True)
    found = outputs_of(controller, [[0.0, 1.0, 5.0, 9.0, 2.0]])
    assert found.tolist() == [[0, 1, 0, 1, 0]]
    assert controller.for_environments(found).tolist() == [[1, 6]]


def test_each_candidate_is_tried_in_whole_episodes():
    trials = Trials(2, 1)
    everywhere = np.array([True, True])
    trials.observe(np.array([5.0, 5.0]), everywhere)  # begun by somebody else
    trials.start(np.array([[1.0], [2.0]]), 2, np.array([9.0]))
    assert not trials.finished
    trials.begin(everywhere)
    assert trials.weights.tolist() == [[1.0], [2.0]]
    trials.observe(np.array([1.0, 10.0]), np.array([False, True]))
    trials.begin(np.array([False, True]))
    assert trials.weights.tolist() == [[1.0], [1.0]]  # the second episode of the first
    trials.begin(np.array([True, False]))  # lost: begun anew, before those that wait
    assert trials.weights.tolist() == [[1.0], [1.0]]
    trials.observe(np.array([3.0, 30.0]), everywhere)
    assert not trials.finished
    trials.begin(everywhere)
    assert trials.weights.tolist() == [[2.0], [9.0]]
    trials.observe(np.array([20.0, 7.0]), everywhere)
    assert trials.finished
    assert trials.fitness.tolist() == [(3 + 30) / 2, (10 + 20) / 2]
    assert trials.take_spare_returns() == [7.0]
    assert trials.take_spare_returns() == []


def test_dreams_pay_each_controller_what_the_network_says():
    """A network that pays .5 wherever it is, to the one that goes on and on."""
    rnn = MDNRNN(2, 2, MDNRNNConfig(4, 1), generator=torch.Generator().manual_seed(0))
    controller = LinearController(Discrete(2), 2, 4, memory=True)
    with torch.no_grad():
        rnn.outputs.weight[-2:] = 0
        rnn.outputs.bias[-2:] = torch.tensor([0.5, -50.0])
    drawn = torch.Generator().manual_seed(1)
    candidates = np.ones((3, controller.size))

    def returns():
        return dream_returns(
            rnn, controller, candidates, torch.zeros(2, 2), rnn.initial(2),
            steps=8, temperature=1.0, generator=drawn,
        )  # fmt: skip

    np.testing.assert_allclose(returns(), [4.0] * 3)
    with torch.no_grad():
        rnn.outputs.bias[-1] = 50.0
    np.testing.assert_allclose(returns(), [0.5] * 3)


def test_a_dream_begins_where_a_sequence_ends():
    rnn = MDNRNN(2, 1, MDNRNNConfig(4, 1), generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(1)
    latents, actions = (torch.empty(n, 3, w).normal_(generator=draw) for n, w in ((6, 2), (5, 1)))
    first = torch.zeros(6, 3, dtype=torch.bool)
    first[5, 1] = True
    batch = Batch(latents, actions, first, torch.zeros(5, 3), torch.zeros(5, 3, dtype=torch.bool))
    seen, state = beginnings(rnn, batch)
    assert torch.equal(seen, latents[5])
    carried = rnn.initial(3)
    for t in range(5):
        _, carried = rnn.step(latents[t], actions[t], carried)
    assert not state[:, 1].any()
    torch.testing.assert_close(state[:, ::2], carried[:, ::2])


def test_what_is_collected_is_what_happened():
    envs = make_envs()
    agent = make_agent(envs)
    loop = start(agent, envs)
    seen, steps, taken = [agent._observation], [], []
    for _, progress in zip(range(19), loop, strict=False):
        seen.append(progress.step.observation)
        steps.append(progress.step)
        taken.append(agent._action)
    assert agent.stage == "collect"
    columns, done = agent.collection.columns, np.array([step.done for step in steps])
    np.testing.assert_array_equal(columns["picture"][:19], seen[:19])
    np.testing.assert_array_equal(columns["action"][:19].argmax(-1) + 1, taken)
    np.testing.assert_array_equal(columns["reward"][:19], [step.reward for step in steps])
    assert columns["terminated"][:19].any()
    np.testing.assert_array_equal(columns["terminated"][:19], [step.terminated for step in steps])
    np.testing.assert_array_equal(columns["first"][0], [True] * 3)
    np.testing.assert_array_equal(columns["first"][1], [False] * 3)
    np.testing.assert_array_equal(columns["first"][2:19], done[:-2])


@pytest.mark.parametrize("config", [CONFIG, DREAMER])
def test_the_stages_follow_each_other(config):
    envs = make_envs(5)
    agent = make_agent(envs, config)
    assert isinstance(agent, Agent)
    np.testing.assert_array_equal(agent.reward_int, np.zeros(5))
    loop = start(agent, envs)
    rows = run_to(loop, "control", more=80)
    stages = [STAGES[row["stage"]] for row in rows]
    assert sorted(set(stages), key=stages.index) == list(STAGES)
    for stage in STAGES[:-1]:
        shares = [row["stage_share"] for row in rows if STAGES[row["stage"]] == stage]
        assert shares == sorted(shares)
        assert all(0 <= share < 1 for share in shares)
    assert rows[-1]["collected"] == 60
    seeing = [row for row in rows if "see/loss" in row]
    assert len(seeing) == 2 * (54 // 16)
    assert {"see/held_out_squared_error", "see/active_units"} < seeing[-1].keys()
    predicting = [row for row in rows if "predict/loss/total" in row]
    assert len(predicting) == 3  # ten updates at once
    assert "predict/held_out_latent_nats" in predicting[-1]
    evolved = [row for row in rows if "fitness" in row]
    assert len(evolved) >= 2
    assert all(row["fitness"] <= row["fitness_best"] for row in evolved)
    assert rows[-1]["generation"] == len(evolved)
    assert any("mean_return" in row for row in evolved)
    if config.dream:
        measured = [i for i, row in enumerate(evolved) if "mean_return" in row]
        assert measured[0] == 3
        assert len(evolved) > 3
    agent.close()


def test_evolution_learns_to_go_right():
    """Six steps that are paid by place: to the right of the start there is more."""
    envs = make_envs(4)
    config = dataclasses.replace(CONFIG, collected=200, population=8, deviation=0.5)
    agent = make_agent(envs, config)
    loop = start(agent, envs)
    evolved = [row for row in run_to(loop, "control", more=300) if "fitness" in row]
    assert len(evolved) > 6
    first, last = (
        np.mean([row["fitness"] for row in part]) for part in (evolved[:1], evolved[-3:])
    )
    best = np.mean([sum(place + step for step in range(1, 7)) / 15 for place in range(6, 10)])
    assert first < best - 0.5
    assert last > best - 0.35


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        np.random.seed(noise)  # noqa: NPY002  # what must not matter
        torch.manual_seed(noise)
        envs = make_envs()
        runs.append(run(start(make_agent(envs, seed=seed), envs), 60))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize(
    ("config", "stage", "more"),
    [
        (CONFIG, "collect", 9),
        (CONFIG, "see", 0),
        (CONFIG, "see", 3),
        (CONFIG, "predict", 0),
        (CONFIG, "predict", 1),
        (CONFIG, "control", 0),
        (CONFIG, "control", 33),
        (DREAMER, "control", 14),
    ],
)
def test_a_loaded_agent_goes_on_as_if_it_had_not_stopped(tmp_path, config, stage, more):
    box = Box(-1, 1, (2,), np.float32)
    envs = make_envs(action_space=box)
    agent = make_agent(envs, config)
    loop = start(agent, envs)
    run_to(loop, stage, more)
    assert agent.stage == stage
    state = {"agent": agent.save(tmp_path / "files"), "loop": loop.state_dict()}
    save_tree(tmp_path / "state", state)
    assert bool(agent.files(state["agent"])) == (stage in ("collect", "see"))
    saved_envs = copy.deepcopy(envs)
    expected = run(loop, 60)
    other = make_agent(saved_envs, config)
    state = load_tree(tmp_path / "state")
    assert other.load(tmp_path / "files", state["agent"])
    resumed = Loop(other, saved_envs)
    resumed.load_state_dict(state["loop"])
    assert run(resumed, 60) == expected
    np.testing.assert_array_equal(other.evolution.mean, agent.evolution.mean)


def test_pictures_are_written_once_and_damage_is_found(tmp_path):
    envs = make_envs()
    agent = make_agent(envs)
    loop = start(agent, envs)
    names = list[str]()
    for _ in range(3):
        run(loop, 5)
        state = agent.save(tmp_path)
        assert [file["name"] for file in state["files"]][: len(names)] == names
        names = [file["name"] for file in state["files"]]
    assert len(names) == 3
    assert {path.name for path in tmp_path.iterdir()} == set(names) == agent.files(state)
    again = agent.save(tmp_path)
    assert again["files"] == state["files"]
    collection = Collection(20, 3, (16, 16, 1), 2)
    collection.load(tmp_path, state["files"])
    assert collection.size == 15
    for name, column in collection.columns.items():
        np.testing.assert_array_equal(column[:15], agent.collection.columns[name][:15])
    with pytest.raises(DamagedCheckpoint, match=r"picture must have shape \[5, 2, 16, 16, 1\]"):
        Collection(20, 2, (16, 16, 1), 2).load(tmp_path, state["files"])
    (tmp_path / names[1]).unlink()
    with pytest.raises(DamagedCheckpoint, match="the file is missing"):
        collection.load(tmp_path, state["files"])


def test_without_files_pictures_are_collected_anew():
    envs = make_envs()
    agent = make_agent(envs)
    loop = start(agent, envs)
    run_to(loop, "see", more=2)
    state = agent.save(None)
    assert agent.files(state) == set()
    other = make_agent(envs)
    assert not other.load(None, state)
    assert other.stage == "collect"
    loop = start(other, envs)
    run_to(loop, "see")
    assert other.status()["updates"] == state["seeing"]["updates"] + 1
    run_to(loop, "control")
    learned = make_agent(envs)
    assert learned.load(None, other.save(None))
    assert learned.stage == "control"


def test_a_reset_in_mid_episode_is_tried_again():
    envs = make_envs()
    agent = make_agent(envs)
    loop = start(agent, envs)
    run_to(loop, "control", more=12)
    trying = agent.trials._trial.copy()
    assert (trying >= 0).all()
    assert agent.actor.memory.any()
    loop.begin()
    assert not agent.actor.memory.any()
    assert sorted(agent.trials._trial) == sorted(trying)


def test_what_the_agent_does_not_take():
    envs = make_envs()

    def refused(error, sentence, config=CONFIG, observation_space=None, action_space=None):
        with pytest.raises(error, match=sentence):
            WorldModelsAgent(
                observation_space or envs.single_observation_space,
                action_space or Discrete(2),
                3,
                config=config,
                seed=0,
            )

    refused(
        ValueError,
        "pictures must be at least 16 pixels high and wide, got 9 x 16",
        observation_space=Box(0, 255, (9, 16, 3), np.uint8),
    )
    refused(
        TypeError,
        "the world-models agent sees pictures of bytes, got Box",
        observation_space=Box(0, 1, (4,), np.float32),
    )
    refused(TypeError, "action_space must be Discrete", action_space=Dict(a=Discrete(2)))
    refused(
        ValueError,
        "a batch of 16 pictures beside the 2 held out, got 15 in all",
        dataclasses.replace(CONFIG, collected=15),
    )
    refused(
        ValueError,
        "at least 7 steps of each environment, for a sequence, beside the 2 held out, got 8",
        dataclasses.replace(CONFIG, collected=24),
    )
    agent = make_agent(envs)
    state = agent.save(None)
    other = make_agent(envs, num_envs=4)
    with pytest.raises(ValueError, match=r"controllers must play with weights \[4, 24\], got \[3"):
        other.load(None, state)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"collected": 0}, "collected must be at least 1, got 0"),
        ({"size": 8}, "size must be at least 16, got 8"),
        ({"population": 3}, "population must be at least 4, got 3"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        WorldModelsConfig(**setting)
