"""From an archive to a policy under sticky actions, on Montezuma's Revenge.

    python benchmarks/archive_to_policy.py [--seed 0] [--folder FOLDER]
    python benchmarks/archive_to_policy.py --table

An archive of 3 million frames, demonstrations of its best way to 2,000 points or more, a policy
that learns from them, takes part in the next demonstrations, and learns from these as well, in
four stages. After each 32 episodes of it, at last also 32 that begin after 1 to 30 frames without
action. An episode ends with the game or after 4,500 steps (18,000 frames). What is done already is
left alone, so Ctrl-C costs one stage at most. Prints a table of the returns of all seeds in the
folder, and of the frames of all that it took.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ngu_agents.archive.demonstrated import Shown

_ACTION_REPEAT = 4
# Updates of the policy at the end of each stage, and frames that it plays for one of them.
_STAGES, _FRAMES = (500, 1000, 1500, 2000), 32


def main() -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/archive-to-policy"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    known = parser.parse_args()
    if not known.table:
        _run(known.folder / f"seed-{known.seed}", known.seed)
    print("| seed | updates | frames in all | mean return (95 %) | best | after no-ops |")
    print("|---|---|---|---|---|---|")
    for folder in sorted(known.folder.glob("seed-*")):
        for stage, updates in enumerate(_STAGES):
            if (folder / f"returns-{stage}.json").exists():
                print(_row(folder, stage, updates))
    return 0


def _run(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    archive, policy, shown = (
        folder / name for name in ("archive", "policy", "demonstrations.safetensors")
    )
    montezuma = ("--env", "MontezumaRevenge", "--seed", seed)
    _train(archive, 3_000_000, "--agent", "archive", *montezuma)
    for stage, updates in enumerate(_STAGES):
        told = folder / f"returns-{stage}.json"
        if told.exists():
            continue
        sure = folder / f"demonstrations-{stage}.safetensors"
        if not sure.exists():
            words = ("--score", 2000, "--sweeps", 1, "--seed", seed + 10 * stage)
            further = ("--policy", policy) if stage else ()
            unfinished = folder / "unfinished.safetensors"
            unfinished.unlink(missing_ok=True)
            sticky = ("--options.protocol", "sticky", "--out", unfinished)
            _python("ngu.demonstrate", archive, *further, *words, *sticky)
            unfinished.rename(sure)
        shutil.copyfile(sure, shown)
        learning = ("--config", "atari-demonstrations", "--learning.demonstrations", shown)
        _train(policy, updates * _FRAMES, *montezuma, *learning)
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


def _row(folder: Path, stage: int, updates: int) -> str:
    archive = json.loads((folder / "archive" / "metrics.jsonl").read_text().splitlines()[-1])
    shown = Shown.load(folder / f"demonstrations-{stage}.safetensors")
    frames = archive["frames"] + shown.steps * _ACTION_REPEAT + updates * _FRAMES
    returns = _returns(folder / f"returns-{stage}.json")
    spread = 1.96 * returns["episode_return_std"] / returns["episodes"] ** 0.5
    no_ops = folder / "no-ops.json"
    after = ""
    if stage == len(_STAGES) - 1 and no_ops.exists():
        after = f"{_returns(no_ops)['episode_return']:,.0f}"
    return (
        f"| {folder.name.removeprefix('seed-')} | {updates:,} | {frames:,} | "
        f"{returns['episode_return']:,.0f} (± {spread:,.0f}) | "
        f"{returns['episode_return_best']:,.0f} | {after} |"
    )


def _returns(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["policies"][0]


if __name__ == "__main__":
    sys.exit(main())
