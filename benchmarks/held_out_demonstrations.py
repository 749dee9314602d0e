"""How well imitation knows demonstrations that it has not learned from.

    python benchmarks/held_out_demonstrations.py LEARNED HELD_OUT [--updates 600]

Two files of demonstrations of one archive, made by python -m ngu.demonstrate with different seeds.
The preset atari-demonstrations learns from the first one, as it is, with a memory, and without
dropout, at equal steps trained on. Prints the mean cross-entropy of a step learned from and of one
held out, and the share of these whose action is the likeliest one.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

import torch

from ngu.parsing import parse
from ngu.parts import demonstrations, make_envs
from ngu.precision import autocast, resolve_precision
from ngu.seeding import Seeds
from ngu.settings import TrainSettings
from ngu_agents.learning import Learner
from ngu_agents.losses import demonstration_loss
from ngu_agents.networks import make_network
from ngu_agents.sequence_batch import SequenceBatch

_PRESET = ("--config", "atari-demonstrations")
# Sequences of 24 steps that are learned from after 8 that only bring the memory up to date.
_REMEMBERS = (
    "--learning.recurrent", "true", "--learning.batch_size", "32",
    "--replay.burn_in", "8", "--replay.trace_length", "24", "--replay.period", "24",
)  # fmt: skip
_LEARNS_ALL = ("--learning.demonstration_dropout", "0")
_VARIANTS = {
    "the preset": (),
    "without dropout": _LEARNS_ALL,
    "with a memory": _REMEMBERS,
    "with a memory, without dropout": (*_REMEMBERS, *_LEARNS_ALL),
}
_EVERY, _BATCHES = 100, 8
_DEVICE = torch.device("cpu")


def main() -> int:
    """Train each variant, and print how it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("learned", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--env", default="MontezumaRevenge")
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    print("| imitation | updates | learned from | held out | likeliest |")
    print("|---|---|---|---|---|")
    for name, words in _VARIANTS.items():
        _learn(name, words, known)
    return 0


def _learn(name: str, words: tuple[str, ...], known: argparse.Namespace) -> None:
    shared = ("--env", known.env, "--seed", str(known.seed), *_PRESET, *words)
    settings, held_out = (
        parse([*shared, "--learning.demonstrations", str(path)], "held_out_demonstrations")[0]
        for path in (known.learned, known.held_out)
    )
    dtype = resolve_precision(settings.precision, _DEVICE)
    with closing(make_envs(settings, 1, 0)) as envs:
        learned, held = (demonstrations(each, envs) for each in (settings, held_out))
        spaces = envs.single_observation_space, envs.single_action_space
    assert learned is not None
    assert held is not None
    network = make_network(
        *spaces, settings.learning, generator=Seeds(known.seed).torch("value function")
    )
    learner = Learner(
        network,
        None,
        settings.learning,
        burn_in=settings.replay.burn_in,
        action_start=0,
        generator=Seeds(known.seed).torch("hidden features"),
        device=_DEVICE,
        dtype=dtype,
    )
    size = settings.learning.batch_size
    tests = [[each.sample(size) for _ in range(_BATCHES)] for each in (learned, held)]
    for update in range(1, known.updates + 1):
        learner.update(learned.sample(size), None)
        if update % _EVERY == 0:
            (trained, _), (entropy, likeliest) = (
                _measured(learner, batches, settings, dtype) for batches in tests
            )
            row = f"| {name} | {update} | {trained:.2f} | {entropy:.2f} | {likeliest:.0%} |"
            print(row, flush=True)


@torch.no_grad()
def _measured(
    learner: Learner, batches: list[SequenceBatch], settings: TrainSettings, dtype: torch.dtype
) -> tuple[float, float]:
    """Cross-entropy of a step, and share of the steps whose action is the likeliest one."""
    burn_in, temperature = settings.replay.burn_in, settings.learning.temperature
    total, right, count = 0.0, 0, 0
    for batch in batches:
        state = torch.from_numpy(batch.recurrent_state)
        with autocast(_DEVICE, dtype):
            values, _ = learner.network.advantages(learner.inputs(batch), state)
        values = values[burn_in:-1]
        action, valid = (torch.from_numpy(each[burn_in:]) for each in (batch.action, batch.valid))
        loss = demonstration_loss(values, action, valid, temperature)
        total += loss.item() * len(batch.ids)
        right += int(((values.argmax(-1) == action) & valid).sum())
        count += int(valid.sum())
    return total / count, right / count


if __name__ == "__main__":
    sys.exit(main())
