#!/usr/bin/env python3
"""What a warm start saves when auto_arima is refitted at 16 cutoffs half a year apart, on daily prices.

Runs the bench `cutoffs` of the forecasters crate on the closes of Coffee and Sugar. Bars: 16 fits that begin
from the one before take a fifth of the time of 16 that begin from nothing, and their mean AICc is no worse;
of the search alone, and with the calibration of paths that the catalog adds.
Needs pyarrow in the Python that runs it (benches/requirements.txt).
"""

import argparse
import json
import pathlib
import sys
import tempfile

import harness
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

COMMODITIES = ["Coffee", "Sugar"]
RATIO = 5


def main() -> int:
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = harness.SHARED / "data" / "commodity_daily.parquet"
    found.add_argument("data", type=pathlib.Path, nargs="?", default=data, help="date, commodity, close, stale_suspect")
    arguments = found.parse_args()
    table = pyarrow.parquet.read_table(arguments.data, columns=["date", "commodity", "close", "stale_suspect"])
    with tempfile.TemporaryDirectory() as folder:
        files = [write(table, commodity, pathlib.Path(folder) / commodity) for commodity in COMMODITIES]
        bench = ["cargo", "bench", "--quiet", "--manifest-path", harness.ROOT / "Cargo.toml"]
        done = harness.run([*bench, "-p", "almanac-forecasters", "--bench", "cutoffs", "--", *files])
    figures, bars = {}, {}
    for line in map(json.loads, done.stdout.splitlines()):
        commodity, calibrate = pathlib.Path(line.pop("file")).name, line.pop("calibrate")
        line["ratio"] = round(line["cold_seconds"] / line["warm_seconds"], 2)
        figures[f"{commodity}, calibrate {calibrate}"] = line
        bars[f"{commodity}, calibrate {calibrate}: {RATIO} times as fast"] = line["ratio"] >= RATIO
        bars[f"{commodity}, calibrate {calibrate}: mean AICc no worse"] = line["warm_mean_aicc"] <= line["cold_mean_aicc"] + 1e-6
    return harness.report("cutoffs", figures, bars)


def write(table: pa.Table, commodity: str, path: pathlib.Path) -> pathlib.Path:
    """The true trading days of a commodity as lines of a day, counted from 1970, and a close."""
    sound = pc.and_(pc.invert(table["stale_suspect"]), table["close"].is_valid())
    rows = table.filter(pc.and_(pc.equal(table["commodity"], commodity), sound)).sort_by("date")
    days = rows["date"].cast(pa.timestamp("s")).cast(pa.int64()).to_numpy() // 86_400
    path.write_text("".join(f"{day} {close!r}\n" for day, close in zip(days.tolist(), rows["close"].to_pylist())))
    return path


if __name__ == "__main__":
    sys.exit(main())
