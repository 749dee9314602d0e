"""The command that measures speed: ``python -m ngu.bench train``, ``novelty`` or ``world``.

``train`` times the training that ``ngu.train`` does, with its log and its run folder, and nothing
taken out. ``novelty`` times the intrinsic reward alone, on frames recorded beforehand. ``world``
times the dreamer's training, and says what its world model and its imagination do a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np
import torch
from rich.console import Console

from ngu.bench_stages import Stage, count_flops, peak_memory, print_json, print_stages
from ngu.bench_world import flops_of, world_figures
from ngu.console import log_to_console
from ngu.novelty.memory import EpisodicMemory
from ngu.novelty.ngu import NGU
from ngu.parsing import parse as parse_settings
from ngu.run_folder import RunFolder
from ngu.session import Session, open_session
from ngu.settings import SettingsError, resolve_device
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.recurrent_replay import RecurrentReplayAgent
from ngu_envs import make

logger = logging.getLogger("ngu")

WARM_UP_UPDATES = 3
"""Updates before the clock starts: first calls allocate and pick kernels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 for what the user has to mend."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    log_to_console()
    parser = argparse.ArgumentParser(prog="ngu.bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train", help="training as ngu.train does it; takes its options too", allow_abbrev=False
    )
    world = commands.add_parser(
        "world", help="training of the dreamer; takes ngu.train's options", allow_abbrev=False
    )
    for command in (train, world):
        command.add_argument("--seconds", type=float, default=60.0, help="how long to measure (60)")
    novelty = commands.add_parser("novelty", help="the intrinsic reward alone", allow_abbrev=False)
    novelty.add_argument("--env", default="MontezumaRevenge", help="whose frames (%(default)s)")
    novelty.add_argument("--num-envs", type=int, default=32, help="environments (%(default)s)")
    novelty.add_argument("--steps", type=int, default=240, help="steps of each (%(default)s)")
    novelty.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    for command in (train, novelty, world):
        command.add_argument("--json", action="store_true", help="end with one JSON object")
    known, rest = parser.parse_known_args(arguments)
    try:
        if known.command != "novelty":
            agent = ["--agent", "dreamer"] if known.command == "world" else []
            return _bench_train(known.seconds, known.json, [*rest, *agent])
        if rest:
            raise SettingsError(f"bench novelty has no option {rest[0]}")
        return _bench_novelty(known)
    except (ValueError, ImportError, gymnasium.error.Error) as error:
        logger.error("%s", error)
        return 2


def _bench_train(seconds: float, as_json: bool, arguments: Sequence[str]) -> int:
    if not seconds > 0:
        raise SettingsError(f"seconds must be above 0, got {seconds}")
    settings, text, sources = parse_settings(arguments, "ngu.bench train")
    if settings.replay is not None:
        sequences = settings.learning.batch_size * 2
        replay = dataclasses.replace(settings.replay, min_sequences=sequences)
        settings = dataclasses.replace(settings, replay=replay)
    session = open_session(settings)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = RunFolder.create(
                Path(temporary) / "run", config=text, seed=settings.seed, keep=1
            )
            session.begin()
            steps, updates, elapsed, stages = _measure_training(session, folder, seconds)
        figures = {"steps_per_second": steps / elapsed, "memory_gb": peak_memory() / 1e9}
        if isinstance(session.agent, DreamerAgent):
            figures |= world_figures(session, stages, updates)
    finally:
        session.close()
    rate = figures["steps_per_second"]
    title = (
        f"{settings.env}, {', '.join(sources)}: {rate:,.0f} environment steps/s, "
        f"{rate * session.frames_per_step:,.0f} frames/s, {figures['memory_gb']:.2f} GB at most"
    )
    if "model_frames_per_second" in figures:
        title += (
            f"\nthe world model trained on {figures['model_frames_per_second']:,.0f} replayed "
            f"frames/s, {figures['imagined_steps_per_second']:,.0f} steps/s imagined and learned "
            f"from, both together {figures['replayed_frames_per_second']:,.0f} replayed frames/s;\n"
            f"{figures['parameters'] / 1e6:.2f}M parameters; large matrix products here: "
            f"{figures['peak_gflops']:,.0f} GFLOP/s"
        )
    print_stages(title, stages, elapsed, steps)
    if as_json:
        print_json(figures, stages, elapsed, steps)
    return 0


def _measure_training(
    session: Session, folder: RunFolder, seconds: float
) -> tuple[int, int, float, dict[str, Stage]]:
    log_point = first_step = steps = updates = 0
    start = now = float("nan")
    clocks = {"acting": [session.loop.stopwatch, session.agent.stopwatch], "learner": []}
    if isinstance(session.agent, RecurrentReplayAgent):
        clocks["learner"].append(session.agent.learner.stopwatch)
    for progress in session:
        if progress.steps // session.settings.log.steps > log_point:
            log_point = progress.steps // session.settings.log.steps
            with session.loop.stopwatch("logging"):
                folder.log(session.collect())
        now, steps = time.perf_counter(), progress.steps
        if np.isnan(start):
            warm = session.agent.status().get("updates", WARM_UP_UPDATES) >= WARM_UP_UPDATES
            if warm:
                start, first_step = now, steps
                for watch in (w for watches in clocks.values() for w in watches):
                    watch.reset()
                updates = int(session.agent.status().get("updates", 0))
        elif now - start >= seconds:
            break
    elapsed, steps = now - start, steps - first_step
    updates = int(session.agent.status().get("updates", 0)) - updates
    calls = steps / session.settings.num_envs
    flops = _training_flops(session)
    stages = {}
    for thread, watches in clocks.items():
        for watch in watches:
            for name, spent in sorted(watch.seconds.items()):
                count = updates if name.startswith("learner") else calls
                done = flops.get(name)
                stages[name] = Stage(spent, None if done is None else done * count, thread)
    known = sum(stage.seconds for stage in stages.values() if stage.thread == "acting")
    stages["everything else"] = Stage(elapsed - known, None, "acting")
    return steps, updates, elapsed, stages


def _training_flops(session: Session) -> dict[str, float]:
    """Floating-point operations of one call of each stage, by counting one."""
    agent = session.agent
    if isinstance(agent, DreamerAgent):
        return flops_of(agent)
    if not isinstance(agent, RecurrentReplayAgent):
        return {}
    agent.finish_update()
    observation = np.asarray(session.envs.single_observation_space.sample())[None].repeat(
        session.settings.num_envs, axis=0
    )
    action = np.zeros(session.settings.num_envs, dtype=np.int64)
    batch = agent.replay.sample(agent.config.batch_size)
    counted = {
        "inference": count_flops(lambda: agent.actor.act(observation))[1],
        "learner: values": count_flops(lambda: agent.learner.update_values(batch))[1],
    }
    bonus, transitions = agent.bonus, agent.config.bonus_batch_size
    if bonus is not None:
        start = agent.action_start
        counted["novelty"] = count_flops(
            lambda: bonus.score(observation, action + start, observation)
        )[1]
        if transitions:
            drawn = agent.replay.sample_transitions(transitions)
            counted["learner: novelty"] = count_flops(
                lambda: agent.learner.update_bonus(bonus, drawn)
            )[1]
    return counted


def _bench_novelty(known: argparse.Namespace) -> int:
    if known.steps < 2 or known.num_envs < 1:
        raise SettingsError(
            f"steps must be at least 2 and num-envs 1, got {known.steps} and {known.num_envs}"
        )
    device = resolve_device(known.device)
    envs = make(known.env, known.num_envs, 0)
    logger.info("recording %d x %d steps of %s", known.num_envs, known.steps, known.env)
    envs.action_space.seed(0)
    observations, actions, dones = [envs.reset()[0]], [], []
    for _ in range(known.steps):
        actions.append(envs.action_space.sample())
        observation, _, terminated, truncated, _ = envs.step(actions[-1])
        observations.append(observation)
        dones.append(terminated | truncated)
    envs.close()
    spaces = envs.single_observation_space, envs.single_action_space
    figures: dict[str, float] = {}
    stages: dict[str, Stage] = {}
    for name, every in (("own schedule", 16), ("every transition", 1)):
        bonus = NGU(*spaces, known.num_envs, device=device)
        seconds = _play(bonus, observations, actions, dones, every)
        transitions = known.num_envs * known.steps
        figures[name] = transitions / sum(seconds.values())
        for stage, spent in seconds.items():
            stages[f"{stage}, {name}"] = Stage(spent, None, "acting")
    elapsed = sum(stage.seconds for stage in stages.values())
    title = (
        f"{known.env}, {known.num_envs} environments: {figures['own schedule']:,.0f} transitions/s "
        "where 5 of 80 are trained on (NGU's own schedule), "
        f"{figures['every transition']:,.0f} where each is trained on once"
    )
    print_stages(title, stages, elapsed, known.num_envs * known.steps)
    neighbours = {n: _search_time(known.num_envs, n, device) for n in (100, 30_000)}
    for entries, microseconds in neighbours.items():
        Console().print(
            f"nearest neighbours among {entries:,}: {microseconds:.1f} us per environment and step",
            highlight=False,
        )
    if known.json:
        extra = {
            "transitions_per_second": figures["own schedule"],
            "transitions_per_second_all_trained": figures["every transition"],
            "search_us": {str(n): value for n, value in neighbours.items()},
        }
        print_json(extra, stages, elapsed, known.num_envs * known.steps)
    return 0


def _play(
    bonus: NGU,
    observations: Sequence[np.ndarray],
    actions: Sequence[np.ndarray],
    dones: Sequence[np.ndarray],
    every: int,
) -> dict[str, float]:
    """Seconds for scoring, and for training on one transition in ``every``."""
    spent = {"score": 0.0, "update": 0.0}
    batch: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for warm in (True, False):
        bonus.begin(observations[0])
        done = np.zeros(len(actions[0]), dtype=bool)
        for t in range(min(len(actions), 48) if warm else len(actions)):
            now = time.perf_counter()
            bonus.score(observations[t], actions[t], observations[t + 1], where=~done)
            if done.any():
                bonus.begin(observations[t + 1], where=done)
            spent["score"] += time.perf_counter() - now
            done = dones[t]
            if t % every == 0:
                batch.append((observations[t], actions[t], observations[t + 1]))
            if batch and (len(batch) * len(done) >= 128 or t == len(actions) - 1):
                now = time.perf_counter()
                before, taken, after = (np.concatenate(part) for part in zip(*batch, strict=True))
                bonus.update(before, taken, after)
                spent["update"] += time.perf_counter() - now
                batch = []
        if warm:
            spent, batch = dict.fromkeys(spent, 0.0), []
    return spent


def _search_time(num_envs: int, entries: int, device: torch.device) -> float:
    """Microseconds for one environment's step: search among ``entries``, then remember."""
    memory = EpisodicMemory(num_envs, 32, capacity=entries, device=device)
    generator = torch.Generator().manual_seed(0)
    for _ in range(entries):
        memory.add(torch.randn(num_envs, 32, generator=generator).to(device))
    queries = torch.randn(num_envs, 32, generator=generator).to(device)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        memory.nearest(queries)
        memory.add(queries)
        best = min(best, time.perf_counter() - start)
    return best / num_envs * 1e6


if __name__ == "__main__":
    sys.exit(main())
