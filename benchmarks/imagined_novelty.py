"""How well imagined novelty agrees with the novelty that is then experienced.

    python benchmarks/imagined_novelty.py runs/dreamer

The policy of a dreamer's run, paid by NGU, plays new episodes. From every few of their states the
world model imagines the actions that were then taken, sees nothing of what came, and the imagined
states are paid with the memory as it stood. Prints the rank correlation (Spearman) of what they are
paid with what the same steps really earned: of each step by itself, and of their sum.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from ngu.novelty.ngu import NGU
from ngu.parsing import parse
from ngu.parts import make_agent, make_envs
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
from ngu.world.rssm import State
from ngu_agents.base import Step
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.imagined_novelty import Dreamt


def main() -> None:
    """Play, imagine, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--steps", type=int, default=300, help="of each environment")
    parser.add_argument("--every", type=int, default=5, help="steps between imagined stretches")
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    folder = RunFolder.open(known.run)
    settings, _, _ = parse([], "imagined_novelty", base=folder.path / "config.yaml")
    replay = dataclasses.replace(settings.replay, capacity_steps=20_000)
    settings = dataclasses.replace(settings, replay=replay)
    path, state = folder.checkpoints.latest()
    seed = Seeds(known.seed).integer("held-out episodes")
    envs = make_envs(settings, settings.num_envs, seed)
    agent = make_agent(settings, envs)
    assert isinstance(agent, DreamerAgent)
    agent.load(None, state["session"]["agent"])
    bonus, imagined = agent.bonus, agent.imagined
    assert isinstance(bonus, NGU)
    assert imagined is not None
    bonus.eval()

    observation, _ = envs.reset()
    agent.begin(observation)
    observations, actions, states, dones = [observation], [], [], []
    for _ in range(known.steps):
        actions.append(agent.act())
        states.append(agent.actor.state)
        observation, reward, terminated, truncated, _ = envs.step(actions[-1])
        step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
        agent.observe(step)
        observations.append(observation)
        dones.append(step.done)
    envs.close()

    ended = np.stack(dones)
    before = np.concatenate((np.zeros_like(ended[:1]), ended[:-1]))  # these steps only reset
    horizon, model = agent.config.horizon, agent.model
    generator = torch.Generator(bonus.device).manual_seed(known.seed)
    paid = np.full((known.steps, envs.num_envs), np.nan)
    dreams: list[tuple[int, np.ndarray]] = []
    bonus.begin(observations[0])
    for t in range(known.steps):
        if t % known.every == 0 and t + horizon <= known.steps:
            ahead = torch.from_numpy(np.stack(actions[t : t + horizon])).to(bonus.device)
            with torch.no_grad():
                encoded = model.encode_actions(ahead)
                follow = model.rssm.imagine(states[t], encoded, generator=generator).states
                both = (torch.cat((a[None], b)) for a, b in zip(states[t], follow, strict=True))
                features = model.rssm.features(State(*both))
            dreamt = Dreamt(features, encoded, np.arange(envs.num_envs))
            dreams.append((t, imagined.pay(dreamt).cpu().numpy()))
        stepped = ~before[t]
        rewards = bonus.score(observations[t], actions[t], observations[t + 1], where=stepped)
        paid[t, stepped] = rewards[stepped]
        if before[t].any():
            bonus.begin(observations[t + 1], where=before[t])

    pairs = []
    for t, dream in dreams:
        experienced = paid[t : t + horizon]
        # An episode that ends on the way, or has just ended, is no comparison.
        whole = ~(ended[t : t + horizon - 1] | before[t : t + horizon - 1]).any(0) & ~before[t]
        pairs += [(dream[:, env], experienced[:, env]) for env in np.flatnonzero(whole)]
    dreamt_rewards, experienced_rewards = (np.stack(part) for part in zip(*pairs, strict=True))
    print(f"{settings.env}, {path.name}: {len(pairs)} stretches of {horizon} steps")
    print(f"mean reward: imagined {dreamt_rewards.mean():.4g}, experienced "
          f"{experienced_rewards.mean():.4g}")  # fmt: skip
    for ahead in (1, 2, 5, 10, horizon):
        if ahead <= horizon:
            value = rank_correlation(
                dreamt_rewards[:, ahead - 1], experienced_rewards[:, ahead - 1]
            )
            print(f"rank correlation {ahead} steps ahead: {value:.3f}")
    value = rank_correlation(dreamt_rewards.sum(1), experienced_rewards.sum(1))
    print(f"rank correlation of the sums: {value:.3f}")


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, equal values sharing their mean rank."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which]


if __name__ == "__main__":
    main()
