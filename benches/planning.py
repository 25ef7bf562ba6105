#!/usr/bin/env python3
"""What `daily` reads to find out what there is to do, against the size of the table.

Bar: at most a hundredth of distributions on the six-year lake. The same keys with a tenth of the
paths, and half of the keys with all paths, show that the cost follows keys and not paths.
"""

import sys

import harness
from harness import Almanac, mib

BASELINES = ["naive", "random_walk", "seasonal_naive"]
HALF = ["--start", "2016-01-01", "--end", "2018-12-31"]


def main() -> int:
    parser = harness.with_prices(harness.parser(__doc__.splitlines()[0]))
    parser.add_argument("--rounds", type=int, default=3, help="runs on each lake; the median time counts")
    arguments = parser.parse_args()

    with harness.workplace(arguments) as work:
        whole = harness.six_year_lake(arguments, work / "six_years", BASELINES)
        few_paths = harness.six_year_lake(arguments, work / "few_paths", BASELINES, "--paths", "200")
        half = work / "three_years"
        if not half.exists():
            harness.lake_of_prices(arguments, half)
            Almanac(arguments, half).job("backfill", *HALF, models=BASELINES)
        figures = {
            "six_years": measured(arguments, whole, work / "lake", "2021-12-31"),
            "six_years_200_paths": measured(arguments, few_paths, work / "lake", "2021-12-31", "--paths", "200"),
            "three_years": measured(arguments, half, work / "lake", "2019-01-02"),
        }
    share = figures["six_years"]["share_of_table"]
    of_paths = figures["six_years"]["bytes_read"] / figures["six_years_200_paths"]["bytes_read"]
    figures["bytes_of_ten_times_the_paths"] = round(of_paths, 2)
    bars = {
        "share_of_table <= 0.01": share <= 0.01,
        "ten times the paths <= twice the bytes": of_paths <= 2,
    }
    return harness.report("planning", figures, bars)


def measured(arguments, source, folder, date: str, *options) -> dict:
    size = harness.table_bytes(source, "forecast/distributions")
    files = len(harness.live_files(source, "forecast/distributions"))
    plans, runs = [], []
    for _ in range(arguments.rounds):
        lake = harness.linked_copy(source, folder)
        done = Almanac(arguments, lake).job("daily", "--date", date, *options, models=BASELINES)
        runs.append(done)
        plans.append(done.json()["planning"])
    read = max(plan["bytes_read"] for plan in plans)
    return {
        "table_mib": mib(size),
        "table_files": files,
        "bytes_read": read,
        "share_of_table": round(read / size, 5),
        "planning_seconds": sorted(round(plan["seconds"], 4) for plan in plans)[len(plans) // 2],
        "daily_seconds": harness.seconds(runs)["median"],
    }


if __name__ == "__main__":
    sys.exit(main())
