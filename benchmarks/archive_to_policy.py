"""From an archive to a policy under sticky actions, on Montezuma's Revenge.

    python benchmarks/archive_to_policy.py [--seeds 3] [--folder FOLDER]
    python benchmarks/archive_to_policy.py --table

For each seed an archive of 3 million frames, demonstrations of its best way to 2,000 points or
more, a policy that learns from them, and 32 episodes of it: as they begin, and after 1 to 30 frames
without action. An episode ends with the game or after 4,500 steps (18,000 frames). What is done
already is left alone, so Ctrl-C costs one stage at most. Prints a table of the returns, and of the
frames of all stages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ngu.run_folder import RunFolder
from ngu.state_file import load_tree

_ACTION_REPEAT = 4


def main() -> int:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/archive-to-policy"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    known = parser.parse_args()
    folders = {seed: known.folder / f"seed-{seed}" for seed in range(known.seeds)}
    if not known.table:
        for seed, folder in folders.items():
            _run(folder, seed)
    print("| seed | frames in all | demonstrated | mean return (95 %) | best | after no-ops |")
    print("|---|---|---|---|---|---|")
    for seed, folder in folders.items():
        print(_row(seed, folder))
    return 0


def _run(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    archive, policy = folder / "archive", folder / "policy"
    shown = archive / "demonstrations.safetensors"
    montezuma = ("--env", "MontezumaRevenge", "--seed", seed)
    frames = ("--frames", 3_000_000)
    _train(archive, "--agent", "archive", *montezuma, *frames)
    if not shown.exists():
        words = ("--score", 2000, "--seed", seed, "--options.protocol", "sticky")
        unfinished = folder / "unfinished.safetensors"
        unfinished.unlink(missing_ok=True)
        _python("ngu.demonstrate", archive, *words, "--out", unfinished)
        unfinished.rename(shown)
    learning = ("--config", "atari-demonstrations", "--learning.demonstrations", shown)
    _train(policy, *montezuma, *learning)
    for name, words in (("returns", ()), ("no-ops", ("--options.noop_max", 30))):
        told = folder / f"{name}.json"
        if not told.exists():
            played = ("--episodes", 32, "--max-steps", 4500, "--seed", 1, "--json")
            written = _python("ngu.evaluate", policy, *played, *words)
            told.write_text(written.splitlines()[-1])


def _train(run: Path, *words: object) -> None:
    """Train a run, or go on with it."""
    if not (run / "config.yaml").exists():
        _python("ngu.train", *words, "--run-dir", run)
    else:
        _python("ngu.train", "--resume", run)


def _python(module: str, *words: object) -> str:
    """What a command of the library writes to its output."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _row(seed: int, folder: Path) -> str:
    about = load_tree(folder / "archive" / "demonstrations.safetensors")["about"]
    frames = about["steps"] * _ACTION_REPEAT
    frames += sum(_frames_of(folder / name) for name in ("archive", "policy"))
    as_they_begin, after = (_returns(folder / f"{name}.json") for name in ("returns", "no-ops"))
    spread = 1.96 * as_they_begin["episode_return_std"] / as_they_begin["episodes"] ** 0.5
    return (
        f"| {seed} | {frames:,} | {about['score']:,g} | "
        f"{as_they_begin['episode_return']:,.0f} (± {spread:,.0f}) | "
        f"{as_they_begin['episode_return_best']:,.0f} | {after['episode_return']:,.0f} |"
    )


def _frames_of(run: Path) -> int:
    rows = (RunFolder.open(run).path / "metrics.jsonl").read_text().splitlines()
    return int(json.loads(rows[-1])["frames"])


def _returns(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["policies"][0]


if __name__ == "__main__":
    sys.exit(main())
