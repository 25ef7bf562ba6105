"""Writes transform.json: powers of Box and Cox chosen by Guerrero's method, by coreforecast.

    pip install coreforecast && python make_transform.py
"""

import importlib.metadata
import json
import math
import pathlib

import numpy as np
from coreforecast.scalers import boxcox_lambda

HERE = pathlib.Path(__file__).parent


def spread(t, power):
    """A growing level whose season grows with this power of it."""
    level = 20.0 + 1.5 * t + 10.0 * math.sin(t / 23.0)
    season = math.sin(2.0 * math.pi * t / 12.0) + 0.4 * math.sin(t * t / 7.0)
    return level + 0.5 * level**power * season


SERIES = {
    "square_root": ([spread(t, 0.5) for t in range(121)], 12),
    "proportional": ([spread(t, 0.95) for t in range(130)], 12),
    "steady": ([spread(t, 0.05) for t in range(96)], 12),
    "quarters": ([spread(t, 0.7) for t in range(47)], 4),
    "pairs": ([spread(t, 0.6) for t in range(80)], 2),
    "short": ([spread(t, 0.6) for t in range(26)], 12),
}

cases = [
    {
        "series": name,
        "values": values,
        "season_length": length,
        "lambda": boxcox_lambda(np.array(values), method="guerrero", season_length=length, lower=0.0, upper=2.0),
    }
    for name, (values, length) in SERIES.items()
]
content = {
    "reference": "coreforecast",
    "reference_version": importlib.metadata.version("coreforecast"),
    "script": "golden/make_transform.py",
    "absolute_tolerance": 2e-4,
    "cases": cases,
}
(HERE / "transform.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
