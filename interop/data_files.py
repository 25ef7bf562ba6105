"""The Parquet files behind a table: order, row groups, statistics."""

import datetime
import json
import pathlib
import urllib.parse

import pyarrow.compute
import pyarrow.parquet

import delta_log
from expected import DISTRIBUTIONS, Table

# A forecast may lie across the end of one row group; more would be a scan.
MOST_ROW_GROUPS = 2
# Documents, not values: statistics would only copy them.
WITHOUT_STATISTICS = {
    "parameters",
    "fitted_model_json",
    "arguments",
    "data_versions",
    "table_versions",
}
SORT = ["model_name", "forecast_start_date", "path_id"]


def paths(lake: pathlib.Path, table: Table) -> list[tuple[pathlib.Path, dict]]:
    """The files in force, each with its Add action."""
    files = delta_log.live_files(lake, table)
    return [(lake / table.folder / urllib.parse.unquote(file["path"]), file) for file in files]


def check_statistics(lake: pathlib.Path, table: Table, kinds: dict[str, str]) -> None:
    """Every column with a value has bounds in every row group, documents have none."""
    for path, _ in paths(lake, table):
        metadata = pyarrow.parquet.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                column = metadata.row_group(group).column(index)
                name, found = column.path_in_schema, column.statistics
                where = f"{path.name}, row group {group}, {name}"
                if name in WITHOUT_STATISTICS:
                    assert found is None or not found.has_min_max, f"{where}: has statistics"
                elif kinds[name] != "boolean":
                    assert found is not None, f"{where}: no statistics"
                    empty = found.null_count == column.num_values
                    assert found.has_min_max or empty, f"{where}: no bounds"


def check_log_statistics(lake: pathlib.Path, table: Table, kinds: dict[str, str]) -> None:
    """Every Add carries row count and null counts; key, date and number columns have bounds."""
    for path, file in paths(lake, table):
        stats = json.loads(file["stats"])
        # A file may be older than a column.
        for name in pyarrow.parquet.read_schema(path).names:
            if name in WITHOUT_STATISTICS or kinds[name] == "boolean":
                continue
            empty = stats["nullCount"].get(name) == stats["numRecords"]
            bounded = name in stats["minValues"] and name in stats["maxValues"]
            assert bounded or empty, f"{path.name}: no bounds for {name}"


def check_order(lake: pathlib.Path) -> None:
    """Rows of a file of distributions stand in key order, and no key is cut by a row group."""
    for path, _ in paths(lake, DISTRIBUTIONS):
        file = pyarrow.parquet.ParquetFile(path)
        last_key = None
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=SORT)
            order = pyarrow.compute.sort_indices(rows, [(name, "ascending") for name in SORT])
            assert rows.take(order).equals(rows), f"{path.name}, row group {group}: not in order"
            first, last = (
                tuple(rows.column(name)[row].as_py() for name in SORT[:2])
                for row in (0, rows.num_rows - 1)
            )
            assert last_key is None or last_key < first, f"{path.name}: {first} is cut by a row group"
            last_key = last


def check_point_reads(lake: pathlib.Path, keys: list[dict]) -> None:
    """By statistics alone, a reader that wants one forecast has few row groups to look into."""
    groups = []
    for path, file in paths(lake, DISTRIBUTIONS):
        metadata = pyarrow.parquet.read_metadata(path)
        names = metadata.schema.names
        places = [names.index(name) for name in SORT[:2]]
        for group in range(metadata.num_row_groups):
            bounds = [metadata.row_group(group).column(place).statistics for place in places]
            groups.append((file["partitionValues"], bounds))
    assert keys, "no forecast to look for"
    for key in keys:
        start = datetime.date(1970, 1, 1) + datetime.timedelta(days=key["forecast_start_date"])
        wanted = (key["model_name"], start)
        found = sum(
            all(key[name] == value for name, value in partition.items())
            and all(bound.min <= value <= bound.max for bound, value in zip(bounds, wanted))
            for partition, bounds in groups
        )
        assert 1 <= found <= MOST_ROW_GROUPS, f"{wanted}: {found} row groups may hold it"
