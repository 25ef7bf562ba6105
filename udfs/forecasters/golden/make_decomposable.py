"""Writes golden/decomposable.json: what the decomposable model must find, computed by numpy and scipy.

    pip install numpy scipy && python make_decomposable.py

The formulas are written out a second time and solved in another way than the crate does: change
points as dense columns; the slope changes by the dual problem, a least squares within bounds; the
correlation by the evidence as the density of a multivariate normal distribution with its full
covariance matrix. Models that are not linear have no change points here, so that their loss is smooth.
"""

import json
import math
import pathlib

import numpy as np
import scipy
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import lsq_linear, minimize, minimize_scalar

HERE = pathlib.Path(__file__).parent
SIGMA_SCALE, LINE_SCALE, ANCHOR_SCALE, PERSISTENCE = 0.5, 5.0, 0.1, 1.5
EFFECT_SCALE = 10.0
CHANGES, RANGE = 25, 0.8


def shock(t):
    """As good as random, from -0.5 to 0.5."""
    return (math.sin(12.9898 * t + 1.0) * 43758.5453) % 1.0 - 0.5


def weekdays(first, count):
    """So many days from `first` (days since 1970-01-01, a Monday) that are no weekend."""
    return [first + 7 * (t // 5) + t % 5 for t in range(count)]


def bends(t):
    return 40.0 + 0.03 * t - 0.05 * max(t - 250, 0) + 0.06 * max(t - 430, 0)


def season(day):
    return 3.0 * math.sin(2.0 * math.pi * day / 365.25) + 0.8 * ((day + 3) % 7 == 4)


def fourier(days, period, terms):
    angles = 2.0 * np.pi * np.outer(days, np.arange(1, terms + 1)) / period
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(days), -1)


class Case:
    def __init__(self, days, values, ahead, yearly, weekly, changes, change_scale, regressor=None, ahead_regressor=None):
        days, values = np.array(days, float), np.array(values, float)
        known = np.array([value is not None for value in (regressor or days)])
        self.change_scale = change_scale
        first, span = days[0], days[-1] - days[0]
        used = days[known]
        self.level, self.scale = values[known][0], np.abs(values[known]).max()
        self.y = (values[known] - self.level) / self.scale
        if changes:
            places = np.round(np.linspace(0, math.floor(len(used) * RANGE) - 1, changes + 1)).astype(int)[1:]
            knots = (used[places] - first) / span
        else:
            knots = np.zeros(0)

        def columns(days, regressor):
            time = (days - first) / span
            free = [np.ones_like(time)[:, None], time[:, None]]
            free += [fourier(days, 365.25, yearly), fourier(days, 7.0, weekly)]
            if regressor is not None:
                free.append(regressor[:, None])
            hinges = np.maximum(time[:, None] - knots[None, :], 0.0)
            return np.hstack(free), hinges

        inside = ahead_inside = None
        if regressor is not None:
            seen = np.array([value for value in regressor if value is not None])
            center, unit = seen.mean(), seen.std(ddof=1)
            inside = (seen - center) / unit
            ahead_inside = (np.array(ahead_regressor) - center) / unit
        self.free, self.hinges = columns(used, inside)
        self.free_ahead, self.hinges_ahead = columns(np.array(ahead, float), ahead_inside)
        self.precision = np.array([LINE_SCALE**-2] * 2 + [EFFECT_SCALE**-2] * (self.free.shape[1] - 2))

    def whitened(self, correlation):
        """Rows of innovations, that of the stationary start first."""
        rows = np.hstack([self.free, self.hinges, self.y[:, None]])
        first = np.sqrt(1.0 - correlation**2) * rows[:1]
        rows = np.vstack([first, rows[1:] - correlation * rows[:-1]])
        split = self.free.shape[1]
        return rows[:, :split], rows[:, split:-1], rows[:, -1]

    def coefficients(self, variance, correlation):
        """Least squares with both priors; the slope changes by the dual: δ = Q⁻¹(b - w), |w| <= λ."""
        free, hinges, y = self.whitened(correlation)
        gram = free.T @ free + variance * np.diag(self.precision)
        passed = np.linalg.solve(gram, free.T @ np.column_stack([hinges, y]))
        quadratic = hinges.T @ hinges - hinges.T @ free @ passed[:, :-1]
        linear = hinges.T @ y - hinges.T @ free @ passed[:, -1]
        bound = variance / self.change_scale
        lower = cholesky(quadratic, lower=True)
        inverse = solve_triangular(lower, np.eye(len(linear)), lower=True)
        dual = lsq_linear(inverse, inverse @ linear, bounds=(-bound, bound), method="bvls", tol=1e-15, max_iter=5000)
        changes = np.linalg.solve(quadratic, linear - dual.x)
        assert dual.status > 0, dual.message
        changes[np.abs(dual.x) < bound * (1.0 - 1e-9)] = 0.0
        coefficients = passed[:, -1] - passed[:, :-1] @ changes
        residuals = y - free @ coefficients - hinges @ changes
        return coefficients, changes, residuals @ residuals

    def loss_of(self, coefficients, changes, squares, variance):
        gaussian = self.precision @ coefficients**2
        return squares / (2.0 * variance) + gaussian / 2.0 + np.abs(changes).sum() / self.change_scale

    def independent(self):
        def loss(log_variance):
            variance = math.exp(log_variance)
            coefficients, changes, squares = self.coefficients(variance, 0.0)
            found = self.loss_of(coefficients, changes, squares, variance)
            return found + len(self.y) / 2.0 * log_variance + variance / (2.0 * SIGMA_SCALE**2)

        found = minimize_scalar(loss, bounds=(-20.0, 0.0), method="bounded", options={"xatol": 1e-9})
        return found.fun, math.exp(found.x), 0.0

    def autoregressive(self):
        """The evidence, from the covariance of the values."""
        columns = np.hstack([self.free, self.hinges])
        precision = np.concatenate([self.precision, [0.5 / self.change_scale**2] * self.hinges.shape[1]])
        apart = np.abs(np.subtract.outer(np.arange(len(self.y)), np.arange(len(self.y))))

        def loss(point):
            if not (-14.0 < point[0] < 0.0 and abs(point[1]) < 4.4):
                return math.inf
            variance, correlation = math.exp(point[0]), math.tanh(point[1])
            covariance = variance / (1.0 - correlation**2) * correlation**apart
            covariance = covariance + (columns / precision) @ columns.T
            lower = cholesky(covariance, lower=True)
            scaled = solve_triangular(lower, self.y, lower=True)
            prior = PERSISTENCE * math.log(1.0 - correlation) + variance / (2.0 * SIGMA_SCALE**2)
            normal = np.log(np.diag(lower)).sum() + scaled @ scaled / 2.0
            return normal + prior + np.log(precision).sum() / 2.0

        starts = [(a, b) for a in (-8.0,) for b in (0.5, 2.0)]
        options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000}
        found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
        best = min(found, key=lambda one: one.fun)
        return best.fun, math.exp(best.x[0]), math.tanh(best.x[1])

    def linear(self, residuals, steps_after_last):
        loss, variance, correlation = getattr(self, residuals)()
        coefficients, changes, squares = self.coefficients(variance, correlation)
        means = self.free_ahead @ coefficients + self.hinges_ahead @ changes
        last = self.y[-1] - self.free[-1] @ coefficients - self.hinges[-1] @ changes
        means = means + last * correlation ** np.arange(1, len(means) + 1)
        assert steps_after_last == len(means)
        return dict(
            loss=loss,
            loss_of_coefficients=self.loss_of(coefficients, changes, squares, variance),
            variance=variance,
            correlation=correlation,
            changes=list(changes),
            means=list(self.level + self.scale * means),
        )

    def smooth(self, value, start, level, scale):
        """A model that is not linear, without change points, by its gradient in all coordinates."""
        y = (self.level + self.scale * self.y - level) / scale

        def loss(point):
            coefficients, log_variance = point[:-1], point[-1]
            found = value(self.free[:, :2] @ coefficients[:2], self.free[:, 2:] @ coefficients[2:])
            squares = ((y - found) ** 2).sum()
            total = self.loss_of(coefficients, np.zeros(0), squares, math.exp(log_variance))
            return total + len(y) / 2.0 * log_variance + math.exp(log_variance) / (2.0 * SIGMA_SCALE**2)

        point = np.concatenate([start, np.zeros(self.free.shape[1] - 2), [-6.0]])
        for _ in range(6):
            point = minimize(loss, point, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).x
        means = value(self.free_ahead[:, :2] @ point[:2], self.free_ahead[:, 2:] @ point[2:-1])
        return dict(loss=loss(point), variance=math.exp(point[-1]), means=list(level + scale * means))


def main():
    first, length, steps = 18267, 560, 30
    days = weekdays(first, length + steps)
    noise = [0.0]
    for t in range(1, length + steps):
        noise.append(0.4 * noise[-1] + 2.0 * shock(t))
    warm = [20.0 + 8.0 * math.cos(t / 9.0) + 2.0 * shock(t + 5000) for t in range(length + steps)]
    values = [bends(t) + season(days[t]) + noise[t] + 0.05 * warm[t] for t in range(length)]
    holes = [None if t % 29 == 17 else warm[t] for t in range(length)]
    cases = []

    def add(parameters, found, values, regressors, ahead):
        # A covariance matrix of condition 1e9 leaves the evidence about so many digits.
        tolerance = 5e-5 if parameters["residuals"] == "ar1" else 1e-6
        case = dict(parameters=parameters, relative_tolerance=tolerance, found=found)
        cases.append(case | dict(values=values, regressors=regressors, ahead=ahead))

    for residuals, name, scale in [("independent", "independent", 0.05), ("autoregressive", "ar1", 0.5)]:
        options = {"residuals": name, "changepoint_prior_scale": scale}
        case = Case(days[:length], values, days[length:], 10, 2, CHANGES, scale)
        add(options, case.linear(residuals, steps), values, [], [])
        case = Case(days[:length], values, days[length:], 10, 2, CHANGES, scale, holes, warm[length:])
        add(options, case.linear(residuals, steps), values, [holes], [warm[length:]])

    growing = [(60.0 + 0.2 * t) * (1.0 + 0.02 * season(days[t])) + 4.0 * shock(t) for t in range(length)]
    case = Case(days[:length], growing, days[length:], 2, 2, 0, 0.05)
    base = case.level / case.scale
    found = case.smooth(lambda g, s: g + s * (g + base), [0.0, 0.5], case.level, case.scale)
    options = {"n_changepoints": 0, "yearly_order": 2, "residuals": "independent"}
    add(options | {"seasonality_mode": "multiplicative"}, found, growing, [], [])

    rise = [10.0 + 80.0 / (1.0 + math.exp(3.0 - t / 90.0)) + season(days[t]) + 4.0 * shock(t) for t in range(length)]
    case = Case(days[:length], rise, days[length:], 2, 2, 0, 0.05)
    scale = max(abs(value - 10.0) for value in rise)
    cap = 80.0 / scale
    found = case.smooth(lambda g, s: cap / (1.0 + np.exp(-g)) + s, [-3.0, 6.0], 10.0, scale)
    add(options | {"growth": "logistic", "cap": 90.0, "floor": 10.0}, found, rise, [], [])

    content = {
        "reference": "scipy",
        "reference_version": scipy.__version__,
        "script": "golden/make_decomposable.py",
        "loss_tolerance": 1e-8,
        "dates": days,
        "cases": cases,
    }
    text = json.dumps(content, allow_nan=False)
    (HERE / "decomposable.json").write_text(text + "\n")


main()
