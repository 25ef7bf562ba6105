#!/usr/bin/env python3
"""Ten thousand series of three years, every day, in one lake: two models at one cutoff, 100 paths.

Bar: training and forecasting stay within 4 GiB. Needs pyarrow and numpy (interop/requirements.txt)
in the Python that runs it, to make the series.
"""

import datetime
import shutil
import subprocess
import sys

import harness
from harness import Almanac, mib

MODELS = ["naive", "random_walk"]
FIRST = datetime.date(2021, 1, 1)

MAKE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
path, series, days, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
dates = pa.array(np.arange(np.datetime64(first), np.datetime64(first) + days).astype("datetime64[D]"))
schema = pa.schema([("date", pa.date32()), ("commodity", pa.string()), ("close", pa.float64())])
with pq.ParquetWriter(path, schema, compression="zstd") as writer:
    for start in range(0, series, 500):
        count = min(500, series - start)
        names = np.repeat([f"series_{i:05d}" for i in range(start, start + count)], days)
        steps = np.random.default_rng(start).normal(0.0, 0.01, (count, days))
        closes = 100.0 * np.exp(np.cumsum(steps, axis=1))
        columns = [pa.concat_arrays([dates.cast(pa.date32())] * count), pa.array(names), pa.array(closes.ravel())]
        writer.write_table(pa.table(columns, schema=schema))
"""


def main() -> int:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=3 * 365)
    parser.add_argument("--buckets", type=int, default=64)
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--python", default=sys.executable, help="the Python that makes the series")
    arguments = parser.parse_args()

    cutoff = FIRST + datetime.timedelta(days=arguments.days)
    at = ["--start", cutoff, "--end", cutoff]
    with harness.workplace(arguments) as work:
        source, lake = work / "series.parquet", work / "lake"
        shape = [str(arguments.series), str(arguments.days), str(FIRST)]
        subprocess.run([arguments.python, "-c", MAKE, source, *shape], check=True)
        shutil.rmtree(lake, ignore_errors=True)
        almanac = Almanac(arguments, lake)
        almanac("init", "--calendar", "daily", "--buckets", arguments.buckets)
        ingest = almanac("ingest", source)
        train = almanac.job("train", *at, commodity="*", models=MODELS)
        forecast = almanac.job("forecast", *at, "--paths", arguments.paths, commodity="*", models=MODELS)
        wanted = arguments.series * len(MODELS)
        made = (train.json()["trained"], forecast.json()["forecasts"])
        if made != (wanted, wanted):
            sys.exit(f"{made[0]} trained and {made[1]} forecast, wanted {wanted} of each")
        written = mib(harness.table_bytes(lake, "forecast/distributions"))

    peak = max(train.peak_rss, forecast.peak_rss)
    both = train.seconds + forecast.seconds
    figures = {
        "series": arguments.series,
        "rows": arguments.series * arguments.days,
        "models": MODELS,
        "paths": arguments.paths,
        **{name: weighed(run) for name, run in (("ingest", ingest), ("train", train), ("forecast", forecast))},
        "series_per_second": round(arguments.series / both, 1),
        "fits_per_second": round(wanted / train.seconds, 1),
        "forecasts_per_second": round(wanted / forecast.seconds, 1),
        "distributions_mib": written,
    }
    return harness.report("many_series", figures, {"peak_rss <= 4096 MiB": peak <= 4096 * harness.MIB})


def weighed(run: harness.Run) -> dict:
    return {"seconds": round(run.seconds, 2), "cpu_seconds": round(run.cpu_seconds, 2), "peak_rss_mib": mib(run.peak_rss)}


if __name__ == "__main__":
    sys.exit(main())
