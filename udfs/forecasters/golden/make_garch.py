"""Writes golden/garch.json: what `arch` makes of a price series in closed form.

    pip install arch && python make_garch.py

The shocks are normal quantiles of the fractional parts of t² sqrt(2), which fill the unit interval
evenly and look like noise; variances follow from them by a GARCH recursion with leverage. Returns
are in percent. `parameters` are the reference's optimum, `log_likelihood` its value there,
`variances` its forecasts of the next ten variances where a formula for them exists.
"""

import json
import math
import pathlib
from statistics import NormalDist

import arch
from arch import arch_model

HERE = pathlib.Path(__file__).parent
LENGTH = 1500
STEPS = 10


def prices():
    price, variance, error, values = 100.0, 2.0, 0.0, [100.0]
    for t in range(1, LENGTH + 1):
        uniform = math.fmod(t * t * math.sqrt(2.0), 1.0)
        shock = NormalDist().inv_cdf(min(max(uniform, 1e-4), 1 - 1e-4))
        shock *= 0.8 + 0.5 * (math.fmod(t * math.sqrt(3.0), 1.0) > 0.8)
        variance = 0.06 + (0.05 + 0.08 * (error < 0)) * error**2 + 0.88 * variance
        error = math.sqrt(variance) * shock
        price *= math.exp(0.01 * (0.03 + error))
        values.append(round(price, 6))
    return values


def case(returns, params, **kwargs):
    model = arch_model(returns, rescale=False, **kwargs)
    start = model.fit(disp="off", tol=1e-12, options={"maxiter": 2000})
    # A second search from the optimum, so that the reference is at its best.
    result = model.fit(disp="off", starting_values=start.params, tol=1e-14, options={"maxiter": 2000})
    content = {
        "params": params,
        "names": list(result.params.index),
        "parameters": list(result.params),
        "log_likelihood": result.loglikelihood,
        "deviations": [d for d in result.conditional_volatility[-5:]],
    }
    if kwargs.get("vol") != "EGARCH":
        forecast = result.forecast(horizon=STEPS, reindex=False)
        content["variances"] = list(forecast.residual_variance.iloc[-1] if hasattr(forecast.residual_variance, "iloc")
                                    else forecast.residual_variance[-1])
    print(json.dumps(params), result.loglikelihood, dict(result.params))
    return content


def main():
    values = prices()
    returns = [100.0 * math.log(after / before) for before, after in zip(values, values[1:])]
    import numpy as np

    returns = np.array(returns)
    cases = []
    for errors, dist in (("gaussian", "normal"), ("student_t", "t")):
        for variance, kwargs in (
            ("garch", {"vol": "GARCH", "p": 1, "q": 1}),
            ("gjr", {"vol": "GARCH", "p": 1, "o": 1, "q": 1}),
            ("egarch", {"vol": "EGARCH", "p": 1, "o": 1, "q": 1}),
        ):
            params = {"variance": variance, "errors": errors}
            cases.append(case(returns, params, mean="Constant", dist=dist, **kwargs))
    cases.append(case(returns, {"mean": "zero"}, mean="Zero", dist="normal", vol="GARCH", p=1, q=1))
    cases.append(case(returns, {"p": 2, "q": 2}, mean="Constant", dist="normal", vol="GARCH", p=2, q=2))
    cases.append(case(returns, {"p": 3, "q": 0}, mean="Constant", dist="normal", vol="ARCH", p=3))
    cases.append(
        case(returns, {"variance": "egarch", "p": 2, "o": 1, "q": 2}, mean="Constant", dist="normal",
             vol="EGARCH", p=2, o=1, q=2)
    )
    cases.append(
        case(returns, {"mean": "ar", "lags": [1, 3]}, mean="AR", lags=[1, 3], dist="normal", vol="GARCH", p=1, q=1)
    )
    header = {
        "reference": "arch",
        "reference_version": arch.__version__,
        "script": "golden/make_garch.py",
        "relative_tolerance": 1e-4,
    }
    text = json.dumps(header | {"values": values, "cases": cases}, indent=1, allow_nan=False)
    (HERE / "garch.json").write_text(text + "\n")


main()
