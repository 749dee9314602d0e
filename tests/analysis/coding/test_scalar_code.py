import numpy as np
import pytest

from ngu.analysis.coding.bitstream import BitstreamError, header_bits
from ngu.analysis.coding.scalar_code import fit_scalar_code, identity, principal_axes


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@pytest.fixture(scope="module")
def code():
    return fit_scalar_code(principal_axes(normal(4_000, 5)), normal(4_000, 5), 1 / 8)


def test_principal_axes_keep_distances_and_are_uncorrelated():
    states = normal(500, 4) @ normal(4, 4, seed=1)
    rotation = principal_axes(states)
    coordinates = rotation.analyse(states)
    covariance = np.cov(coordinates.T)
    assert np.abs(covariance - np.diag(covariance.diagonal())).max() < 1e-6
    assert (np.diff(covariance.diagonal()) < 0).all()
    assert np.allclose(rotation.synthesise(coordinates), states, atol=1e-6)
    lengths = np.linalg.norm(np.diff(states, axis=0), axis=1)
    assert np.allclose(np.linalg.norm(np.diff(coordinates, axis=0), axis=1), lengths, rtol=1e-5)


def test_a_file_decodes_to_exactly_what_was_coded_outliers_and_all(code):
    states = normal(1_000, 5, seed=1)
    states[3, 2], states[10, 0], states[11, 4] = 1e9, -1e4, 40
    integers = code.quantise(states)
    assert np.array_equal(code.decode(code.encode(integers)), integers)


def test_a_file_has_the_size_that_the_model_says(code):
    integers = code.quantise(normal(2_000, 5, seed=1))
    written = 8 * len(code.encode(integers)) - header_bits()
    assert written == pytest.approx(code.bits(integers).sum(), rel=0.002)


def test_bits_of_a_normal_number_are_its_entropy():
    # h(x) - log2(step) = 1/2 log2(2 pi e) + 3 = 5.047 bits at a step of 1/8.
    states = normal(40_000, 1)
    code = fit_scalar_code(identity(states), states, 1 / 8)
    bits = code.bits(code.quantise(normal(40_000, 1, seed=1))).mean()
    assert bits == pytest.approx(5.047, abs=0.02)


def test_the_error_is_that_of_a_uniform_quantiser():
    states = normal(40_000, 2)
    code = fit_scalar_code(principal_axes(states), states, 1 / 8)
    other = normal(10_000, 2, seed=1)
    error = np.square(code.reconstruct(code.quantise(other)) - other).mean()
    assert error == pytest.approx(1 / 8**2 / 12, rel=0.03)


def test_damaged_files_get_a_sentence(code):
    content = code.encode(code.quantise(normal(200, 5)))
    for bad in (content[:-1], content[:-4], content[:40], content[:60] + b"\0\0\0" + content[63:]):
        with pytest.raises(BitstreamError, match="cut off or damaged"):
            code.decode(bad)
    for bad in (b"", content[:10], b"PNG" + content[3:]):
        with pytest.raises(BitstreamError, match="no coded embeddings"):
            code.decode(bad)
    with pytest.raises(BitstreamError, match="version 9"):
        code.decode(content[:4] + b"\x09" + content[5:])


def test_a_file_of_another_code_gets_a_sentence(code):
    content = code.encode(code.quantise(normal(200, 5)))
    narrow = fit_scalar_code(identity(normal(200, 3)), normal(200, 3), 1 / 8)
    with pytest.raises(BitstreamError, match="5 dimensions were coded, this code is of 3"):
        narrow.decode(content)
    other = fit_scalar_code(identity(normal(300, 5)), normal(300, 5), 1 / 8)
    with pytest.raises(BitstreamError, match="coded by another model"):
        other.decode(content)
