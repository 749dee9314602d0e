import torch
from torch.nn import functional

from ngu.world.layers import Dense, NormedGRU


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_parts_make_the_layer_of_all_inputs_together():
    split = Dense((3, 2), 4, generator=generator())
    torch.nn.init.normal_(split.linear.bias, generator=generator(1))
    left, right = (
        torch.randn(5, 3, generator=generator(2)),
        torch.randn(5, 2, generator=generator()),
    )
    together = split.linear(torch.cat((left, right), -1))
    expected = functional.silu(functional.layer_norm(together, (4,), eps=1e-3))
    torch.testing.assert_close(split(left, right), expected)
    torch.testing.assert_close(split.join(split.part(0, left), split.part(1, right)), expected)


def test_the_cell_by_hand():
    """With weights of zero only the norm's bias counts: gates (r, c, u) are the same for all."""
    cell = NormedGRU(3, 2, generator=generator())
    torch.nn.init.zeros_(cell.gates.weight)
    r, c, u = torch.tensor([0.3, -1.2, 0.7])
    with torch.no_grad():
        cell.norm.bias.copy_(torch.stack((r, r, c, c, u, u)))
    hidden_tm1 = torch.tensor([[0.5, -2.0]])
    share = torch.sigmoid(u - 1)
    expected = share * torch.tanh(torch.sigmoid(r) * c) + (1 - share) * hidden_tm1
    torch.testing.assert_close(cell(torch.ones(1, 3), hidden_tm1), expected)


def test_under_autocast_what_follows_the_products_is_float32():
    dense, cell = Dense((3,), 4, generator=generator()), NormedGRU(4, 2, generator=generator())
    x, hidden = torch.randn(5, 3, generator=generator()), torch.zeros(5, 2)
    with torch.autocast("cpu", torch.bfloat16):
        rough = dense(x)
        assert dense.part(0, x).dtype == torch.bfloat16
        hidden_t = cell(rough, hidden)
    assert rough.dtype == hidden_t.dtype == torch.float32
    torch.testing.assert_close(hidden_t, cell(dense(x), hidden), atol=0.03, rtol=0.03)


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (NormedGRU(3, 2, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.gates.weight, same.gates.weight)
    assert not torch.equal(one.gates.weight, other.gates.weight)
