#!/usr/bin/env python3
"""One forecast out of six years of them, through DuckDB and through `almanac sql`.

Once on the table as a backfill made it, once after `optimize`.
Bar: at most 2 row groups and the footers, by each engine's own account: DuckDB's log of its reads,
and the metrics of EXPLAIN ANALYZE. Needs the packages of interop/requirements.txt.
"""

import argparse
import json
import pathlib
import re
import sys
import time
import urllib.parse

import harness
from harness import Almanac, mib

WHERE = "commodity = 'Coffee' AND model_name = 'random_walk' AND model_version = 'v1.0' AND forecast_start_date = DATE '{}'"
SELECT = "SELECT count(*) AS paths, min(path_id) AS first, max(path_id) AS last, avg(day_14) AS mean FROM {} WHERE "


def main() -> int:
    parser = harness.with_prices(harness.parser(__doc__.splitlines()[0]))
    parser.add_argument("--date", default="2018-05-15", help="the forecast's first day")
    parser.add_argument("--models", default="naive,random_walk,seasonal_naive", help="models in the lake")
    parser.add_argument("--lake", type=pathlib.Path, help="read this lake instead of making one")
    parser.add_argument("--duckdb", metavar="LAKE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.duckdb:  # A process of its own, so that its time includes DuckDB's start.
        print(json.dumps(duckdb_read(pathlib.Path(arguments.duckdb), arguments.date)))
        return 0

    figures, bars = {}, {}
    with harness.workplace(arguments) as work:
        lake = arguments.lake
        if lake is None:
            lake = harness.six_year_lake(arguments, work / "six_years", arguments.models.split(","))
        figures["as_made"] = both(arguments, lake)
        merged = harness.linked_copy(lake.resolve(), work / "merged")
        Almanac(arguments, merged)("optimize", "distributions")
        figures["after_optimize"] = both(arguments, merged)

    for state, read in figures.items():
        duck, ours = read["duckdb"], read["almanac"]
        same = duck["answer"][:3] == ours["answer"][:3] == [2000, 1, 2000]
        bars[f"{state}: same answer"] = same and abs(duck["answer"][3] / ours["answer"][3] - 1) < 1e-9
        bars[f"{state}: duckdb row groups <= 2"] = 1 <= duck["row_groups"] <= 2
        bars[f"{state}: almanac row groups <= 2"] = 1 <= ours["row_groups"] <= 2
    return harness.report("point_read", figures, bars)


def both(arguments, lake: pathlib.Path) -> dict:
    """The read through both engines, with the table's size."""
    process = harness.run([sys.executable, __file__, "--date", arguments.date, "--duckdb", lake])
    files = harness.live_files(lake, "forecast/distributions")
    return {
        "table_mib": mib(sum(file["size"] for file in files)),
        "table_files": len(files),
        "duckdb": process.json() | {"process_seconds": round(process.seconds, 3)},
        "almanac": almanac_read(arguments, lake),
    }


def duckdb_read(lake: pathlib.Path, date: str) -> dict:
    """The query with DuckDB's own log of file reads, laid over the row groups of the files."""
    import duckdb  # Here and not above: the process that measures stays light.
    import duckdb_extensions
    import pyarrow.parquet

    connection = duckdb.connect()
    duckdb_extensions.import_extension("delta", con=connection)
    connection.execute("LOAD delta")
    connection.execute("CALL enable_logging('FileSystem')")
    table = lake / "forecast" / "distributions"
    query = (SELECT + WHERE).format(f"delta_scan('{table}')", date)
    started = time.perf_counter()
    answer = connection.execute(query).fetchone()
    seconds = time.perf_counter() - started
    reads = connection.execute(
        "SELECT path, pos, bytes FROM duckdb_logs_parsed('FileSystem') WHERE op = 'READ' AND path LIKE '%.parquet'"
        " AND path NOT LIKE '%_delta_log%'"
    ).fetchall()
    groups, data, footers = set(), 0, 0
    metadata = {path: pyarrow.parquet.read_metadata(urllib.parse.unquote(path)) for path, _, _ in reads}
    for path, position, size in reads:
        group = row_group_at(metadata[path], position)
        if group is None:
            footers += size
        else:
            data += size
            groups.add((path, group))
    return {
        "answer": list(answer),
        "query_seconds": round(seconds, 3),
        "files": len({path for path, _ in groups}),
        "files_opened": len(metadata),
        "row_groups": len(groups),
        "data_bytes": data,
        "footer_bytes": footers,
    }


def row_group_at(metadata, position: int) -> int | None:
    """The row group whose pages stand at a position; None in the footer and its indexes."""
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
        end = max(start + column.total_compressed_size for start, column in zip(starts, columns))
        if min(starts) <= position < end:
            return group
    return None


def almanac_read(arguments, lake: pathlib.Path) -> dict:
    """The query's answer and time, and the scan's metrics."""
    almanac = Almanac(arguments, lake)
    query = (SELECT + WHERE).format("commodity.forecast.distributions", arguments.date)
    answer = almanac("sql", query)
    plans = almanac("sql", f"EXPLAIN ANALYZE {query}").json()
    plan = "\n".join(text for row in plans for text in row.values())
    return {
        "answer": [answer.json()[0][name] for name in ("paths", "first", "last", "mean")],
        "process_seconds": round(answer.seconds, 3),
        "files": metric(plan, "files_ranges_pruned_statistics"),
        "row_groups": metric(plan, "row_groups_pruned_statistics"),
        "bytes_scanned": metric(plan, "bytes_scanned"),
    }


def metric(plan: str, name: str) -> int:
    """A scan metric: a plain count, one with a unit, or what was left `N total → M matched`."""
    found = re.search(name + r"=(?:[\d.]+ ?[KMGB]*i?B? total → )?([\d.]+) ?([KMG]?)", plan)
    if not found:
        sys.exit(f"no metric {name} in:\n{plan}")
    scale = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[found[2]]
    return round(float(found[1]) * scale)


if __name__ == "__main__":
    sys.exit(main())
