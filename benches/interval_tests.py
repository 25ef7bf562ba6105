"""Whether intervals cover as often as they say: tests of hits, and intervals for overlapping horizons.

`python -m doctest benches/interval_tests.py` holds the tests against worked examples. A violation is a value
outside its interval; p is the share of violations that the interval promises.
"""

import dataclasses

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2


@dataclasses.dataclass(frozen=True)
class LikelihoodRatio:
    statistic: float
    p_value: float


def kupiec(violations: np.ndarray, promised: float) -> LikelihoodRatio:
    """Whether there are as many violations as promised.

    Kupiec (1995), *Techniques for Verifying the Accuracy of Risk Measurement Models*, Journal of
    Derivatives 3(2): with x of n, LR = -2 ln[(1-p)^(n-x) p^x / ((1-x/n)^(n-x) (x/n)^x)], chi square
    with one degree of freedom. Jorion's *Value at Risk*, chapter 6: 20 of 252 days at 5 % give 3.91.

    >>> days = np.arange(252) < 20
    >>> round(kupiec(days, 0.05).statistic, 2)
    3.91
    """
    count, found = len(violations), int(np.sum(violations))
    statistic = 2 * (_log_likelihood(count, found, found / count) - _log_likelihood(count, found, promised))
    return _tested(statistic, 1)


def independence(violations: np.ndarray) -> LikelihoodRatio:
    """Whether a violation makes another on the next day neither more nor less likely.

    Christoffersen (1998), *Evaluating Interval Forecasts*, International Economic Review 39(4), LR_ind:
    one probability of a violation against one after none and another after one.

    >>> alternating = np.arange(20) % 2 == 1  # 10 times from 0 to 1, 9 times from 1 to 0
    >>> expected = -2 * (10 * np.log(10 / 19) + 9 * np.log(9 / 19))
    >>> bool(np.isclose(independence(alternating).statistic, expected))
    True
    """
    after_none, after_one = _transitions(violations)
    (count_0, found_0), (count_1, found_1) = after_none, after_one
    count, found = count_0 + count_1, found_0 + found_1
    apart = _log_likelihood(count_0, found_0, _share(found_0, count_0)) + _log_likelihood(
        count_1, found_1, _share(found_1, count_1)
    )
    return _tested(2 * (apart - _log_likelihood(count, found, _share(found, count))), 1)


def conditional(violations: np.ndarray, promised: float) -> LikelihoodRatio:
    """Both at once: the promised probability on every day, whatever happened the day before.

    Christoffersen (1998), LR_cc, on the days that have one before them: the sum of the other two tests
    there, chi square with two degrees of freedom. Jorion again, with 14 of the 20 violations after a
    day without and 6 after one: 9.53 for independence and 13.44 for both.

    >>> days = np.concatenate([[0, 1]] * 8 + [[0, 1, 1]] * 6 + [np.zeros(219, int)])
    >>> _transitions(days)  # days and violations, after none and after one
    ((232, 14), (20, 6))
    >>> round(independence(days).statistic, 2), round(conditional(days, 0.05).statistic, 2)
    (9.53, 13.44)
    """
    later = kupiec(np.asarray(violations)[1:], promised).statistic
    return _tested(later + independence(violations).statistic, 2)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """p values for a whole family of tests: reject where one is below the level.

    Holm (1979), *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of
    Statistics 6(2).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def block_interval(values: np.ndarray, block: int, level: float, resamples: int = 10_000) -> tuple[float, float]:
    """A percentile interval for the mean of dependent values, from the moving-block bootstrap.

    Künsch (1989), *The Jackknife and the Bootstrap for General Stationary Observations*, Annals of
    Statistics 17(3). The seed is fixed.

    >>> block_interval(np.full(50, 3.0), 5, 0.99)
    (3.0, 3.0)
    >>> low, high = block_interval(np.arange(2000) % 2.0, 1, 0.95)  # half the deviation, 1.96 * 0.5 / sqrt(2000)
    >>> bool(abs(high - 0.5 - 0.0219) < 0.001 and abs(0.5 - low - 0.0219) < 0.001)
    True
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    blocks = (sums[block:] - sums[:-block]) / block
    chosen = np.random.default_rng(0).integers(0, len(blocks), (resamples, -(-len(values) // block)))
    means = blocks[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def crps(paths: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The continuous ranked probability score of sample paths, a row for each forecast.

    Gneiting and Raftery (2007), *Strictly Proper Scoring Rules, Prediction, and Estimation*, JASA 102,
    equation 21: E|X - y| - E|X - X'| / 2.

    >>> crps(np.array([[3.0, 1.0], [1.0, 3.0]]), np.array([4.0, 2.0]))
    array([1.5, 0.5])
    """
    ordered = np.sort(paths, axis=1)
    count = ordered.shape[1]
    spread = ordered @ (2 * np.arange(count) - count + 1) / count**2
    return np.abs(ordered - actual[:, None]).mean(axis=1) - spread


def _log_likelihood(count: int, found: int, probability: float) -> float:
    return float(xlogy(count - found, 1 - probability) + xlogy(found, probability))


def _transitions(violations: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Days and violations, after a day without one and after a day with one."""
    before, now = np.asarray(violations[:-1], bool), np.asarray(violations[1:], bool)
    return (int(np.sum(~before)), int(np.sum(now[~before]))), (int(np.sum(before)), int(np.sum(now[before])))


def _share(found: int, count: int) -> float:
    return found / count if count else 0.0


def _tested(statistic: float, freedom: int) -> LikelihoodRatio:
    return LikelihoodRatio(statistic, float(chi2.sf(statistic, freedom)))
