"""Plots a figure of runs over their frames, and prints where each ended.

    python benchmarks/plot_runs.py coverage docs/results/disco_maze.png runs/ngu runs/random

Needs the extra "plots".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from ngu.run_folder import RunFolder


def main() -> None:
    """Read the runs' log points, draw them, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", help="a key of metrics.jsonl")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--smooth", type=int, default=5, help="log points averaged (%(default)s)")
    parser.add_argument("--multiple-of", type=float, help="a baseline to compare the ends with")
    known = parser.parse_args()
    picture = Figure(figsize=(7, 4), layout="constrained")
    axes = picture.subplots()
    for path in known.runs:
        folder = RunFolder.open(path)
        rows = [row for row in folder.metrics() if row.get(known.figure) is not None]
        frames = np.array([row["frames"] for row in rows])
        values = np.array([row[known.figure] for row in rows])
        settings = yaml.safe_load(folder.config)
        width = min(known.smooth, len(values))
        smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
        cells = (settings.get("learning") or {}).get("cells")
        agent = settings["agent"] if cells is None else f"{cells} cells"
        label = f"{agent}, seed {settings['seed']}"
        axes.plot(frames[width - 1 :], smooth, label=label)
        against = f", {smooth[-1] / known.multiple_of:.2f} x" if known.multiple_of else ""
        hours = rows[-1]["seconds"] / 3600
        print(
            f"{label}: {known.figure} {smooth[-1]:.5g} (best {smooth.max():.5g}){against} after "
            f"{frames[-1]:,} frames, {hours:.2f} h"
        )
    axes.set_xlabel("frames")
    axes.set_ylabel(known.figure.replace("_", " "))
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    known.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(known.picture, dpi=150)


if __name__ == "__main__":
    main()
