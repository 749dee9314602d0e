"""Tests compute on one core: small tensors are faster so, above all on a machine with other work."""

import torch

torch.set_num_threads(1)
