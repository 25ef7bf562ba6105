#!/usr/bin/env python3
"""One more day on a six-year lake, with and without retraining.

Bars: 2 seconds without and 3 with, from the start of the process to its end.
"""

import sys

import harness
from harness import Almanac

BASELINES = ["naive", "random_walk", "seasonal_naive", "window_mean", "linear_regression"]
# Grid dates of the six-year lake are the firsts of January and July.
CASES = {"no_retrain": ("2021-12-31", 0, 2.0), "retrain": ("2022-01-01", len(BASELINES), 3.0)}


def main() -> int:
    parser = harness.with_prices(harness.parser(__doc__.splitlines()[0]))
    parser.add_argument("--rounds", type=int, default=5, help="runs of each case")
    arguments = parser.parse_args()

    figures, bars = {}, {}
    with harness.workplace(arguments) as work:
        six_years = harness.six_year_lake(arguments, work / "six_years", BASELINES)
        for case, (date, trained, limit) in CASES.items():
            runs = [one_day(arguments, six_years, work / "lake", date, trained) for _ in range(arguments.rounds)]
            figures[case] = harness.seconds(runs)
            slowest = max(run.seconds for run in runs)
            figures[case]["peak_rss_mib"] = harness.mib(max(run.peak_rss for run in runs))
            bars[f"{case} <= {limit:.0f} s"] = slowest <= limit
    return harness.report("daily", figures, bars)


def one_day(arguments, source, folder, date: str, trained: int) -> harness.Run:
    lake = harness.linked_copy(source, folder)
    done = Almanac(arguments, lake).job("daily", "--date", date, models=BASELINES)
    report = done.json()
    if (report["trained"], report["forecasts"]) != (trained, len(BASELINES)):
        sys.exit(f"{date}: {report['trained']} trained and {report['forecasts']} forecast, wanted {trained} and {len(BASELINES)}")
    return done


if __name__ == "__main__":
    sys.exit(main())
