"""Writes golden/prophet.json: what Prophet itself forecasts for the cases of decomposable.json that
it can fit, those with independent residuals and no covariate.

    pip install prophet && python make_prophet.py

Prophet searches by L-BFGS and stops short of the optimum where there are change points, hence a
tolerance for each case. Our five weekdays leave room for two weekly terms, so Prophet gets two.
"""

import json
import pathlib

import numpy as np
import pandas as pd
import prophet

HERE = pathlib.Path(__file__).parent
golden = json.loads((HERE / "decomposable.json").read_text())
dates = pd.to_datetime(np.array(golden["dates"]), unit="D")
cases = []
for index, case in enumerate(golden["cases"]):
    options = case["parameters"]
    if options["residuals"] != "independent" or case["regressors"]:
        continue
    model = prophet.Prophet(
        growth=options.get("growth", "linear"),
        n_changepoints=options.get("n_changepoints", 25),
        seasonality_mode=options.get("seasonality_mode", "additive"),
        yearly_seasonality=options.get("yearly_order", 10),
        weekly_seasonality=2,
        daily_seasonality=False,
        uncertainty_samples=0,
    )
    length = len(case["values"])
    history = pd.DataFrame({"ds": dates[:length], "y": case["values"]})
    ahead = pd.DataFrame({"ds": dates[length:]})
    for frame in (history, ahead):
        if "cap" in options:
            frame["cap"], frame["floor"] = options["cap"], options["floor"]
    means = model.fit(history).predict(ahead)["yhat"]
    tolerance = 2e-5 if options.get("n_changepoints") == 0 else 4e-3
    cases.append(dict(case=index, relative_tolerance=tolerance, means=list(means)))

content = {
    "reference": "prophet",
    "reference_version": prophet.__version__,
    "script": "golden/make_prophet.py",
    "cases": cases,
}
(HERE / "prophet.json").write_text(json.dumps(content, allow_nan=False) + "\n")
