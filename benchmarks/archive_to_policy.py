"""From an archive to a policy under sticky actions, on Montezuma's Revenge.

    python benchmarks/archive_to_policy.py [--seed 0] [--folder FOLDER]
    python benchmarks/archive_to_policy.py --table [--picture docs/results/policy.png]

An archive of 3 million frames, demonstrations of its best way to 2,000 points or more, a policy
that learns from them, takes part in the next demonstrations, and learns from these as well, in
five stages. After each 32 episodes of it, at last also 32 that begin after 1 to 30 frames without
action. An episode ends with the game or after 4,500 steps (18,000 frames). What is done already is
left alone, so Ctrl-C costs one stage at most. Prints a table of the returns of all seeds in the
folder, and of the frames of all that it took; a picture of it needs the extra "plots".
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ngu_agents.archive.demonstrated import Shown

_ACTION_REPEAT = 4
# Updates of the policy at the end of each stage, and frames that it plays for one of them.
_STAGES, _FRAMES = (500, 1000, 1500, 2000, 2500), 32
# Mean return of DreamerV3 (arXiv 2301.04104) and the frames that it took.
_GOAL, _GOAL_FRAMES = 1311, 10_000_000


class Stage(NamedTuple):
    """What came of a stage of one seed."""

    seed: str
    updates: int
    frames: int
    """Of all that it took."""
    mean: float
    """Return of an episode."""
    spread: float
    """Half of the 95 % interval of the mean."""
    best: float
    after_no_ops: float | None
    """Mean return of episodes that begin without action; None where none were played."""


def main() -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/archive-to-policy"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--picture", type=Path, help="PNG of the returns over frames to write")
    known = parser.parse_args()
    if not known.table:
        _run(known.folder / f"seed-{known.seed}", known.seed)
    stages = [
        _stage(folder, number)
        for folder in sorted(known.folder.glob("seed-*"))
        for number in range(len(_STAGES))
        if (folder / f"returns-{number}.json").exists()
    ]
    print("| seed | updates | frames in all | mean return (95 %) | best | after no-ops |")
    print("|---|---|---|---|---|---|")
    for stage in stages:
        after = "" if stage.after_no_ops is None else f"{stage.after_no_ops:,.0f}"
        print(
            f"| {stage.seed} | {stage.updates:,} | {stage.frames:,} | {stage.mean:,.0f} "
            f"(± {stage.spread:,.0f}) | {stage.best:,.0f} | {after} |"
        )
    if known.picture is not None:
        _draw(stages, known.picture)
    return 0


def _draw(stages: list[Stage], path: Path) -> None:
    from matplotlib.figure import Figure  # the runs do without it

    picture = Figure(figsize=(7, 4), layout="constrained")
    axes = picture.subplots()
    for seed in dict.fromkeys(stage.seed for stage in stages):
        own = [stage for stage in stages if stage.seed == seed]
        axes.errorbar(
            [stage.frames / 1e6 for stage in own],
            [stage.mean for stage in own],
            [stage.spread for stage in own],
            marker="o",
            capsize=3,
            label=f"seed {seed}",
        )
    axes.plot(_GOAL_FRAMES / 1e6, _GOAL, "k*", markersize=10, label="DreamerV3")
    axes.set_xlabel("million frames in all")
    axes.set_ylabel("mean return")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=150)


def _run(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    archive, policy, shown = (
        folder / name for name in ("archive", "policy", "demonstrations.safetensors")
    )
    montezuma = ("--env", "MontezumaRevenge", "--seed", seed)
    search = ("--agent", "archive", "--options.noop_max", 0)
    _train(archive, 3_000_000, *search, *montezuma)
    for stage, updates in enumerate(_STAGES):
        told = folder / f"returns-{stage}.json"
        if told.exists():
            continue
        sure = folder / f"demonstrations-{stage}.safetensors"
        if not sure.exists():
            words = ("--score", 2000, "--sweeps", 1 if stage else 2, "--seed", seed + 10 * stage)
            further = ("--policy", policy) if stage else ()
            unfinished = folder / "unfinished.safetensors"
            unfinished.unlink(missing_ok=True)
            sticky = ("--options.protocol", "sticky", "--out", unfinished)
            _python("ngu.demonstrate", archive, *further, *words, *sticky)
            unfinished.rename(sure)
        shutil.copyfile(sure, shown)
        learning = ("--config", "atari-demonstrations", "--learning.demonstrations", shown)
        imitating = ("--learning.demonstration_updates", _STAGES[-1])
        _train(policy, updates * _FRAMES, *montezuma, *learning, *imitating)
        _evaluate(policy, told)
    if not (folder / "no-ops.json").exists():
        _evaluate(policy, folder / "no-ops.json", "--options.noop_max", 30)


def _evaluate(policy: Path, told: Path, *options: object) -> None:
    played = ("--episodes", 32, "--max-steps", 4500, "--seed", 1, "--json")
    written = _python("ngu.evaluate", policy, *played, *options)
    told.write_text(written.splitlines()[-1])


def _train(run: Path, frames: int, *words: object) -> None:
    """Train a run, or go on with it, up to so many frames."""
    if (run / "config.yaml").exists():
        _python("ngu.train", "--resume", run, "--frames", frames)
    else:
        _python("ngu.train", *words, "--frames", frames, "--run-dir", run)


def _python(module: str, *words: object) -> str:
    """What a command of the library writes to its output."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _stage(folder: Path, number: int) -> Stage:
    archive = json.loads((folder / "archive" / "metrics.jsonl").read_text().splitlines()[-1])
    shown = Shown.load(folder / f"demonstrations-{number}.safetensors")
    updates = _STAGES[number]
    returns = _returns(folder / f"returns-{number}.json")
    no_ops = folder / "no-ops.json"
    last = number == len(_STAGES) - 1 and no_ops.exists()
    return Stage(
        folder.name.removeprefix("seed-"),
        updates,
        archive["frames"] + shown.steps * _ACTION_REPEAT + updates * _FRAMES,
        returns["episode_return"],
        1.96 * returns["episode_return_std"] / returns["episodes"] ** 0.5,
        returns["episode_return_best"],
        _returns(no_ops)["episode_return"] if last else None,
    )


def _returns(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["policies"][0]


if __name__ == "__main__":
    sys.exit(main())
