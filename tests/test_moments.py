import numpy as np
import pytest
import torch

from ngu.moments import RunningMoments


def test_hand_worked_values():
    moments = RunningMoments()
    assert (moments.count, float(moments.mean), float(moments.std)) == (0, 0.0, 0.0)
    moments.update(torch.tensor([1.0]))
    assert (moments.count, float(moments.mean), float(moments.std)) == (1, 1.0, 0.0)
    moments.update(torch.tensor([4.0, 7.0]))
    assert moments.count == 3
    assert float(moments.mean) == pytest.approx(4.0)
    assert float(moments.std) == pytest.approx(6.0**0.5)  # (9 + 0 + 9) / 3


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_batches_of_any_size_equal_one_pass(dtype):
    rng = np.random.default_rng(0)
    values = (rng.random((700, 3, 2)) * 255).astype(dtype)
    moments = RunningMoments((3, 2))
    start = 0
    for size in (1, 2, 0, 30, 300, 367):
        moments.update(torch.from_numpy(values[start : start + size]))
        start += size
    assert moments.count == 700
    np.testing.assert_allclose(moments.mean, values.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, values.astype(np.float64).std(0), rtol=1e-12)


def test_bytes_are_summed_exactly():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.integers(0, 256, (256, 5, 7), dtype=np.uint8))
    a, b = RunningMoments((5, 7)), RunningMoments((5, 7))
    for _ in range(3):
        a.update(values)
        b.update(values[torch.from_numpy(rng.permutation(256))])
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.std, b.std)


def test_the_largest_bytes_do_not_round():
    moments = RunningMoments((1,))
    moments.update(torch.full((1000, 1), 255, dtype=torch.uint8))
    assert float(moments.mean) == 255
    assert float(moments.std) == 0


def test_a_large_offset_does_not_cancel():
    values = torch.tensor([1e9, 1e9 + 1, 1e9 + 2], dtype=torch.float64)
    moments = RunningMoments()
    for value in values.repeat(100):
        moments.update(value.reshape(1))
    assert float(moments.std) == pytest.approx((2 / 3) ** 0.5, rel=1e-6)


def test_state_continues_to_the_same_floats():
    values = torch.rand((40, 3), generator=torch.Generator().manual_seed(0))
    whole, first, second = (RunningMoments((3,)) for _ in range(3))
    for part in values.split(8):
        whole.update(part)
    for part in values[:16].split(8):
        first.update(part)
    second.load_state_dict(first.state_dict())
    first.update(values[16:])
    for part in values[16:].split(8):
        second.update(part)
    assert second.count == whole.count
    assert torch.equal(second.mean, whole.mean)
    assert torch.equal(second.std, whole.std)


def test_copies_share_nothing():
    a, b = RunningMoments((2,)), RunningMoments((2,))
    a.update(torch.tensor([[1.0, 2.0]]))
    b.copy_(a)
    a.update(torch.tensor([[3.0, 4.0]]))
    assert (b.count, b.mean.tolist()) == (1, [1.0, 2.0])


def test_wrong_shapes_are_refused_and_change_nothing():
    moments = RunningMoments((2,))
    with pytest.raises(ValueError, match=r"values must have shape \[B, 2\], got \[4, 3\]"):
        moments.update(torch.zeros(4, 3))
    assert moments.count == 0
    with pytest.raises(ValueError, match=r"shape \[2\], got \[\]"):
        moments.load_state_dict(RunningMoments().state_dict())


def test_a_window_lets_old_values_fade():
    moments = RunningMoments((), window=10)
    moments.update(torch.full((10,), 100.0))
    assert moments.mean == pytest.approx(100.0)
    assert moments.std == pytest.approx(0.0)
    # Ten values weigh as much as all before: mean 50, half the values 50 away from it.
    moments.update(torch.zeros(10))
    assert moments.mean == pytest.approx(50.0)
    assert moments.std == pytest.approx(50.0)
    # What was seen counts as ten values of variance 2,500, and ten new zeros halve the mean.
    moments.update(torch.zeros(10))
    assert moments.mean == pytest.approx(25.0)
    assert moments.std == pytest.approx((0.5 * (2500.0 + 25.0**2) + 0.5 * 25.0**2) ** 0.5)


def test_a_window_below_one_is_refused():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        RunningMoments((), window=0)
