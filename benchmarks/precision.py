"""How far rewards with bfloat16 convolutions are from float32 ones, before and after training.

    python benchmarks/precision.py [--env MontezumaRevenge] [--steps 320] [--updates 500]

32 environments play random actions; the frames are scored by two NGU bonuses with the same weights,
one all in float32, then the weights are trained on these frames and all are scored once more.
Differences are relative to the float32 rewards.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from ngu import NGU
from ngu_envs import make

NUM_ENVS = 32


def main() -> None:
    """Records, scores, trains, scores, and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="MontezumaRevenge")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--updates", type=int, default=500)
    known = parser.parse_args()
    envs = make(known.env, NUM_ENVS, 0)
    envs.action_space.seed(0)
    observations, actions, dones = [envs.reset()[0]], [], [np.zeros(NUM_ENVS, bool)]
    for _ in range(known.steps):
        actions.append(envs.action_space.sample())
        observation, _, terminated, truncated, _ = envs.step(actions[-1])
        observations.append(observation)
        dones.append(terminated | truncated)
    spaces = envs.single_observation_space, envs.single_action_space
    envs.close()
    exact, fast = (NGU(*spaces, NUM_ENVS, precision=p) for p in ("float32", "bfloat16"))
    report(known.env, 0, exact, fast, observations, actions, dones)
    generator = np.random.default_rng(0)
    frames, taken = np.stack(observations), np.stack(actions)
    steps = np.argwhere(~np.stack(dones[:-1]))
    for _ in range(known.updates):
        t, env = steps[generator.integers(len(steps), size=80)].T
        exact.update(frames[t, env], taken[t, env], frames[t + 1, env])
    trained = NGU(*spaces, NUM_ENVS, precision="float32")
    for bonus in (trained, fast):
        bonus.load_learned(exact.state_dict())
    report(known.env, known.updates, trained, fast, observations, actions, dones)


def report(env, updates, exact, fast, observations, actions, dones) -> None:
    """Scores the frames with both and prints how far apart they are."""
    differences = []
    for bonus in (exact, fast):
        bonus.begin(observations[0])
    for t, action in enumerate(actions):
        where = ~dones[t]
        rewards = [
            bonus.score(observations[t], action, observations[t + 1], where=where)[where]
            for bonus in (exact, fast)
        ]
        for bonus in (exact, fast):
            if dones[t].any():
                bonus.begin(observations[t + 1], where=dones[t])
        differences.append(np.abs(rewards[1] / rewards[0] - 1))
    apart = np.concatenate(differences)
    figures = {
        "env": env,
        "updates": updates,
        "frames": len(apart),
        "mean_percent": round(100 * float(apart.mean()), 3),
        "99th_percentile_percent": round(100 * float(np.quantile(apart, 0.99)), 3),
        "largest_percent": round(100 * float(apart.max()), 3),
        "share_within_1_percent": round(float((apart < 0.01).mean()), 4),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
