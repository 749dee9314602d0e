"""How well imagined novelty agrees with the novelty that is then experienced.

    python benchmarks/imagined_novelty.py runs/dreamer
    python benchmarks/imagined_novelty.py --walk 15000 --env disco-maze --options.colour_noise false

A dreamer that was paid by NGU plays new episodes: that of a run, or one that learns here from the
steps of a scripted walker, which sees walls and avoids them (words after --walk are those of
ngu.train). From every few states the world model imagines the actions that were then taken, and
sees nothing of what came. What the imagined states are paid is compared with what the same steps
then really earned, by rank correlation (Spearman): of each step by itself, and of the sums.

    memory    the distance to what the environment remembers, by the predicted embedding
    head      what a head has learned of the memory's rewards, on states of the replay
    latents   as memory, but it holds the world model's states (episodic part alone)
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from ngu.novelty.ngu import NGU
from ngu.parsing import parse
from ngu.parts import make_agent, make_envs
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.settings import TrainSettings
from ngu.world.rssm import State
from ngu_agents.base import Step
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.imagined_novelty import (
    Dreamt,
    ImaginedReward,
    PredictedNovelty,
    RememberedLatents,
    RememberedNovelty,
    Replayed,
)
from ngu_agents.latent_memory import AsGiven, LatentFollower, latent_space

AHEAD = 15
"""Steps imagined."""
SLIPS = 0.04
"""Share of random steps in what is learned from; they end episodes, so there are more mazes."""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # of disco-maze's actions


class Walker:
    """Walks a maze that it sees: on, round corners, and seldom back; a slip may touch a wall."""

    def __init__(self, num_envs: int, *, slips: float, seed: int) -> None:
        self._last = np.zeros(num_envs, np.int64)
        self._slips, self._generator = slips, np.random.default_rng(seed)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Actions [E] for observations [E, 3, size, size]."""
        free = np.pad((observation == 0).all(1), ((0, 0), (1, 1), (1, 1)))
        for env, here in enumerate((observation == 255).all(1)):
            row, column = np.argwhere(here)[0] + 1
            ways = [a for a, (r, c) in enumerate(MOVES) if free[env, row + r, column + c]]
            on = [a for a in ways if a != self._last[env] ^ 1]
            if self._generator.random() < 0.1 or not on:
                on = ways
            if self._generator.random() < self._slips or not on:
                on = range(len(MOVES))
            self._last[env] = self._generator.choice(on)
        return self._last.copy()


class Played(NamedTuple):
    """Steps of E environments; observation t + 1 is what action t led to."""

    observations: np.ndarray
    actions: np.ndarray
    states: list[State]
    """Of the world model after the observations."""
    ended: np.ndarray
    """Step t ended an episode [T, E]."""

    @property
    def resets(self) -> np.ndarray:
        """Step t only began a new episode [T, E]."""
        return np.concatenate((np.zeros_like(self.ended[:1]), self.ended[:-1]))


def play(
    agent: DreamerAgent, envs: VectorEnv, steps: int, walker: Walker | None, *, learn: bool
) -> Played:
    """Play on from a reset; each step has the walker's action where there is one."""
    observation, _ = envs.reset()
    agent.begin(observation)
    observations, actions, states, ended = [observation], [], [], []
    for _ in range(steps):
        agent.act()
        if walker is not None:
            agent.actor.action = walker(observation)
        actions.append(agent.actor.action)
        states.append(agent.actor.state)
        observation, reward, terminated, truncated, _ = envs.step(actions[-1])
        step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
        agent.observe(step)
        if learn:
            agent.learn()
        observations.append(observation)
        ended.append(step.done)
    return Played(np.stack(observations), np.stack(actions), states, np.stack(ended))


def score_again(bonus: NGU, seen: np.ndarray, played: Played, paid: np.ndarray) -> Iterator[int]:
    """Score what was played; yields each step's number before it is scored.

    Args:
        bonus: begins anew.
        seen: what it sees [T + 1, E, ...].
        played: the steps.
        paid: takes the rewards [T, E]; NaN where no step was taken.
    """
    bonus.begin(seen[0])
    for t, resets in enumerate(played.resets):
        yield t
        paid[t] = bonus.score(seen[t], played.actions[t], seen[t + 1], where=~resets)
        paid[t, resets] = np.nan
        if resets.any():
            bonus.begin(seen[t + 1], where=resets)


def compare(
    agent: DreamerAgent,
    bonus: NGU,
    ways: dict[str, ImaginedReward],
    seen: np.ndarray,
    played: Played,
    every: int,
) -> None:
    """Print how far what is imagined agrees with what a bonus pays, for each way to pay it."""
    model, steps = agent.model, len(played.actions)
    generator = torch.Generator(bonus.device).manual_seed(0)
    dreams: dict[int, dict[str, np.ndarray]] = {}
    paid = np.empty(played.ended.shape)
    for t in score_again(bonus, seen, played, paid):
        if t % every or t + AHEAD > steps:
            continue
        ahead, start = played.actions[t : t + AHEAD], played.states[t]
        with torch.no_grad():
            encoded = model.encode_actions(torch.from_numpy(ahead).to(bonus.device))
            future = model.rssm.imagine(start, encoded, generator=generator).states
            both = (torch.cat((a[None], b)) for a, b in zip(start, future, strict=True))
            features = model.rssm.features(State(*both))
        here = torch.from_numpy(seen[t : t + 1]).to(bonus.device)
        dreams[t] = {}
        for name, way in ways.items():
            begun = way.embed(here)[0] if isinstance(way, RememberedNovelty) else None
            dreamt = Dreamt(features, encoded, np.arange(bonus.num_envs), begun)
            dreams[t][name] = way.pay(dreamt).cpu().numpy()
    over = played.ended | played.resets
    for name in ways:
        pairs = []
        for t, dream in dreams.items():
            # An episode that ends on the way, or has just ended, is no comparison.
            whole = ~over[t : t + AHEAD - 1].any(0) & ~np.isnan(paid[t])
            columns = np.flatnonzero(whole)
            pairs += [(dream[name][:, env], paid[t : t + AHEAD, env]) for env in columns]
        imagined, experienced = (np.stack(part) for part in zip(*pairs, strict=True))
        single = [
            f"{rank_correlation(imagined[:, i - 1], experienced[:, i - 1]):.2f}"
            for i in (1, 2, 5, 10, AHEAD)
        ]
        print(
            f"{name:8} {len(pairs)} stretches, 1, 2, 5, 10, {AHEAD} steps ahead {' '.join(single)},"
            f" sums {rank_correlation(imagined.sum(1), experienced.sum(1)):.2f}, "
            f"mean {imagined.mean():.2f} imagined, {experienced.mean():.2f} earned"
        )


def trained_head(agent: DreamerAgent, updates: int, seeds: Seeds) -> PredictedNovelty:
    """A head that has learned what states of the replay earned."""
    config, device = agent.config, agent.model.bins.device
    head = PredictedNovelty(
        config.world.rssm.features, config.hidden, generator=seeds.torch("head"), device=device
    )
    generator = seeds.torch("states of the head", device)
    losses: list[float] = []
    for _ in range(updates):
        for shard in agent.learner.shards(agent.replay.sample(config.batch_size)):
            with torch.no_grad():
                seen = agent.model.observe(
                    shard.observation, shard.action_tm1, shard.first, None, generator
                )
            features = agent.model.rssm.features(seen.states)
            reward_int = shard.reward_int[1:]
            columns = (
                features[1:], features[:-1], shard.action_tm1[1:], torch.zeros_like(reward_int),
                reward_int, ~shard.first[1:],
            )  # fmt: skip
            replayed = Replayed(*(column.flatten(0, 1) for column in columns))
            losses.append(head.learn(replayed)["novelty_head_loss"])
    print(f"the head's loss went from {losses[0]:.2f} to {np.mean(losses[-20:]):.2f} nats")
    return head


def latents_of(agent: DreamerAgent, played: Played) -> np.ndarray:
    """Latents [T + 1, E, S] of all that was seen, by the model as it is."""
    num_envs = played.ended.shape[1]
    follower = LatentFollower(agent.model, num_envs, versions=1, dtype=torch.float32)
    rows = zip(played.observations[1:], played.actions, played.resets, strict=True)
    latents = [follower.begin(played.observations[0])]
    latents += [follower.follow(*row) for row in rows]
    return np.stack(latents)


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, equal values sharing their mean rank."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which]


def of_run(path: Path) -> tuple[TrainSettings, DreamerAgent]:
    """The agent of a run, with its replay."""
    folder = RunFolder.open(path)
    settings, _, _ = parse([], "imagined_novelty", base=folder.path / "config.yaml")
    envs = make_envs(settings, settings.num_envs, 0)
    agent = make_agent(settings, envs)
    envs.close()
    assert isinstance(agent, DreamerAgent)
    checkpoint, state = folder.checkpoints.latest()
    agent.load(folder.checkpoints.folder / "replay", state["session"]["agent"])
    print(f"{settings.env}, {checkpoint.name}")
    return settings, agent


def of_walker(steps: str, *words: str) -> tuple[TrainSettings, DreamerAgent]:
    """An agent that learned from so many of a walker's steps; its policy learned nothing."""
    settings, _, _ = parse(["--agent", "dreamer", *words], "imagined_novelty")
    learning = dataclasses.replace(settings.learning, horizon=1, starts_per_sequence=1)
    settings = dataclasses.replace(settings, learning=learning)
    envs = make_envs(settings, settings.num_envs, settings.seed)
    agent = make_agent(settings, envs)
    assert isinstance(agent, DreamerAgent)
    walker = Walker(settings.num_envs, slips=SLIPS, seed=settings.seed)
    play(agent, envs, int(steps) // settings.num_envs, walker, learn=True)
    envs.close()
    print(f"{settings.env} {settings.options}, seed {settings.seed}: {steps} steps walked, "
          f"{agent.learner.updates} updates")  # fmt: skip
    return settings, agent


def main() -> None:
    """Play, imagine, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="folder of a run")
    parser.add_argument("--steps", type=int, default=300, help="of each environment, played")
    parser.add_argument("--every", type=int, default=5, help="steps between imagined stretches")
    parser.add_argument("--head-updates", type=int, default=300)
    parser.add_argument("--held-out", type=int, default=0, help="seed of the new episodes")
    parser.add_argument(
        "--walk", nargs=argparse.REMAINDER, help="steps to learn from without a run, and settings"
    )
    known = parser.parse_args()
    settings, agent = of_walker(*known.walk) if known.walk else of_run(known.run)
    bonus, imagined = agent.bonus, agent.imagined
    assert isinstance(bonus, NGU)
    assert imagined is not None
    seeds = Seeds(known.held_out)
    ways: dict[str, ImaginedReward] = {"memory": imagined}
    if known.head_updates:
        ways["head"] = trained_head(agent, known.head_updates, seeds)
    bonus.eval()
    envs = make_envs(settings, settings.num_envs, seeds.integer("held-out episodes"))
    walker = Walker(envs.num_envs, slips=0.0, seed=known.held_out) if known.walk else None
    played = play(agent, envs, known.steps, walker, learn=False)
    envs.close()
    compare(agent, bonus, ways, played.observations, played, known.every)
    space = latent_space(settings.learning.world.rssm)
    config = dataclasses.replace(settings.novelty, max_modulator=1.0)
    of_latents = NGU(
        space, envs.single_action_space, envs.num_envs, config=config, encoder=AsGiven(),
        device=bonus.device,
    )  # fmt: skip
    latents = latents_of(agent, played)
    for _ in score_again(of_latents, latents, played, np.empty(played.ended.shape)):
        pass  # its mean distance
    of_latents.eval()
    compare(
        agent, of_latents, {"latents": RememberedLatents(of_latents)}, latents, played, known.every
    )
    agent.close()


if __name__ == "__main__":
    main()
