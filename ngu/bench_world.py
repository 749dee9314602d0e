"""Speed of the dreamer: replayed frames a second of model training, imagined steps a second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from ngu.bench_stages import Stage, count_flops
from ngu.precision import resolve_precision
from ngu.session import Session
from ngu.settings import resolve_device
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.dreamer_learning import DreamerLearner
from ngu_agents.one_core_threads import one_core_threads, usable_cores

MODEL, IMAGINATION, BEHAVIOUR = (
    f"learner: {stage}" for stage in ("model", "imagination", "behaviour")
)
_MATRIX, _PRODUCTS = 1536, 8


def flops_of(agent: DreamerAgent) -> dict[str, float]:
    """Floating-point operations of each stage of an update, by counting those of one shard."""
    learner: DreamerLearner = agent.learner
    shards = learner.shards(agent.replay.sample(agent.config.batch_size))
    shard, found = shards[0], dict[str, float]()
    modelled, found[MODEL] = count_flops(lambda: learner.learn_model(shard, 0))
    dream, found[IMAGINATION] = count_flops(lambda: learner.dream(shard, modelled, 0))
    _, found[BEHAVIOUR] = count_flops(lambda: learner.learn_behaviour(dream))
    return {name: flops * len(shards) for name, flops in found.items()}


def world_figures(session: Session, stages: Mapping[str, Stage], updates: int) -> dict[str, float]:
    """What a dreamer did a second in the time that its stages took, its size, and the peak.

    Args:
        session: with a dreamer.
        stages: of its training.
        updates: in that time.
    """
    agent = session.agent
    assert isinstance(agent, DreamerAgent)
    config = agent.config
    length = agent.replay.config.trace_length
    sequences = updates * config.batch_size
    starts = min(length, config.starts_per_sequence or length)
    learning = sum(stage.seconds for name, stage in stages.items() if name.startswith("learner: "))
    imagining = stages[IMAGINATION].seconds + stages[BEHAVIOUR].seconds
    networks = (agent.model, agent.behaviour)
    return {
        "model_frames_per_second": sequences * length / stages[MODEL].seconds,
        "imagined_steps_per_second": sequences * starts * config.horizon / imagining,
        "replayed_frames_per_second": sequences * length / learning,
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "peak_gflops": _peak_flops(session) / 1e9,
    }


def _peak_flops(session: Session) -> float:
    """Floating-point operations a second of large matrix products on all cores, the best of a few.

    In the type that the networks compute in, each core by itself as in training.
    """
    device = resolve_device(session.settings.device)
    dtype = resolve_precision(session.settings.precision, device)
    threads = usable_cores() if device.type == "cpu" else 1
    matrix = torch.ones(_MATRIX, _MATRIX, dtype=dtype, device=device)

    def multiply(_: Any) -> None:
        product = torch.empty_like(matrix)
        for _ in range(_PRODUCTS):
            torch.mm(matrix, matrix, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    best = 0.0
    with one_core_threads(threads, "peak") as pool:
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(multiply, range(threads)))
            spent = time.perf_counter() - start
            best = max(best, threads * _PRODUCTS * 2 * _MATRIX**3 / spent)
    return best
