"""Disentanglement of discrete factors whose answers are known."""

import numpy as np
import pytest

from ngu.analysis.dci import dci_scores, entropy
from ngu.analysis.disentanglement import (
    cut,
    disentanglement,
    gap,
    joint_counts,
    knowledge,
    mutual_information,
    read_off,
)
from ngu.analysis.estimate import NotMeasured

EPISODES = np.repeat(np.arange(20), 100)
N = len(EPISODES)
FACTORS = np.random.default_rng(0).integers(4, size=(N, 3))
LABELS = {name: FACTORS[:, i] for i, name in enumerate(("room", "key", "door"))}


def measured(embeddings, labels=LABELS, episodes=EPISODES):
    return disentanglement(np.float32(embeddings), labels, episodes)


def test_a_dimension_for_each_factor():
    found = measured(FACTORS[:, [2, 0, 1]] * [5, -1, 0.1])
    # What sampling leaves of dependence between the factors: 9 / (2 N ln 2 bits) of 2 bits.
    assert found.mig.value == pytest.approx(1, abs=0.005)
    assert found.mig.low <= found.mig.value <= found.mig.high <= 1
    assert found.sap.value > 0.93
    assert found.disentanglement.value == pytest.approx(1, abs=0.01)
    assert found.completeness.value == pytest.approx(1, abs=0.01)
    assert found.informativeness.value == 1


def test_each_factor_twice():
    found = measured(np.tile(FACTORS, 2))
    assert found.mig.value == 0
    assert found.sap.value == 0
    assert found.disentanglement.value == pytest.approx(1, abs=0.01)
    # In two of six dimensions: 1 - ln 2 / ln 6, if both are used alike.
    assert 0.6 < found.completeness.value < 0.8


def test_a_dimension_for_two_factors():
    both = FACTORS[:, 0] * 4 + FACTORS[:, 1]
    labels = {"room": LABELS["room"], "key": LABELS["key"]}
    found = measured(np.stack([both, np.zeros(N)], -1), labels)
    assert found.mig.value == pytest.approx(1, abs=0.01)
    assert found.completeness.value == pytest.approx(1)
    assert found.disentanglement.value == pytest.approx(0, abs=0.01)


def test_mixed_factors_are_known_but_entangled():
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    found = measured(FACTORS @ turn)
    assert found.mig.value < 0.4
    assert found.disentanglement.value < 0.5
    assert found.informativeness.value > 0.9


def test_intervals_of_the_forests_hold_what_other_episodes_give():
    def noisy(seed):
        generator = np.random.default_rng(seed)
        factors = generator.integers(4, size=(4000, 2))
        told = factors @ [[1, 0.3, 0], [0.2, 1, 0]] + generator.normal(size=(4000, 3)) / 2
        labels = {"room": factors[:, 0], "key": factors[:, 1]}
        return measured(told, labels, np.arange(4000) // 50)[2:]

    found, others = noisy(0), [noisy(seed) for seed in range(1, 9)]
    for score, *values in zip(found, *others, strict=True):
        mean = np.mean([other.value for other in values])
        assert score.low < mean < score.high
        assert score.low < score.value < score.high < score.low + 0.2


def test_noise_knows_nothing():
    found = measured(np.random.default_rng(1).standard_normal((N, 3)))
    for score in found[:4]:
        assert score.value == pytest.approx(0, abs=0.04)
    assert found.informativeness.value == pytest.approx(0, abs=0.1)


def test_knowledge_says_which_dimension_knows_what():
    embeddings = np.stack([FACTORS[:, 1], FACTORS[:, 0] % 2], -1).astype(np.float32)
    found = knowledge(embeddings, {**LABELS, "level": np.full(N, 3)})
    assert found.labels == ("room", "key", "door")
    np.testing.assert_allclose(found.entropy, 2, atol=0.01)
    # The parity of four equally likely values is one of two bits.
    np.testing.assert_allclose(found.share, [[0, 1, 0], [0.5, 0, 0]], atol=0.01)


def test_the_units_of_a_dimension_do_not_matter():
    column = np.random.default_rng(2).standard_normal((N, 1)).astype(np.float32)
    labels = {"x": np.searchsorted([-1, 0, 1], column[:, 0])}
    plain, bent = knowledge(column, labels), knowledge(np.exp(3 * column), labels)
    np.testing.assert_array_equal(plain.bits, bent.bits)
    assert plain.share[0, 0] > 0.8


def test_parts_hold_as_many_states_each_and_keep_equal_numbers_together():
    column = np.concatenate([np.zeros(500), np.arange(1, 501)])
    binned = cut(column[:, None])[:, 0]
    np.testing.assert_array_equal(np.unique(binned[:500]), [5])
    np.testing.assert_array_equal(np.bincount(binned)[10:], [50] * 10)
    assert (np.diff(binned) >= 0).all()
    np.testing.assert_array_equal(cut(np.array([[7], [3], [7]]))[:, 0], [1, 0, 1])


def test_mutual_information_by_hand():
    # Joint .4 .1 / .1 .4 of two bits: 1 - H(.2) = .278 bits; independent ones: 0.
    tables = np.array([[[400, 100], [100, 400]], [[250, 250], [250, 250]]], dtype=float) * 1000
    h = -0.2 * np.log2(0.2) - 0.8 * np.log2(0.8)
    np.testing.assert_allclose(mutual_information(tables), [1 - h, 0], atol=1e-5)
    # One and the same bit, seen ten times: no correction takes it beyond one bit.
    np.testing.assert_allclose(mutual_information(np.eye(2)[None] * 5), [1])
    np.testing.assert_allclose(read_off(tables), [0.6, 0])


def test_the_bias_of_counting_is_taken_off():
    generator = np.random.default_rng(0)
    pairs = [generator.integers((20, 8), size=(2000, 2)) for _ in range(30)]
    tables = np.concatenate([joint_counts(pair[:, :1], pair[:, 1]) for pair in pairs])
    # Uncorrected it would be (20 - 1)(8 - 1) / (2 * 2000 ln 2) = .048 bits of nothing.
    assert mutual_information(tables).mean() < 0.01


def test_scores_by_hand():
    np.testing.assert_allclose(gap(np.array([[0.2, 0.9, 0.5], [1, 1, 0]])), [0.4, 0])
    np.testing.assert_allclose(entropy(np.array([[1.0, 1], [4, 0]])), [1, 0])
    assert dci_scores(np.eye(3)) == pytest.approx((1, 1))
    assert dci_scores(np.ones((3, 2))) == pytest.approx((0, 0))
    # Two dimensions, the second three times as important and shared by both variables.
    d, c = dci_scores(np.array([[1.0, 0.0], [1.0, 2.0]]))
    h = -1 / 3 * np.log2(1 / 3) - 2 / 3 * np.log2(2 / 3)
    assert (d, c) == pytest.approx((1 / 4 + 3 / 4 * (1 - h), 1 / 2))
    assert dci_scores(np.zeros((2, 2))) == (0, 0)


def test_what_cannot_be_measured_says_why():
    one = measured(FACTORS[:, :1])
    assert set(one) == {NotMeasured("there is one dimension only")}
    flat = measured(FACTORS, {"level": np.zeros(N, dtype=np.int64)})
    assert set(flat) == {NotMeasured("no label varies")}
    unknown = measured(FACTORS, episodes=None)
    assert isinstance(unknown.informativeness, NotMeasured)
    assert unknown.disentanglement.value > 0.98
