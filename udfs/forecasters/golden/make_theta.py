"""Writes theta.json: the theta methods of statsforecast on closed-form series.

    pip install statsforecast==2.0.3 && python make_theta.py

statsforecast stops its search early and leaves the first three errors out of its loss, so its
parameters are recorded beside its fitted values and forecasts: at those parameters ours must give
the same numbers, and our own parameters must have a loss that is no larger.
"""

import json
import math
import pathlib

import numpy as np
import statsforecast
from statsforecast.models import DynamicOptimizedTheta, DynamicTheta, OptimizedTheta, Theta

HERE = pathlib.Path(__file__).parent
FORMS = {
    "standard": Theta,
    "optimized": OptimizedTheta,
    "dynamic": DynamicTheta,
    "dynamic_optimized": DynamicOptimizedTheta,
}


def wander(t):
    return 180.0 + 25.0 * math.sin(t / 37.0) + 4.0 * math.cos(t / 3.1) + 3.0 * math.sin(t * t / 11.0) + 0.5 * t


def season(t, length):
    phase = 2.0 * math.pi * t / length
    return 0.25 * math.sin(phase) + 0.1 * math.cos(2.0 * phase)


SERIES = {
    "yearly": ([90.0 + 6.0 * t + 5.0 * math.sin(t * t / 3.0) for t in range(15)], 1, "multiplicative"),
    "long": ([wander(t) for t in range(150)], 1, "multiplicative"),
    "monthly": ([wander(t) * (1.0 + season(t, 12)) for t in range(96)], 12, "multiplicative"),
    "quarterly": ([wander(t) * (1.0 + season(t, 4)) for t in range(40)], 4, "multiplicative"),
    "weekly": ([wander(t) * (1.0 + season(t, 52)) for t in range(260)], 52, "multiplicative"),
    "below_zero": ([wander(t) - 250.0 + 60.0 * season(t, 12) for t in range(100)], 12, "additive"),
    "odd": ([wander(t) + 60.0 * season(t, 7) for t in range(80)], 7, "additive"),
}


def fit(form, values, length, kind, horizon):
    model = FORMS[form](season_length=length, decomposition_type=kind).fit(np.array(values))
    found, horizon = model.model_, model.predict(horizon)["mean"]
    parameters = found["par"]
    return {
        "alpha": float(parameters["alpha"]),
        "theta": float(parameters["theta"]),
        "level": float(parameters["initial_smoothed"]),
        "fitted": [float(value) for value in found["fitted"]],
        "forecast": [float(value) for value in horizon],
    }


cases = [
    {
        "series": name,
        "values": values,
        "season_length": length,
        "decomposition": kind,
        "forms": {form: fit(form, values, length, kind, length + 7) for form in FORMS},
    }
    for name, (values, length, kind) in SERIES.items()
]
content = {
    "reference": "statsforecast",
    "reference_version": statsforecast.__version__,
    "script": "golden/make_theta.py",
    "relative_tolerance": 1e-9,
    "cases": cases,
}
(HERE / "theta.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
