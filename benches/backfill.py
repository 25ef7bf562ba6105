#!/usr/bin/env python3
"""Six years of Coffee, every day, 2,000 paths: almanac against a careful numpy script, in turn.

Bars: wall time at most 0.6 of the script's and 1.5 of the Parquet writer's alone, peak memory at
most 512 MiB, and at most a tenth more for five models than for one. The script needs the packages of
interop/requirements.txt; give the Python that has them with --python.
"""

import json
import pathlib
import shutil
import statistics
import sys

import harness
from harness import Almanac, mib

SPAN = ["--start", "2016-01-01", "--end", "2021-12-31"]
FIVE = ["naive", "random_walk", "seasonal_naive", "window_mean", "linear_regression"]


def main() -> int:
    parser = harness.with_prices(harness.parser(__doc__.splitlines()[0]))
    peer = harness.SHARED / "bench" / "peer_numpy_backfill.py"
    parser.add_argument("--peer", type=pathlib.Path, default=peer, help="the script to compare with")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs it")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, alternately")
    parser.add_argument(
        "--writer",
        type=pathlib.Path,
        help="writes the same batches with the Parquet writer alone; default the newest built by "
        "`cargo bench --workspace --bench writer --no-run`",
    )
    arguments = parser.parse_args()
    baseline = arguments.writer or built_writer(arguments.binary)

    ours, theirs, writer = [], [], []
    with harness.workplace(arguments) as work:
        prices = harness.lake_of_prices(arguments, work / "prices")
        lake, output = work / "lake", work / "peer"
        for _ in range(arguments.rounds):
            harness.linked_copy(prices, lake)
            ours.append(backfill(arguments, lake, ["random_walk"]))
            shutil.rmtree(output, ignore_errors=True)
            theirs.append(harness.run([arguments.python, arguments.peer, arguments.data, output]))
            done = harness.run([baseline, lake, arguments.threads])
            writer.append(json.loads(done.stdout.splitlines()[-1])["seconds"])
        written = {
            "distributions": harness.table_bytes(lake, "forecast/distributions"),
            "point_forecasts": harness.table_bytes(lake, "forecast/point_forecasts"),
            "peer": harness.table_bytes(output, "."),
        }
        shutil.rmtree(output)
        five = backfill(arguments, harness.linked_copy(prices, lake), FIVE)

    seconds, peer_seconds = harness.seconds(ours), harness.seconds(theirs)
    ratio = seconds["median"] / peer_seconds["median"]
    peak = max(run.peak_rss for run in ours)
    growth = five.peak_rss / statistics.median(run.peak_rss for run in ours) - 1
    writer_ratio = seconds["median"] / statistics.median(writer)
    figures = {
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "ratio": round(ratio, 3),
        "writer_seconds": sorted(writer),
        "writer_ratio": round(writer_ratio, 3),
        "cpu_seconds": round(statistics.median(run.cpu_seconds for run in ours), 2),
        "peak_rss_mib": mib(peak),
        "peer_peak_rss_mib": mib(max(run.peak_rss for run in theirs)),
        "five_models": {
            "seconds": round(five.seconds, 2),
            "peak_rss_mib": mib(five.peak_rss),
            "rss_growth": round(growth, 3),
        },
        "mib_written": {name: mib(size) for name, size in written.items()},
    }
    bars = {
        "ratio <= 0.6": ratio <= 0.6,
        "writer_ratio <= 1.5": writer_ratio <= 1.5,
        "peak_rss <= 512 MiB": peak <= 512 * harness.MIB,
        "rss_growth <= 0.1": growth <= 0.1,
    }
    return harness.report("backfill", figures, bars)


def built_writer(binary: pathlib.Path) -> pathlib.Path:
    built = [path for path in binary.resolve().parent.glob("deps/writer-*") if not path.suffix]
    if not built:
        sys.exit("no Parquet writer to compare with: cargo bench --workspace --bench writer --no-run")
    return max(built, key=lambda path: path.stat().st_mtime)


def backfill(arguments, lake: pathlib.Path, models: list[str]) -> harness.Run:
    done = Almanac(arguments, lake).job("backfill", *SPAN, models=models)
    forecasts = done.json()["forecasts"]
    if forecasts != 2192 * len(models):
        sys.exit(f"{forecasts} forecasts were made, wanted {2192 * len(models)}")
    return done


if __name__ == "__main__":
    sys.exit(main())
