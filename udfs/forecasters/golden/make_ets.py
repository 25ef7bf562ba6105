"""Writes golden/ets.json: exponential smoothing as statsmodels and statsforecast compute it.

    pip install statsmodels statsforecast && python make_ets.py

The inputs are closed formulas. For each of the thirty forms: the parameters and initial states that
statsforecast finds, and the log-likelihood, predictions and forecasts it computes from them; the same
from statsmodels, but for multiplicative seasons, whose error it divides by the level after instead of
before the update, unlike the book.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import statsforecast
import statsmodels
from statsforecast.ets import ets_f, forecast_ets
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

HERE = pathlib.Path(__file__).parent
SEASON, LENGTH, STEPS = 4, 80, 10
NAMES = {"N": None, "A": "add", "M": "mul"}


def sales():
    """Growing, with a season that grows along, and a level that wanders; all positive."""
    return [
        (120.0 + 1.1 * t + 9.0 * math.sin(t / 7.0) + 4.0 * math.sin(t * t / 5.0))
        * (1.0 + 0.12 * math.cos(math.pi * t / 2.0) + 0.05 * math.sin(math.pi * t / 2.0 + 0.4))
        for t in range(LENGTH)
    ]


def by_statsmodels(values, error, trend, damped, season):
    model = ETSModel(
        np.array(values),
        error=NAMES[error],
        trend=NAMES[trend],
        damped_trend=damped,
        seasonal=NAMES[season],
        seasonal_periods=SEASON if season != "N" else None,
        initialization_method="estimated",
    )
    fit = model.fit(disp=False, maxiter=5000)
    # Its first seasonal state is the newest, ours the next.
    named = dict(zip(model.param_names, (float(value) for value in fit.params)))
    return {
        "alpha": named["smoothing_level"],
        "beta": named.get("smoothing_trend", 0.0),
        "gamma": named.get("smoothing_seasonal", 0.0),
        "phi": named.get("damping_trend", 1.0),
        "level": named["initial_level"],
        "growth": named.get("initial_trend", 0.0),
        "season": [named[f"initial_seasonal.{k}"] for k in reversed(range(SEASON))] if season != "N" else [],
        "log_likelihood": float(fit.llf),
        "predictions": [float(value) for value in fit.fittedvalues],
        "forecasts": [float(value) for value in fit.forecast(STEPS)],
    }


def by_statsforecast(values, error, trend, damped, season):
    fit = ets_f(
        np.array(values),
        SEASON,
        model=error + trend + season,
        damped=damped,
        allow_multiplicative_trend=True,
        restrict=False,
    )
    alpha, beta, gamma, phi = (float(value) for value in fit["par"][:4])
    states = [float(value) for value in fit["states"][0]]
    # Its likelihood lacks the constants; its first seasonal state is the newest, ours the next.
    constant = -0.5 * LENGTH * (math.log(2.0 * math.pi / LENGTH) + 1.0)
    return {
        "alpha": alpha,
        "beta": 0.0 if math.isnan(beta) else beta,
        "gamma": 0.0 if math.isnan(gamma) else gamma,
        "phi": 1.0 if math.isnan(phi) else phi,
        "level": states[0],
        "growth": states[1] if trend != "N" else 0.0,
        "season": states[-1 : -SEASON - 1 : -1] if season != "N" else [],
        "log_likelihood": float(fit["loglik"]) + constant,
        "penalty": float(fit["aicc"]) + 2.0 * float(fit["loglik"]),
        "predictions": [float(value) for value in fit["fitted"]],
        # With a damped trend it adds the first power of phi twice: only one step is worth comparing.
        "forecasts": [float(value) for value in forecast_ets(fit, h=STEPS)["mean"]][: 1 if damped else STEPS],
    }


def main():
    warnings.simplefilter("ignore")
    values = sales()
    forms = []
    for season in "NAM":
        for trend, damped in [("N", False), ("A", False), ("A", True), ("M", False), ("M", True)]:
            for error in "AM":
                entry = {
                    "form": error + trend + ("d" if damped else "") + season,
                    "statsforecast": by_statsforecast(values, error, trend, damped, season),
                }
                if season != "M":
                    entry["statsmodels"] = by_statsmodels(values, error, trend, damped, season)
                forms.append(entry)
    content = {
        "reference": "statsforecast, statsmodels",
        "reference_version": f"{statsforecast.__version__}, {statsmodels.__version__}",
        "script": "golden/make_ets.py",
        "relative_tolerance": 1e-4,
        "season_length": SEASON,
        "values": values,
        "forms": forms,
    }
    (HERE / "ets.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


main()
