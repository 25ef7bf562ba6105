"""Writes golden/stl.json: decompositions our STL and MSTL must reproduce, computed by statsmodels.

    pip install statsmodels && python make_stl.py

The inputs are closed formulas, so no random generator can change them.
"""

import json
import math
import pathlib

import numpy as np
import statsmodels
from statsmodels.tsa.seasonal import MSTL, STL

HERE = pathlib.Path(__file__).parent


def wave(length, periods):
    """A bent trend, waves whose size changes, and a rest that follows no pattern."""
    return [
        100.0
        + 0.02 * t
        + 9.0 * math.sin(t / 70.0)
        + sum((6.0 + 0.01 * t + k) * math.sin(2.0 * math.pi * t / period + k) for k, period in enumerate(periods))
        + 2.0 * math.cos(6.0 * math.pi * t / periods[0])
        + 1.5 * math.sin(t * t / 7.0)
        for t in range(length)
    ]


def spoiled(values):
    """The same with three values far off."""
    return [value + (40.0 if t in (31, 77) else -35.0 if t == 102 else 0.0) for t, value in enumerate(values)]


def low_pass(period):
    """The least odd number beyond the period: the reference refuses an odd period itself, which the paper recommends."""
    return period + 1 + period % 2


def case(name, values, period, seasonal, robust=False, jump=1):
    stl = STL(
        np.array(values),
        period=period,
        seasonal=seasonal,
        robust=robust,
        seasonal_jump=jump,
        trend_jump=jump,
        low_pass_jump=jump,
        low_pass=low_pass(period),
    ).fit()
    return {
        "name": name,
        "values": values,
        "period": period,
        "window": seasonal,
        "low_pass": low_pass(period),
        "robust": robust,
        "jump": jump,
        "seasonal": list(stl.seasonal),
        "trend": list(stl.trend),
    }


def several(values, periods):
    mstl = MSTL(np.array(values), periods=periods).fit()
    return {
        "values": values,
        "periods": periods,
        "low_pass": [low_pass(period) for period in periods],
        "seasonal": [list(column) for column in np.array(mstl.seasonal).reshape(len(values), -1).T],
        "trend": list(mstl.trend),
    }


content = {
    "reference": "statsmodels",
    "reference_version": statsmodels.__version__,
    "script": "golden/make_stl.py",
    "tolerance": 1e-6,
    "robust_tolerance": 1e-4,
    "stl": [
        case("monthly", wave(150, [12]), 12, 7),
        case("odd length and period", wave(131, [7]), 7, 13),
        case("fewer seasons than the window holds", wave(62, [12]), 12, 15),
        case("jumps", wave(150, [12]), 12, 7, jump=3),
        case("outliers", spoiled(wave(150, [12])), 12, 9, robust=True),
    ],
    "mstl": [several(wave(400, [12, 60]), [12, 60]), several(wave(200, [7]), [7])],
}
(HERE / "stl.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
