"""Tests compute on one core: small tensors are faster so, above all beside other work."""

import torch

torch.set_num_threads(1)
