"""Plots figures of runs over their frames, and prints where each ended.

    python benchmarks/plot_runs.py coverage docs/results/disco_maze.png runs/ngu runs/random
    python benchmarks/plot_runs.py rooms,score_best archive.png runs/archive_0 runs/archive_1

Runs of one kind have one colour. Needs the extra "plots".
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
    parser.add_argument("figures", help="keys of metrics.jsonl, with commas between")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--smooth", type=int, default=5, help="log points averaged (%(default)s)")
    parser.add_argument("--multiple-of", type=float, help="a baseline to compare the ends with")
    known = parser.parse_args()
    figures = known.figures.split(",")
    picture = Figure(
        figsize=(7 if len(figures) == 1 else 5 * len(figures), 4), layout="constrained"
    )
    colours: dict[str, str] = {}
    for axes, figure in zip(np.atleast_1d(picture.subplots(1, len(figures))), figures, strict=True):
        for path in known.runs:
            frames, values, kind, seed, hours = _curve(path, figure, known.smooth)
            label = None if kind in colours else kind
            colour = colours.setdefault(kind, f"C{len(colours)}")
            axes.plot(frames, values, label=label, color=colour, alpha=0.8)
            multiple = f", {values[-1] / known.multiple_of:.2f} x" if known.multiple_of else ""
            print(
                f"{kind}, seed {seed}: {figure} {values[-1]:.5g} (best {values.max():.5g})"
                f"{multiple} after {frames[-1]:,} frames, {hours:.2f} h"
            )
        axes.set_xlabel("frames")
        axes.set_ylabel(figure.replace("_", " "))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    picture.legend(loc="outside lower center", ncols=min(3, len(colours)))
    known.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(known.picture, dpi=150)


def _curve(path: Path, figure: str, smooth: int) -> tuple[np.ndarray, np.ndarray, str, int, float]:
    """Frames and values of a run's log points, its kind, its seed, and its hours."""
    folder = RunFolder.open(path)
    rows = [row for row in folder.metrics() if row.get(figure) is not None]
    frames = np.array([row["frames"] for row in rows])
    values = np.array([row[figure] for row in rows])
    settings = yaml.safe_load(folder.config)
    kind, cells = settings["agent"], (settings.get("learning") or {}).get("cells")
    if cells is not None:
        kind = f"{cells} cells"
    elif kind == "dreamer":
        kind += f", bonus {settings['bonus']}"
    width = min(smooth, len(values))
    smooth_values = np.convolve(values, np.full(width, 1 / width), mode="valid")
    hours = rows[-1]["seconds"] / 3600
    return frames[width - 1 :], smooth_values, kind, settings["seed"], hours


if __name__ == "__main__":
    main()
