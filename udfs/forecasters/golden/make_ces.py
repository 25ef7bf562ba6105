"""Writes the golden file of complex exponential smoothing: what statsforecast's AutoCES fits.

    pip install statsforecast==2.0.3 && python make_ces.py

The inputs are closed formulas, so no random generator can change them. Weights and first states are
written out as well, so that the recursions can be compared where estimates differ. statsforecast
keeps its states in single precision, which is what the tolerance allows for.
"""

import json
import math
import pathlib

import numpy as np
import statsforecast
from statsforecast.models import AutoCES

HERE = pathlib.Path(__file__).parent
LENGTH = 132
SEASON = 12
STEPS = 24


def noise(t):
    return math.sin(t * t / 11.0) + 0.8 * math.cos(t * t / 7.0 + 1.0) + 0.6 * math.sin(t * t * 0.37)


def level(t):
    return 400.0 * math.exp(0.004 * t) + 25.0 * math.sin(t / 17.0)


def wave(t):
    return 30.0 * math.sin(2.0 * math.pi * t / SEASON) + 12.0 * math.cos(4.0 * math.pi * t / SEASON)


SERIES = {
    "N": [level(t) + 9.0 * noise(t) for t in range(LENGTH)],
    "S": [500.0 + 0.4 * t + 3.0 * wave(t) + 9.0 * noise(t) for t in range(LENGTH)],
    "P": [level(t) + wave(t) * (1.0 + 0.3 * math.sin(t / 40.0)) + 6.0 * noise(t) for t in range(LENGTH)],
    "F": [500.0 + 40.0 * math.sin(t / 15.0) + wave(t) * (1.0 + 0.5 * math.sin(t / 20.0)) + 6.0 * noise(t) for t in range(LENGTH)],
}
FORMS = {"N": "none", "S": "simple", "P": "partial", "F": "full"}


def case(model):
    values = SERIES[model]
    season = 1 if model == "N" else SEASON
    fitted = AutoCES(season_length=season, model=model).fit(np.array(values))
    found = fitted.model_
    weights = [float(found["par"][name]) for name in ("alpha_0", "alpha_1", "beta_0", "beta_1")]
    weights = [weight for weight in weights if not math.isnan(weight)]
    first = np.array(found["states"][:season], dtype=float)
    if model == "S":
        states = {"level": None, "season": first.tolist()}
    elif model == "N":
        states = {"level": first[0].tolist(), "season": []}
    else:
        effects = first[:, 2:].tolist() if model == "F" else [[row[2], 0.0] for row in first]
        states = {"level": first[season - 1, :2].tolist(), "season": effects}
    predictions = np.array(found["fitted"], dtype=float)
    return {
        "form": FORMS[model],
        "season_length": season,
        "values": values,
        "weights": weights,
        **states,
        "predictions": predictions.tolist(),
        "sum_of_squares": float(np.sum((np.array(values) - predictions) ** 2)),
        "forecasts": np.array(fitted.predict(h=STEPS)["mean"], dtype=float).tolist(),
    }


content = {
    "reference": "statsforecast AutoCES",
    "reference_version": statsforecast.__version__,
    "script": "golden/make_ces.py",
    "relative_tolerance": 1e-5,
    "cases": [case(model) for model in SERIES],
}
(HERE / "ces.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
