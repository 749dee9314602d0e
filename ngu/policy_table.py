"""What each policy reached in an evaluation, as a table and as figures by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ngu.evaluation import Episode, novelty_name
from ngu.settings import ARCHIVE_AGENTS, TrainSettings
from ngu_agents.family import discounts, intrinsic_weights
from ngu_envs import crafter_score

_PLACES = {"room": "rooms", "coverage": "coverage", "achievements": "achievements_per_episode"}


def policy_row(
    policy: int, episodes: Sequence[Episode], settings: TrainSettings, progress: str | None
) -> dict[str, Any]:
    """What a policy reached, by the names of ``metrics.jsonl``: means over its episodes."""
    own = [episode for episode in episodes if episode.policy == policy]
    rewards = [episode.total_reward for episode in own]
    row: dict[str, Any] = {"policy": policy, "beta": None, "gamma": None}
    if settings.agent != "ngu":
        row["policy"] = None
    else:
        learning = settings.learning
        row["beta"] = float(intrinsic_weights(learning.num_policies, learning.beta)[policy])
        row["gamma"] = float(
            discounts(learning.num_policies, learning.gamma_max, learning.gamma_min)[policy]
        )
    row |= {
        "episodes": len(own),
        # A trajectory ends where its best state is.
        "episodes_cut": 0 if settings.agent in ARCHIVE_AGENTS else sum(one.cut for one in own),
        "episode_return": float(np.mean(rewards)),
        "episode_return_std": float(np.std(rewards)),
        "episode_return_best": max(rewards),
        "episode_length": float(np.mean([episode.length for episode in own])),
    }
    place = _PLACES.get(progress or "")
    if place is not None:
        row[place] = float(np.mean([episode.progress or 0.0 for episode in own]))
    if own[0].achievements is not None:
        unlocked = np.array([episode.achievements for episode in own])
        row["crafter_score"] = crafter_score(100 * unlocked.mean(0))
    for name in own[0].means:
        row[name] = float(np.mean([episode.means[name] for episode in own]))
    return row


def print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print the rows that `policy_row` made on standard output."""
    places = [name for name in (*_PLACES.values(), "crafter_score") if name in rows[0]]
    table = Table(title=title, title_justify="left")
    columns = {
        "policy": "policy", "beta": "beta", "gamma": "gamma", "episodes": "episodes",
        "return": "episode_return", "std": "episode_return_std", "best": "episode_return_best",
        "length": "episode_length",
    }  # fmt: skip
    columns |= {name.removesuffix("_per_episode").replace("_", " "): name for name in places}
    novelty = novelty_name(rows[0])
    if novelty is not None:
        columns[novelty.replace("_", " ")] = novelty
    for heading in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(_shown(name, row[name]) for name in columns.values()))
    cut = sum(row["episodes_cut"] for row in rows)
    if cut:
        table.caption = f"{cut} episodes were cut before their end (--max-steps)"
    Console(width=None if os.isatty(1) else 120).print(table)


def _shown(name: str, value: int | float | None) -> str:
    if value is None:
        return "-"
    if name == "gamma":
        return f"{value:.5f}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
