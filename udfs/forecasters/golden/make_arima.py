"""Writes golden/arima.json: likelihoods, estimates and forecasts of ARIMA models with regressors, seasons, constants and
gaps by statsmodels, and a fit by statsforecast.

    pip install statsmodels statsforecast && python make_arima.py

The inputs are closed formulas, so no random generator can change them.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import statsforecast
import statsmodels
from statsforecast.models import ARIMA, AutoARIMA
from statsmodels.tsa.statespace.sarimax import SARIMAX

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent


def noise(t, seed):
    """Near enough to independent and normal: a sum of six pseudo-uniform numbers."""
    total = 0.0
    for k in range(6):
        number = math.sin(12.9898 * t + 78.233 * (seed + 7 * k) + 0.37 * k) * 43758.5453
        total += number - math.floor(number) - 0.5
    return total * math.sqrt(2.0)


def product(one, two, span):
    """Of 1 + sum one_i B^i and 1 + sum two_i B^(span i), both given from lag 1."""
    left = np.r_[1.0, one]
    right = np.zeros(span * len(two) + 1)
    right[0] = 1.0
    right[span::span] = two
    return np.convolve(left, right)


def process(length, ar, ma, seasonal_ar, seasonal_ma, season, seed):
    """An ARMA process from pseudo-noise, its first hundred values dropped."""
    ar = -product([-value for value in ar], [-value for value in seasonal_ar], season)[1:]
    ma = product(ma, seasonal_ma, season)[1:]
    errors = [noise(t, seed) for t in range(length + 100)]
    values = []
    for t in range(length + 100):
        value = errors[t]
        value += sum(c * values[t - j - 1] for j, c in enumerate(ar) if t - j - 1 >= 0)
        value += sum(c * errors[t - j - 1] for j, c in enumerate(ma) if t - j - 1 >= 0)
        values.append(value)
    return np.array(values[100:])


def integrated(values, spans):
    for span in spans:
        total = np.zeros(len(values) + span)
        for t in range(len(values)):
            total[t + span] = total[t] + values[t]
        values = total
    return values


def case(name, values, order, seasonal, constant=False, regressors=(), gaps=(), ahead=12):
    length = len(values) - ahead
    season = seasonal[3]
    missing = np.array([t in gaps for t in range(length)])
    columns = [np.array(column, dtype=float) for column in regressors]
    fitted_with = list(columns)
    differences = order[1] + seasonal[1]
    if constant:
        trend = np.arange(len(values), dtype=float)
        fitted_with.append(np.ones(len(values)) if differences == 0 else trend / (season if order[1] == 0 else 1))
    design = np.column_stack(fitted_with) if fitted_with else None
    endog = np.where(missing, np.nan, values[:length])
    lost = order[1] + seasonal[1] * season
    options = {"simple_differencing": True} if not missing.any() else {"use_exact_diffuse": True}
    model = SARIMAX(
        endog,
        exog=None if design is None else design[:length],
        order=order,
        seasonal_order=seasonal,
        concentrate_scale=True,
        **options,
    )
    best = None
    for start in (None, "previous"):
        fitted = model.fit(
            start_params=None if start is None else best.params, disp=0, maxiter=2000, method="bfgs", gtol=1e-9
        )
        if best is None or fitted.llf > best.llf:
            best = fitted
    count = len(columns) + int(constant)
    coefficients = list(best.params[count:])
    p, q, seasonal_p, seasonal_q = order[0], order[2], seasonal[0], seasonal[2]
    assert len(coefficients) == p + q + seasonal_p + seasonal_q
    # Forecasts of the undifferenced series with these parameters; exact diffuse starting values.
    whole = SARIMAX(
        endog,
        exog=None if design is None else design[:length],
        order=order,
        seasonal_order=seasonal,
        concentrate_scale=True,
        use_exact_diffuse=True,
    ).smooth(best.params)
    forecasts = whole.forecast(ahead, exog=None if design is None else design[length:])
    if missing.any():
        # What is left of the likelihood after as many observations as the differences use up.
        scale = best.scale
        seen = (~missing).sum() - lost
        errors = best.filter_results.standardized_forecasts_error[0][lost:] * math.sqrt(scale)
        logs = np.log(best.filter_results.forecasts_error_cov[0, 0][lost:] / scale)
        observed = ~missing[lost:]
        variance = float(np.sum(errors[observed] ** 2) / seen)
        likelihood = float(-0.5 * (seen * (math.log(2 * math.pi * variance) + 1) + np.sum(logs[observed])))
    else:
        variance, likelihood = float(best.scale), float(best.llf)
    return {
        "name": name,
        "order": list(order),
        "seasonal_order": list(seasonal[:3]),
        "season_length": season if season > 1 else 1,
        "constant": constant,
        "values": [float(value) for value in values[:length]],
        "regressors": [[None if missing[t] and j == 0 else float(c[t]) for t in range(length)] for j, c in enumerate(columns)],
        "ahead": [[float(value) for value in column[length:]] for column in columns],
        "coefficients": [float(value) for value in coefficients],
        "linear": [float(value) for value in best.params[:count]],
        "log_likelihood": likelihood,
        "variance": variance,
        "forecasts": [float(value) for value in forecasts],
    }


def at(name, values, order, seasonal, coefficients):
    """The likelihood at coefficients that are far from the best."""
    model = SARIMAX(values, order=order, seasonal_order=seasonal, concentrate_scale=True, simple_differencing=True)
    result = model.smooth(coefficients)
    return {
        "name": name,
        "order": list(order),
        "seasonal_order": list(seasonal[:3]),
        "season_length": max(seasonal[3], 1),
        "values": [float(value) for value in values],
        "coefficients": coefficients,
        "log_likelihood": float(result.llf),
        "variance": float(result.scale),
    }


def reference_of_another_package():
    values = integrated(process(140, [0.5], [0.4], [], [-0.5], 4, 11), [1, 4]) + 50.0
    history, ahead = values[:-8], 8
    fitted = ARIMA(order=(1, 1, 1), seasonal_order=(0, 1, 1), season_length=4, method="CSS-ML").fit(history)
    return {
        "reference": "statsforecast",
        "reference_version": statsforecast.__version__,
        "order": [1, 1, 1],
        "seasonal_order": [0, 1, 1],
        "season_length": 4,
        "values": [float(value) for value in history],
        "log_likelihood": float(fitted.model_["loglik"]),
        "forecasts": [float(value) for value in fitted.predict(ahead)["mean"]],
    }


def search(name, values, season):
    """Where statsforecast's stepwise search ends, and the criterion of that model by its exact likelihood (statsforecast's
    own has a diffuse beginning)."""
    model = AutoARIMA(season_length=season).fit(values).model_
    p, q, seasonal_p, seasonal_q, _, d, seasonal_d = (int(order) for order in model["arma"])
    lost = d + season * seasonal_d
    design = None
    if any(key in model["coef"] for key in ("intercept", "drift")):
        design = np.ones(len(values)) if lost == 0 else np.arange(len(values), dtype=float)
    fitted = SARIMAX(
        values,
        exog=design,
        order=(p, d, q),
        seasonal_order=(seasonal_p, seasonal_d, seasonal_q, season if season > 1 else 0),
        concentrate_scale=True,
        simple_differencing=True,
    ).fit(disp=0, maxiter=2000, method="bfgs", gtol=1e-9)
    count, parameters = len(values) - lost, len(fitted.params) + 1
    correction = 2.0 * parameters * (parameters + 1) / (count - parameters - 1)
    return {
        "name": name,
        "season_length": season,
        "values": [float(value) for value in values],
        "order": [p, d, q],
        "seasonal_order": [seasonal_p, seasonal_d, seasonal_q],
        "aicc": float(-2.0 * fitted.llf + 2.0 * parameters + correction),
    }


def main():
    none = (0, 0, 0, 0)
    weather = [2.0 * math.sin(1.7 * t * t) + math.cos(t / 9.0) for t in range(400)]
    holiday = [1.0 if t % 11 == 3 else 0.0 for t in range(400)]

    airline = integrated(process(160, [0.6, -0.2], [-0.4], [], [-0.6], 12, 1), [1, 12]) + 300.0
    quarterly = 20.0 + process(132, [0.7], [0.3], [0.6], [-0.2], 4, 2)
    walk = integrated(process(180, [0.4], [0.3], [], [], 1, 3), [1])
    with_regressors = walk + 0.8 * np.array(weather[: len(walk)]) - 1.5 * np.array(holiday[: len(walk)])
    drifting = integrated(0.3 + process(120, [], [-0.5, 0.2], [], [], 1, 4), [1])
    plain = 7.0 + process(110, [0.5, -0.3, 0.2], [], [], [], 1, 5)
    rich = process(212, [0.9, -0.5], [0.4, 0.3], [], [], 1, 6)
    bent = integrated(process(150, [], [-0.6], [], [], 1, 7), [1, 1])
    yearly_wave = 5.0 + integrated(0.5 + process(150, [0.5], [], [], [], 12, 8), [12])
    cases = [
        case("two kinds of differences", airline, (2, 1, 1), (0, 1, 1, 12)),
        case("seasonal factors and a mean", quarterly, (1, 0, 1), (1, 0, 1, 4), constant=True),
        case("regressors and one difference", with_regressors, (1, 1, 1), none, regressors=[weather[: len(walk)], holiday[: len(walk)]]),
        case("a drift", drifting, (0, 1, 2), none, constant=True),
        case("an autoregression with a mean", plain, (3, 0, 0), none, constant=True),
        case("four ordinary coefficients", rich, (2, 0, 2), none),
        case("two differences", bent, (0, 2, 1), none),
        case("a seasonal difference with drift", yearly_wave, (1, 0, 0), (0, 1, 1, 12), constant=True),
        case(
            "gaps and no difference",
            quarterly + 0.5 * np.array(weather[: len(quarterly)]),
            (1, 0, 1),
            none,
            constant=True,
            regressors=[weather[: len(quarterly)]],
            gaps=(0, 7, 8, 9, 40, 77),
        ),
        case(
            "gaps and one difference",
            with_regressors,
            (1, 1, 1),
            none,
            regressors=[weather[: len(walk)], holiday[: len(walk)]],
            gaps=(5, 6, 30, 31, 32, 90, 168),
        ),
        case(
            "gaps and seasonal differences",
            airline + 0.7 * np.array(weather[: len(airline)]),
            (1, 1, 1),
            (0, 1, 1, 12),
            regressors=[weather[: len(airline)]],
            gaps=(20, 21, 64, 100, 101, 102),
        ),
    ]
    likelihoods = [
        at("airline, far off", airline, (2, 1, 1), (0, 1, 1, 12), [0.1, 0.3, 0.5, 0.4]),
        at("near the edge", quarterly - 20.0, (1, 0, 1), (1, 0, 1, 4), [0.97, 0.95, 0.9, -0.96]),
        at("long", rich, (3, 0, 4), (2, 0, 2, 6), [0.5, -0.2, 0.1, 0.3, 0.2, -0.3, 0.1, 0.4, -0.2, 0.3, 0.2]),
    ]
    content = {
        "reference": "statsmodels",
        "reference_version": statsmodels.__version__,
        "script": "golden/make_arima.py",
        "relative_tolerance": 1e-4,
        "likelihood_tolerance": 1e-6,
        "cases": cases,
        "likelihoods": likelihoods,
        "other": reference_of_another_package(),
        "searches": [
            search("two kinds of differences", airline, 12),
            search("seasonal factors and a mean", quarterly, 4),
            search("one difference", walk, 1),
            search("a drift", drifting, 1),
            search("an autoregression with a mean", plain, 1),
            search("two differences", bent, 1),
            search("a seasonal difference with drift", yearly_wave, 12),
        ],
    }
    (HERE / "arima.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


main()
