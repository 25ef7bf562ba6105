"""Writes the golden files: figures our models must reproduce, computed by numpy.

    pip install numpy && python make.py

The inputs are closed formulas, so no random generator can change them. The formulas of the models
are written out here a second time, from the references the model files name.
"""

import json
import math
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
LENGTH = 240


def prices(length):
    """A wandering level with a weekly and a slower wave; no two steps alike."""
    return [
        180.0 + 25.0 * math.sin(t / 37.0) + 4.0 * math.cos(t / 3.1) + 3.0 * math.sin(t * t / 11.0) + 0.05 * t
        for t in range(length)
    ]


def weather(length):
    return [20.0 + 8.0 * math.cos(t / 9.0) + 2.0 * math.sin(1.7 * t * t) for t in range(length)]


def write(name, tolerance, **content):
    header = {
        "reference": "numpy",
        "reference_version": np.__version__,
        "script": "golden/make.py",
        "relative_tolerance": tolerance,
    }
    text = json.dumps(header | content, indent=1, allow_nan=False)
    (HERE / f"{name}.json").write_text(text + "\n")


def random_walk():
    values, lookback, steps = prices(LENGTH), 30, 14
    differences = np.diff(np.array(values))[-lookback:]
    drift, deviation = differences.mean(), differences.std(ddof=1)
    ahead = np.arange(1, steps + 1)
    write(
        "random_walk",
        1e-9,
        values=values,
        drift=drift,
        deviation=deviation,
        means=list(values[-1] + drift * ahead),
        deviations=list(deviation * np.sqrt(ahead)),
    )


def seasonal_naive():
    values, season, steps = prices(LENGTH), 5, 14
    series = np.array(values)
    deviation = np.sqrt(np.mean((series[season:] - series[:-season]) ** 2))
    ahead = np.arange(steps)
    write(
        "seasonal_naive",
        1e-9,
        values=values,
        deviation=deviation,
        means=[values[LENGTH - season + h % season] for h in range(steps)],
        deviations=list(deviation * np.sqrt(ahead // season + 1)),
    )


def linear_regression():
    """Two of the five covariates cannot be told apart from the other columns and are dropped."""
    values, lags, windows, steps = prices(LENGTH), [1, 7, 14], [7, 30], 10
    warm = weather(LENGTH)
    holes = [None if t % 23 == 5 else math.sin(t / 5.0) ** 3 for t in range(LENGTH)]
    collinear = [2.0 * value + 1.0 for value in warm]
    regressors = [warm, [3.25] * LENGTH, holes, collinear]
    kept = [0, 2]
    ahead = [[15.0 + k / 2.0 for k in range(steps)], [3.25] * steps, [0.1 * k for k in range(steps)], [0.0] * steps]

    def row(history, covariates):
        row = [history[-lag] for lag in lags] + [np.mean(history[-window:]) for window in windows]
        return [1.0] + row + covariates

    def fit(days):
        design = np.array([row(values[:t], [regressors[j][t] for j in kept]) for t in days])
        target = np.array([values[t] for t in days])
        solution, _, rank, _ = np.linalg.lstsq(design, target, rcond=None)
        assert rank == design.shape[1]
        return solution, target - design @ solution, design.shape[1]

    def usable(start, end):
        return [t for t in range(start, end) if holes[t] is not None]

    reach = max(lags + windows)
    solution, residuals, parameters = fit(usable(reach, LENGTH))
    first = LENGTH - LENGTH // 5
    earlier, _, _ = fit(usable(reach, first))
    held_out = [
        values[t] - np.dot(earlier, row(values[:t], [regressors[j][t] for j in kept])) for t in usable(first, LENGTH)
    ]
    path = list(values)
    for k in range(steps):
        path.append(float(np.dot(solution, row(path, [ahead[j][k] for j in kept]))))
    write(
        "linear_regression",
        1e-9,
        values=values,
        regressors=regressors,
        ahead=ahead,
        features=["lag 1", "lag 7", "lag 14", "mean 7", "mean 30", "regressor 0", "regressor 2"],
        intercept=solution[0],
        coefficients=list(solution[1:]),
        deviation=float(np.sqrt(residuals @ residuals / (len(residuals) - parameters))),
        loss=float(np.sqrt(np.mean(residuals**2))),
        validation_loss=float(np.sqrt(np.mean(np.square(held_out)))),
        means=path[LENGTH:],
    )


def quantiles():
    values = np.array(prices(1000), dtype=np.float32)
    levels = [0.01, 0.025, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.975, 0.99]
    exact = values.astype(np.float64)
    write(
        "quantiles",
        1e-13,
        values=list(exact),
        mean=exact.mean(),
        std=exact.std(ddof=1),
        quantiles=list(np.quantile(exact, levels)),
    )


random_walk()
seasonal_naive()
linear_regression()
quantiles()
