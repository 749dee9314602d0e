import math

import pytest
import torch

from ngu_agents.family import actor_epsilons, discounts, intrinsic_weights


def test_intrinsic_weights_by_hand():
    # N = 5, N-2 = 3: the sigmoids of 10 (2i - 3) / 3 at i = 1, 2, 3 are those of -10/3, 10/3, 10.
    sigmoid = [1 / (1 + math.exp(-x)) for x in (-10 / 3, 10 / 3, 10)]
    expected = [0.0, *(0.3 * value for value in sigmoid), 0.3]
    torch.testing.assert_close(intrinsic_weights(5, 0.3), torch.tensor(expected))


@pytest.mark.parametrize(
    ("num_policies", "expected"), [(1, [0.5]), (2, [0.0, 0.5]), (3, [0.0, None, 0.5])]
)
def test_intrinsic_weights_of_small_families(num_policies, expected):
    weights = intrinsic_weights(num_policies, 0.5)
    assert weights.dtype == torch.float32
    # N = 3: 10 (2 - 1) / 1 = 10.
    filled = [0.5 / (1 + math.exp(-10)) if value is None else value for value in expected]
    torch.testing.assert_close(weights, torch.tensor(filled))


def test_family_of_the_paper():
    weights, gammas = intrinsic_weights(32, 0.3), discounts(32, 0.997, 0.99)
    assert weights[0] == 0
    assert weights[-1] == torch.tensor(0.3)
    assert (weights.diff() > 0).all()
    assert gammas[0].item() == pytest.approx(0.997, abs=1e-7)
    assert gammas[-1].item() == pytest.approx(0.99, abs=1e-7)
    assert (gammas.diff() < 0).all()


def test_discounts_by_hand():
    # The middle of three: 1 - sqrt(0.01 * 0.0001) = 0.999.
    torch.testing.assert_close(discounts(3, 0.9999, 0.99), torch.tensor([0.9999, 0.999, 0.99]))
    torch.testing.assert_close(discounts(1, 0.997, 0.99), torch.tensor([0.997]))


def test_actor_epsilons_by_hand():
    # 0.4^1, 0.4^5, 0.4^9.
    torch.testing.assert_close(actor_epsilons(3), torch.tensor([0.4, 0.01024, 0.000262144]))
    torch.testing.assert_close(actor_epsilons(1), torch.tensor([0.4]))
    torch.testing.assert_close(actor_epsilons(2, base=0.0), torch.zeros(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intrinsic_weights(0, 0.3), "num_policies must be at least 1, got 0"),
        (lambda: intrinsic_weights(4, -0.1), r"beta .* got -0\.1"),
        (lambda: intrinsic_weights(4, math.nan), "beta .* got nan"),
        (lambda: discounts(0), "num_policies"),
        (lambda: discounts(2, 0.9, 0.95), r"gamma_min 0\.95 and gamma_max 0\.9"),
        (lambda: discounts(2, 1.0, 0.9), r"gamma_max 1\.0"),
        (lambda: actor_epsilons(0), "num_actors"),
        (lambda: actor_epsilons(2, base=1.5), r"base must be in \[0, 1\], got 1\.5"),
        (lambda: actor_epsilons(2, exponent=-1.0), "exponent"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
