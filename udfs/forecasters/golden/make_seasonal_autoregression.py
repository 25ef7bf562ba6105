"""Writes golden/seasonal_autoregression.json: figures our seasonal autoregression must reproduce.

    pip install numpy && python make_seasonal_autoregression.py

The inputs are closed formulas, so no random generator can change them. The equations are those of
the head of src/seasonal_autoregression.rs, solved by numpy's least squares.
"""

import json
import math
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
LENGTH, STEPS = 260, 30
LAGS = [1, 2, 3, 5, 6, 7, 8, 9, 26, 27, 28, 29, 30]


def values():
    """A short season, a longer one, a slow wave and a rest that follows no pattern; positive."""
    return [
        math.exp(
            4.0
            + 0.3 * math.sin(2.0 * math.pi * t / 7.0)
            + 0.2 * math.cos(2.0 * math.pi * t / 28.0)
            + 0.1 * math.sin(t / 41.0)
            + 0.3 * math.sin(t * t / 11.0)
        )
        for t in range(LENGTH)
    ]


def case(difference, logarithms):
    series = np.array(values())
    if logarithms:
        series = np.log(series)
    center = 0.0 if difference else series.mean()
    modelled = series[difference:] - series[: LENGTH - difference] if difference else series - center
    longest = max(LAGS)
    design = np.column_stack([modelled[longest - lag : len(modelled) - lag] for lag in LAGS])
    weights, _, rank, _ = np.linalg.lstsq(design, modelled[longest:], rcond=None)
    assert rank == len(LAGS)
    errors = modelled[longest:] - design @ weights
    deviation = math.sqrt(float(errors @ errors) / (len(errors) - len(LAGS)))

    def continued(path, impulses):
        """The path and as many steps more; an impulse is added to each."""
        path = list(path)
        for impulse in impulses:
            back = lambda lag: path[len(path) - lag]
            if difference:
                step = back(difference) + sum(w * (back(l) - back(l + difference)) for w, l in zip(weights, LAGS))
            else:
                step = center + sum(w * (back(l) - center) for w, l in zip(weights, LAGS))
            path.append(step + impulse)
        return path[-len(impulses) :]

    middle = continued(series, [0.0] * STEPS)
    effects = np.array(continued([center] * 60, [1.0] + [0.0] * (STEPS - 1))) - center
    return {
        "difference": "longest" if difference else "none",
        "logarithms": "yes" if logarithms else "no",
        "weights": list(weights),
        "deviation": deviation,
        "middle": [math.exp(value) for value in middle] if logarithms else [float(value) for value in middle],
        "deviations": [deviation * float(np.sqrt(np.sum(effects[: k + 1] ** 2))) for k in range(STEPS)],
    }


content = {
    "reference": "numpy",
    "reference_version": np.__version__,
    "script": "golden/make_seasonal_autoregression.py",
    "relative_tolerance": 1e-6,
    "values": values(),
    "season_lengths": [7, 28],
    "cases": [case(0, False), case(0, True), case(28, False)],
}
(HERE / "seasonal_autoregression.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
