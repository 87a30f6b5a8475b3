"""Pairs on crafted places: mutual, without hubs, different from each other."""

import numpy as np
import pytest

from performer.bridging import pairing


def test_mutual_pairs_are_each_others_nearest():
    apart = np.array([[1.0, 5.0, 9.0], [2.0, 4.0, 9.0], [9.0, 3.0, 8.0]])
    # The nearest of 0 and 1 is 0, whose nearest is 0; the nearest of 2 is 1, whose nearest is 2; 2 is nobody's.
    assert pairing.mutual(apart).tolist() == [[0, 0], [2, 1]]


def test_distances_are_euclidean():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((5, 7)), rng.standard_normal((4, 7))
    expected = np.linalg.norm(first[:, None] - second[None], axis=2)
    assert pairing.distances(first, second) == pytest.approx(expected)
    assert pairing.distances(first, first).diagonal() == pytest.approx(np.zeros(5), abs=1e-6)


def test_a_hub_is_not_everybodys_partner():
    """One bland picture lies in the middle of all: each is nearer to it than to its own look-alike."""
    rng = np.random.default_rng(2)
    first = rng.standard_normal((60, 40))
    second = np.concatenate([first + 0.9 * rng.standard_normal(first.shape), np.zeros((1, 40))])
    apart = pairing.distances(first, second)
    hub = len(first)
    own = np.arange(len(first))

    def found(apart: np.ndarray) -> int:
        return sum(a == b for a, b in pairing.mutual(apart))

    taken = (apart.argmin(axis=1) == hub).sum()
    assert taken > 10, "expected a hub to begin with"
    corrected = pairing.csls(apart)
    assert (corrected.argmin(axis=1) == hub).sum() < taken / 4
    assert found(corrected) > found(apart)
    assert (corrected.argmin(axis=1) == own).mean() > 0.9


def test_diverse_pairs_are_one_of_each_kind():
    """Three kinds of pairs. The first kind is nearest of all, and nearness alone would choose nothing else."""
    rng = np.random.default_rng(3)
    kinds = np.repeat(np.eye(3, 10) * 8, 20, axis=0)
    places = kinds + 0.1 * rng.standard_normal(kinds.shape)
    apart = np.repeat([0.30, 0.34, 0.38], 20) + 0.01 * rng.random(60)
    assert {*np.argsort(apart)[:3] // 20} == {0}
    chosen = pairing.diverse(places, apart, count=3)
    assert sorted(chosen // 20) == [0, 1, 2]
    assert chosen[0] == apart.argmin()


def test_of_one_kind_the_nearest_are_chosen():
    rng = np.random.default_rng(4)
    places = 1e3 * np.eye(40)  # all as different as can be
    apart = rng.uniform(0.2, 0.6, 40)
    assert sorted(pairing.diverse(places, apart, count=5)) == sorted(np.argsort(apart)[:5])


@pytest.mark.parametrize("same", [np.zeros((6, 3)), np.ones((6, 3))])
def test_pairs_without_any_difference_are_all_different_ones(same):
    assert len({*pairing.diverse(same, np.full(6, 0.5), count=6)}) == 6


def test_choose_finds_the_look_alikes_and_takes_none_twice():
    rng = np.random.default_rng(5)
    first = rng.standard_normal((80, 12))
    partners = rng.permutation(80)
    second = np.empty_like(first)
    second[partners] = first + 0.02 * rng.standard_normal(first.shape)
    pairs = pairing.choose(first, second, count=10)
    assert pairs.shape == (10, 2)
    assert len({*pairs[:, 0]}) == len({*pairs[:, 1]}) == 10
    assert (partners[pairs[:, 0]] == pairs[:, 1]).all()
    apart = np.linalg.norm(first[pairs[:, 0]] - second[pairs[:, 1]], axis=1)
    assert (np.diff(apart) >= 0).all()


def test_where_too_few_are_mutual_the_nearest_others_fill_up():
    line = np.arange(8.0)[:, None]  # all are nearest to the one end of the other side
    pairs = pairing.choose(line, 20 + line, count=8)
    assert len(pairing.mutual(pairing.csls(pairing.distances(line, 20 + line)))) < 8
    assert sorted(pairs[:, 0]) == sorted(pairs[:, 1]) == list(range(8))


def test_more_pairs_than_pictures_are_an_error():
    with pytest.raises(ValueError, match="4 pairs of 3 and 9"):
        pairing.choose(np.zeros((3, 2)), np.zeros((9, 2)), count=4)
