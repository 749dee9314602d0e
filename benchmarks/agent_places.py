"""How well two actions from the same state show where the agent is.

    python benchmarks/agent_places.py

In 16 games of each kind random actions are taken, each many times in a row, and every fourth step
another one is tried first, as the archive does. Prints in how many trials the agent was seen, the
correlation of its place with the one in the console's memory, and what a line through both misses,
in pixels of the console's screen of 160 x 210.
"""

from __future__ import annotations

import argparse

import numpy as np

from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.trials import Trials
from ngu_envs import make
from ngu_envs.atari_names import ROM_OF_GAME
from ngu_envs.atari_ram import RAM_LABELS

_GAMES = ("MontezumaRevenge", "Pitfall", "PrivateEye", "Hero", "Freeway")
_NUM_ENVS = 16


def main() -> None:
    """Print a line for each game."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="of each game (%(default)s)")
    known = parser.parse_args()
    for name in _GAMES:
        labels = RAM_LABELS[ROM_OF_GAME[name]]
        places, rams, seen = _walk(name, known.steps)
        line = f"{name}: seen in {seen:.2f} of {len(places) / seen:.0f} trials"
        for axis, key, pixels in ((1, "player_x", 160), (0, "player_y", 210)):
            if key not in labels:
                continue
            value = rams[:, labels[key]].astype(float)
            place = places[:, axis] * pixels
            slope, start = np.polyfit(value, place, 1)
            missed = abs(slope * value + start - place)
            line += (
                f"; {key} correlation {np.corrcoef(value, place)[0, 1]:.2f}, "
                f"missed by {np.median(missed):.1f} (nine tenths by {np.quantile(missed, 0.9):.1f})"
            )
        print(line, flush=True)


def _walk(name: str, steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Places and memories where the agent was seen, and in what share of trials."""
    envs = make(name, _NUM_ENVS, 0)
    trials = Trials(envs, every=4, seed=0)
    agent = ArchiveAgent(envs.single_action_space, _NUM_ENVS, repeat_probability=0.95, seed=0)
    _, info = envs.reset(seed=0)
    ram, lives = info["ram"], info["lives"]
    going = np.ones(_NUM_ENVS, bool)
    places, rams, count = [], [], 0
    for _ in range(steps):
        actions = agent.act()
        trial = trials(actions, going, lives)
        observation, _, terminated, truncated, info = envs.step(actions)
        if trial is not None:
            lived = going & ~(terminated | truncated | (info["lives"] < lives))
            controlled = trials.compare(trial, observation, lived)
            places.append(controlled.places[controlled.seen])
            rams.append(ram[controlled.seen])
            count += int(going.sum())
        ram, lives, going = info["ram"], info["lives"], ~(terminated | truncated)
    envs.close()
    return np.concatenate(places), np.concatenate(rams), len(np.concatenate(places)) / count


if __name__ == "__main__":
    main()
