"""Times training of the autoencoder on pictures in memory, and prints its floating-point rate.

    python benchmarks/vae_speed.py [--shape 64,64,3] [--batch-size 256] [--updates 20] [--rounds 3]

The rounds of both precisions alternate. Operations are counted by torch: a multiplication and an
addition are two.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ngu.precision import resolve_precision
from ngu.world.vae import ConvVAE
from ngu.world.vae_training import VAETraining, VAETrainingConfig

_WARM_UPS = 3


def main() -> None:
    """Time both precisions and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="64,64,3", help="of a picture (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--updates", type=int, default=20, help="in a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    known = parser.parse_args()
    shape = tuple(int(side) for side in known.shape.split(","))
    updates = _WARM_UPS + known.rounds * known.updates
    pictures = np.random.default_rng(0).integers(
        0, 256, (known.batch_size * 4, *shape), dtype=np.uint8
    )
    config = VAETrainingConfig(epochs=updates, batch_size=known.batch_size)
    trainings = {
        precision: iter(VAETraining(ConvVAE(shape), pictures, config, seed=0, precision=precision))
        for precision in ("bfloat16", "float32")
    }
    operations = {}
    for precision, training in trainings.items():
        with FlopCounterMode(display=False) as counter:
            next(training)
        operations[precision] = counter.get_total_flops()
        for _ in range(_WARM_UPS - 1):
            next(training)
    rates: dict[str, list[float]] = {precision: [] for precision in trainings}
    for _ in range(known.rounds):
        for precision, training in trainings.items():
            begun = time.perf_counter()
            for _ in range(known.updates):
                next(training)
            rates[precision].append(known.updates / (time.perf_counter() - begun))
    automatic = str(resolve_precision("auto", "cpu")).removeprefix("torch.")
    weights = sum(weight.numel() for weight in ConvVAE(shape).parameters())
    print(
        f"{list(shape)}, {weights:,} weights, batches of {known.batch_size}, "
        f"{torch.get_num_threads()} threads; auto is {automatic}"
    )
    for precision, found in rates.items():
        pictures_per_second = [rate * known.batch_size for rate in found]
        gigaflops = np.median(found) * operations[precision] / 1e9
        print(
            f"{precision}: {np.median(pictures_per_second):,.0f} pictures/s trained "
            f"({min(pictures_per_second):,.0f} to {max(pictures_per_second):,.0f}), "
            f"{gigaflops:,.0f} Gflop/s"
        )


if __name__ == "__main__":
    main()
