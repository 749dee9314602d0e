"""Make the autoencoder that comes with ngu of a run of train_vae on CarRacing.

Its weights are rounded to half precision, and 175 frames of other episodes are put beside it.

    python -m ngu.train_vae --env CarRacing-v3 --frames 30000 --num-envs 4 --vae.filters 16 \
        --vae.latent_dim 16 --vae.beta 0.25 --vae.free_nats 0 --training.epochs 5 \
        --training.batch_size 64 --training.learning_rate 1e-3 --device cpu --run-dir runs/car
    python benchmarks/shipped_autoencoder.py runs/car
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ngu.checkpoint import save_tree
from ngu.frames import collect
from ngu.visualize import SHIPPED
from ngu.world.vae import ConvVAE
from ngu_envs import make

ENVS, FIRST, LAST, EVERY, SEED = 25, 60, 200, 20, 1  # when the camera has come down


def main() -> None:
    """Write both files, and print their size and what rounding costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    known = parser.parse_args()
    exact = ConvVAE.load(known.run / "vae.safetensors")
    known.out.mkdir(exist_ok=True)
    ConvVAE.load(known.run / "vae.safetensors").half().save(known.out / "vae.safetensors")
    rounded = ConvVAE.load(known.out / "vae.safetensors")
    envs = make("CarRacing-v3", ENVS, SEED)
    shown = collect(envs, size=exact.observation_shape[0], seed=SEED)
    pictures = np.concatenate(list(islice(shown, FIRST, LAST, EVERY)))
    envs.close()
    save_tree(known.out / "pictures.safetensors", {"pictures": pictures})
    for name, vae in (("as trained", exact), ("rounded", rounded)):
        print(f"{name}: squared error {squared_error(vae, pictures):.3f} a picture")
    size = sum(path.stat().st_size for path in known.out.iterdir())
    print(f"{len(pictures)} frames; {size / 1e6:.2f} MB")


@torch.no_grad()
def squared_error(vae: ConvVAE, pictures: np.ndarray) -> float:
    """Of pictures in [0, 1], summed over a picture's numbers."""
    shown = torch.from_numpy(pictures)
    error = (vae.decode(vae.encode(shown).mean).float() - shown.float()) / 255
    return error.square().sum().item() / len(pictures)


if __name__ == "__main__":
    main()
