"""Trainings of a second or two: their settings, and what they leave."""

import json
from pathlib import Path

SHORT = ["--num-envs", 2, "--device", "cpu", "--log.steps", 50]
TINY = [
    *("--learning.features", 8, "--learning.hidden", 8, "--learning.batch_size", 2),
    *("--learning.bonus_batch_size", 6, "--learning.replay_ratio", 0.5),
    *("--replay.trace_length", 6, "--replay.period", 3, "--replay.min_sequences", 6),
    *("--replay.capacity_steps", 2000, "--novelty.memory_capacity", 50),
    *SHORT,
]
DEEP_SEA = ["--env", "deep-sea", "--options.size", 5, *TINY]


def rows_of(run: Path) -> list[dict]:
    """A run's log points without what the clock and the machine's memory say."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "steps_per_second", "memory_gb")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def newest(run: Path) -> Path | None:
    return max((run / "checkpoints").glob("step-*.safetensors"), default=None)
