#!/usr/bin/env python3
"""Reads lakes with DuckDB, Python deltalake, Polars, Spark, chDB and almanac itself, and compares.

usage: check.py --binary PATH/TO/almanac --jars FOLDER LAKE…

A lake is a folder or an s3:// URI that `almanac quickstart` made and `interop/age` aged; the store's
address and keys are in AWS_* variables. Every check is counted and named, none is skipped; what an
engine is known not to answer is listed. The last line is `interop: N passed, M failed`, and the exit
code is 1 when any failed.
"""

import argparse
import functools
import math
import pathlib
import sys
import traceback
from collections.abc import Callable

import data_files
import delta_log
import invariants
import lakes
from expected import DISTRIBUTIONS, TABLES, Table
from readers import spark
from readers.almanac import Almanac
from readers.chdb import ChDb
from readers.deltalake import Deltalake
from readers.duckdb import DuckDb
from readers.polars import Polars

SUM_TOLERANCE = 1e-9
SAMPLED_KEYS = 5


class Checks:
    """Runs checks one after another and counts them."""

    def __init__(self):
        self.passed = self.failed = 0
        self.label = ""

    def run(self, name: str, check: Callable[[], None]) -> None:
        try:
            check()
        except AssertionError as error:
            self._fail(name, str(error))
        except Exception:  # A reader that cannot read at all is a finding like any other.
            self._fail(name, traceback.format_exc(limit=-2).strip())
        else:
            self.passed += 1
            print(f"ok      {self.label}{name}", flush=True)

    def _fail(self, name: str, reason: str) -> None:
        self.failed += 1
        print(f"FAILED  {self.label}{name}\n        {reason}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the built almanac")
    parser.add_argument("--jars", type=pathlib.Path, required=True, help="what pom.xml names")
    parser.add_argument("lakes", nargs="+", metavar="LAKE", help="a folder or an s3:// URI")
    arguments = parser.parse_args()
    remote = any(root.startswith("s3://") for root in arguments.lakes)
    session = spark.session(arguments.jars, lakes.Store.from_environment() if remote else None)

    checks = Checks()
    for root in arguments.lakes:
        with lakes.opened(root) as lake:
            checks.label = lake.label
            duck, almanac = DuckDb(lake), Almanac(lake, arguments.binary.resolve())
            others = [Deltalake(lake), Polars(lake), spark.Spark(lake, session), ChDb(lake)]
            check_lake(checks, lake.folder, duck, almanac, [duck, *others, almanac])
    session.stop()

    print(f"interop: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


def check_lake(
    checks: Checks, lake: pathlib.Path, duck: DuckDb, almanac: Almanac, readers: list
) -> None:
    for table in TABLES:
        check_table(checks, readers, lake, table)
    for table in TABLES:
        check_time_travel(checks, readers, lake, table)
    # What must be true of the contents is asked of the files here: a store would only slow it down.
    files = DuckDb(lakes.Lake(str(lake), lake))
    checks.run("forecast.distributions: files are in key order", lambda: data_files.check_order(lake))
    checks.run(
        "forecast.distributions: a forecast is a small read",
        lambda: data_files.check_point_reads(lake, invariants.forecasts(files)),
    )
    for table in TABLES:
        checks.run(
            f"{table.name}: keys are unique", lambda: none(invariants.doubled_keys(files, table))
        )
    for invariant in invariants.ALL:
        sentence = invariant.__doc__.splitlines()[0]
        checks.run(f"invariant: {sentence}", lambda: none(invariant(files)))
    checks.run("view latest_forecasts: the newest whole forecast", lambda: latest(duck, almanac))


def check_table(checks: Checks, readers: list, lake: pathlib.Path, table: Table) -> None:
    kinds = delta_log.schema(lake, table)[0]
    checks.run(f"{table.name}: schema", lambda: check_schema(lake, table))
    checks.run(f"{table.name}: protocol", lambda: delta_log.check_protocol(lake, table))
    checks.run(
        f"{table.name}: statistics in the files",
        lambda: data_files.check_statistics(lake, table, kinds),
    )
    checks.run(
        f"{table.name}: statistics in the log",
        lambda: data_files.check_log_statistics(lake, table, kinds),
    )
    for reader in readers:
        checks.run(
            f"{table.name}: types in {reader.name}",
            lambda: equal(reader.columns(table), kinds),
        )
    reference = Reference(readers[0], lake, table, kinds)
    checks.run(f"{table.name}: rows are those of the log", reference.check_rows)
    for reader in readers[1:]:
        checks.run(
            f"{table.name}: counts and sums in {reader.name}",
            lambda: close(reader.summary(table, kinds), reference.summary),
        )
        checks.run(
            f"{table.name}: sampled rows in {reader.name}",
            lambda: reference.check_sample(reader),
        )


class Reference:
    """What the first reader says about a table."""

    def __init__(self, reader: DuckDb, lake: pathlib.Path, table: Table, kinds: dict[str, str]):
        self.reader, self.lake, self.table, self.kinds = reader, lake, table, kinds

    @functools.cached_property
    def summary(self) -> dict:
        return self.reader.summary(self.table, self.kinds)

    def check_rows(self) -> None:
        equal(self.summary["rows"], delta_log.rows(delta_log.live_files(self.lake, self.table)))
        assert self.summary["rows"] > 0, "it is empty"

    def check_sample(self, reader) -> None:
        keys = self.keys()
        assert len(keys) == min(SAMPLED_KEYS, self.summary["rows"]), f"{len(keys)} keys sampled"
        ours, theirs = (
            sorted(
                engine.sample(self.table, self.kinds, keys),
                key=lambda row: [str(row[name]) for name in self.table.keys],
            )
            for engine in (self.reader, reader)
        )
        assert len(ours) == len(keys), f"{len(ours)} rows in {self.reader.name} for {len(keys)} keys"
        equal(theirs, ours)

    def keys(self) -> list[dict]:
        """Keys spread over the table, the same in every run."""
        names = [
            f"date_diff('day', DATE '1970-01-01', {name})" if self.kinds[name] == "date" else name
            for name in self.table.keys
        ]
        order = ", ".join(self.table.keys)
        rows = self.reader.rows(
            f"SELECT {', '.join(names)} FROM {self.reader.scan(self.table)}"
            f" ORDER BY md5(concat_ws('|', {order})) LIMIT {SAMPLED_KEYS}"
        )
        return [dict(zip(self.table.keys, row)) for row in rows]


def check_schema(lake: pathlib.Path, table: Table) -> None:
    columns, partitions = delta_log.schema(lake, table)
    known = dict(list(columns.items())[: len(table.columns)])
    equal(known, table.columns)
    equal(list(known), list(table.columns))
    more = dict(list(columns.items())[len(table.columns) :])
    assert table.evolves or not more, f"columns nobody promised: {more}"
    assert set(more.values()) <= {"double"}, f"a covariate is no DOUBLE: {more}"
    equal(tuple(partitions), table.partitions)


def check_time_travel(checks: Checks, readers: list, lake: pathlib.Path, table: Table) -> None:
    """The first version, the first with rows and the one before the newest."""
    newest = len(delta_log.commits(lake, table)) - 1
    rows = [delta_log.rows(delta_log.live_files(lake, table, v)) for v in range(newest)]
    filled = [version for version in range(newest) if rows[version] > 0]
    checks.run(
        f"{table.name}: an earlier version has rows",
        lambda: at_least(len(filled), 1, "earlier versions with rows"),
    )
    kinds = delta_log.schema(lake, table)[0]
    few = {name: kinds[name] for name in table.keys}
    for version in sorted({0, *filled[:1], *filled[-1:]}):
        wanted = rows[version]
        reference = readers[0].summary(table, few, version)
        for reader in readers:
            checks.run(
                f"{table.name}: version {version} in {reader.name}, {wanted} rows",
                lambda: same_version(reader.summary(table, few, version), reference, wanted),
            )


def same_version(found: dict, reference: dict, rows: int) -> None:
    equal(found["rows"], rows)
    close(found, reference)


def latest(duck: DuckDb, almanac: Almanac) -> None:
    """The product's view against DuckDB's own idea of it."""
    columns = "commodity, model_name, model_version, forecast_start_date"
    shape = "count(*) AS paths, sum(CAST(day_1 AS DOUBLE)) AS total"
    rows = duck.rows(
        f"""
        WITH forecasts AS (SELECT * FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals)
        SELECT {columns}, {shape} FROM forecasts
        WHERE forecast_start_date = (
            SELECT max(forecast_start_date) FROM forecasts f
            WHERE (f.commodity, f.model_name, f.model_version)
                = (forecasts.commodity, forecasts.model_name, forecasts.model_version))
        GROUP BY {columns} ORDER BY {columns}
        """
    )
    found = almanac.sql(
        f"SELECT {columns}, {shape} FROM commodity.forecast.latest_forecasts"
        f" GROUP BY {columns} ORDER BY {columns}"
    )
    at_least(len(rows), 1, "latest forecasts")
    equal([tuple(row.values())[:3] for row in found], [row[:3] for row in rows])
    for row, (*_, start, paths, total) in zip(found, rows):
        equal((row["forecast_start_date"], row["paths"]), (str(start), paths))
        assert math.isclose(row["total"], total, rel_tol=SUM_TOLERANCE), f"{row['total']} is not {total}"


def none(contradictions: list) -> None:
    assert not contradictions, f"for example {contradictions}"


def at_least(found: int, wanted: int, what: str) -> None:
    assert found >= wanted, f"{found} {what}, needs {wanted}"


def equal(found, wanted) -> None:
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        found, wanted = (
            {name: value for name, value in side.items() if found[name] != wanted[name]}
            for side in (found, wanted)
        )
    assert found == wanted, f"found {shown(found)}, wanted {shown(wanted)}"


def close(found: dict, wanted: dict) -> None:
    """Equal, floating-point sums up to the order of their terms."""
    equal(found.keys(), wanted.keys())
    for name in wanted:
        ours, theirs = found[name], wanted[name]
        if name.endswith((".sum", ".bytes", ".true")):  # Nothing sums to null or to zero.
            ours, theirs = ours or 0, theirs or 0
        if isinstance(ours, float) or isinstance(theirs, float):
            same = math.isclose(ours, theirs, rel_tol=SUM_TOLERANCE)
        else:
            same = ours == theirs
        assert same, f"{name}: found {shown(ours)}, wanted {shown(theirs)}"


def shown(value) -> str:
    text = str(value)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


if __name__ == "__main__":
    sys.exit(main())
