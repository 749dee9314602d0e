import math

import numpy as np
import pytest
import torch

from ngu.analysis.coding.bitstream import BitstreamError, header_bits
from ngu.analysis.coding.context_model import (
    COMPONENTS,
    PARAMETERS,
    ContextModel,
    mixture,
    on_grid,
)
from ngu.analysis.coding.learning import Learning, LearningConfig
from ngu.analysis.coding.scalar_code import fit_scalar_code, identity, principal_axes

STEP = 1 / 8


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def ring(rows, seed=0):
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, rows)
    points = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return (points + 0.02 * generator.normal(size=(rows, 2))).astype(np.float32)


def learned(states, config, rotation=principal_axes, steps=(STEP,), seed=0):
    learning = Learning(rotation(states), states, steps, steps[0] * 8, seed=seed, config=config)
    return learning.run(lambda share: None)


@pytest.fixture(scope="module")
def model():
    model = ContextModel(3, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return model


@pytest.fixture(scope="module")
def code():
    return learned(ring(4_000), LearningConfig(150, 40, 40))[0]


def test_a_coordinate_is_told_by_those_before_it_only(model):
    inputs = torch.randn(1, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    parameters = model(inputs)
    for dim in range(3):
        (gradient,) = torch.autograd.grad(parameters[0, dim].sum(), inputs, retain_graph=True)
        assert (gradient[0, dim:3] == 0).all()
        assert (gradient[0, :dim] != 0).all()
        assert (gradient[0, 3:] != 0).all()


def test_reading_one_by_one_gives_the_same_numbers_to_the_last_bit(model):
    exact = model.exact()
    inputs = np.random.default_rng(0).normal(size=(50, 5))
    reader = exact.reader(inputs[:, 3:])
    for dim in range(3):
        assert np.array_equal(reader.parameters(), exact.parameters(inputs)[:, dim])
        reader.tell(inputs[:, dim])


def test_the_exact_network_is_the_trained_one(model):
    inputs = np.random.default_rng(0).normal(size=(50, 5))
    trained = model(torch.from_numpy(inputs).float()).detach().numpy()
    assert np.abs(model.exact().parameters(inputs) - trained).max() < 0.02
    assert np.array_equal(on_grid(inputs) * 2**12 % 1, np.zeros_like(inputs))


def test_a_mixture_by_hand():
    assert PARAMETERS == 1 + 3 * COMPONENTS
    # Half the own distribution, half a normal at 1 with a scale of 1/2.
    logits = torch.tensor([0.0, 0.0, -100.0])
    parameters = torch.cat((logits, torch.tensor([1.0, 0.0, math.log(0.5), 0.0])))[None]
    found = mixture(parameters)
    normal_below = torch.special.ndtr
    expected = (normal_below(torch.tensor(1.0)) + normal_below(torch.tensor(0.0))) / 2
    assert found.below(torch.tensor([[1.0]])).item() == pytest.approx(expected.item())
    both = found.mass(torch.tensor([0.0]), torch.tensor([1.0])).item()
    difference = found.below(torch.tensor([[0.0, 1.0]])).diff().item()
    assert both == pytest.approx(difference, abs=1e-6)


def test_a_file_decodes_to_exactly_what_was_coded_outliers_and_all(code):
    states = ring(500, seed=1)
    states[7], states[8, 1] = 50, -1e7
    integers = code.quantise(states)
    assert np.array_equal(code.decode(code.encode(integers)), integers)


def test_a_file_has_the_size_that_the_model_says(code):
    integers = code.quantise(ring(2_000, seed=1))
    written = 8 * len(code.encode(integers)) - header_bits()
    assert written == pytest.approx(code.bits(integers).sum(), rel=0.01)


def test_a_bent_line_is_told_by_context(code):
    states, other = ring(4_000), ring(2_000, seed=1)
    principal = fit_scalar_code(principal_axes(states), states, STEP)
    plain = principal.bits(principal.quantise(other)).sum(1).mean()
    integers = code.quantise(other)
    assert code.bits(integers).sum(1).mean() < plain - 0.3
    error = np.square(code.reconstruct(integers) - other).mean()
    reference = np.square(principal.reconstruct(principal.quantise(other)) - other).mean()
    assert error < 1.1 * reference


def test_context_saves_what_is_correlated_where_no_rotation_is_made():
    states = normal(4_000, 2)
    states[:, 1] = 0.95 * states[:, 0] + math.sqrt(1 - 0.95**2) * states[:, 1]
    code = learned(states, LearningConfig(200, 0, 0), rotation=identity)[0]
    other = normal(2_000, 2, seed=1)
    other[:, 1] = 0.95 * other[:, 0] + math.sqrt(1 - 0.95**2) * other[:, 1]
    plain = fit_scalar_code(identity(states), states, STEP)
    saved = (plain.bits(plain.quantise(other)).sum() - code.bits(code.quantise(other)).sum()) / 2e3
    assert saved == pytest.approx(-0.5 * math.log2(1 - 0.95**2), abs=0.15)


def test_what_is_new_in_each_coordinate_is_near_standard_normal_and_uncorrelated():
    states = normal(3_000, 2)
    states[:, 1] += 2 * states[:, 0]
    code = learned(states, LearningConfig(200, 0, 0), rotation=identity)[0]
    new = code.innovations(states)
    assert abs(np.corrcoef(states.T)[0, 1]) > 0.85
    assert abs(np.corrcoef(new.T)[0, 1]) < 0.1
    assert np.abs(new.std(0) - 1).max() < 0.25


def test_where_nothing_is_to_be_learned_each_coordinate_is_coded_by_itself():
    states = normal(3_000, 3)
    code = learned(states, LearningConfig(20, 10, 10), rotation=identity)[0]
    plain = fit_scalar_code(identity(states[:2_700]), states[:2_700], STEP)
    other = normal(1_000, 3, seed=1)
    bits, expected = code.bits(code.quantise(other)), plain.bits(plain.quantise(other))
    assert bits.sum() == pytest.approx(expected.sum(), rel=0.005)


def test_the_same_seed_gives_the_same_file():
    states, config = ring(1_000), LearningConfig(10, 5, 5)
    first, second = (learned(states, config)[0] for _ in range(2))
    integers = first.quantise(states)
    assert first.encode(integers) == second.encode(integers)


def test_files_of_other_models_get_a_sentence(code):
    other = learned(ring(1_000), LearningConfig(10, 5, 5), seed=1)[0]
    with pytest.raises(BitstreamError, match="coded by another model"):
        other.decode(code.encode(code.quantise(ring(100))))
