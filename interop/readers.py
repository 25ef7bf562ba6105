"""Four ways to read a lake. Each answers the same three questions with its own scan and arithmetic.

A *summary* has the number of rows and, for every column, numbers that change when a value does:

| type | measures |
| --- | --- |
| all | `<column>.known`: values that are not null |
| integer, long, float, double | `.sum` |
| date | `.min`, `.max`, `.sum`, in days since 1970-01-01 |
| timestamp | `.min`, `.max`, in microseconds since 1970-01-01 |
| string | `.min`, `.max`, `.bytes` |
| boolean | `.true` |
"""

import datetime
import json
import pathlib
import struct
import subprocess

import deltalake
import duckdb
import duckdb_extensions
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset

from expected import Table

EPOCH_DAY = datetime.date(1970, 1, 1)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def single(value: float) -> float:
    """The nearest FLOAT, as the number that it is exactly."""
    return struct.unpack("f", struct.pack("f", value))[0]


def plain(value, kind: str):
    """A value of any engine in one form: days, microseconds, and numbers as they are stored."""
    if value is None:
        return None
    if kind == "date":
        if isinstance(value, str):
            value = datetime.date.fromisoformat(value)
        return value if isinstance(value, int) else (value - EPOCH_DAY).days
    if kind == "timestamp":
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value)
        return value if isinstance(value, int) else (value - EPOCH) // MICROSECOND
    if kind == "float":
        return single(value)
    if kind == "double":
        return float(value)
    return value


def sql_literal(value, kind: str) -> str:
    if kind == "date":
        return f"DATE '{EPOCH_DAY + datetime.timedelta(days=value)}'"
    if kind == "string":
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def where(key: dict, kinds: dict[str, str]) -> str:
    tests = [
        f"{name} IS NULL" if value is None else f"{name} = {sql_literal(value, kinds[name])}"
        for name, value in key.items()
    ]
    return " AND ".join(tests)


def measures(kinds: dict[str, str], dialect: dict[str, str]) -> dict[str, str]:
    """The SQL of every measure of a summary."""
    found = {"rows": "count(*)"}
    for name, kind in kinds.items():
        found[f"{name}.known"] = f"count({name})"
        if kind in ("integer", "long"):
            found[f"{name}.sum"] = f"sum(CAST({name} AS BIGINT))"
        elif kind in ("float", "double"):
            found[f"{name}.sum"] = f"sum(CAST({name} AS DOUBLE))"
        elif kind == "date":
            day = dialect["day"].format(name)
            found |= {
                f"{name}.min": f"min({day})",
                f"{name}.max": f"max({day})",
                f"{name}.sum": f"sum({day})",
            }
        elif kind == "timestamp":
            instant = dialect["instant"].format(name)
            found |= {f"{name}.min": f"min({instant})", f"{name}.max": f"max({instant})"}
        elif kind == "string":
            found |= {
                f"{name}.min": f"min({name})",
                f"{name}.max": f"max({name})",
                f"{name}.bytes": f"sum({dialect['bytes'].format(name)})",
            }
        elif kind == "boolean":
            found[f"{name}.true"] = f"sum(CASE WHEN {name} THEN 1 ELSE 0 END)"
    return found


class DuckDb:
    """DuckDB with its delta extension."""

    name = "duckdb"
    _KINDS = {
        "DATE": "date",
        "VARCHAR": "string",
        "DOUBLE": "double",
        "FLOAT": "float",
        "INTEGER": "integer",
        "BIGINT": "long",
        "BOOLEAN": "boolean",
        "TIMESTAMP WITH TIME ZONE": "timestamp",
    }
    _DIALECT = {
        "day": "datediff('day', DATE '1970-01-01', {0})",
        "instant": "epoch_us({0})",
        "bytes": "strlen({0})",
    }

    def __init__(self, lake: pathlib.Path):
        self.lake = lake
        self.connection = duckdb.connect()
        duckdb_extensions.import_extension("delta", con=self.connection)
        self.connection.execute("LOAD delta")
        self.connection.execute("SET TimeZone = 'UTC'")

    def scan(self, table: Table, version: int | None = None) -> str:
        """The table as a SQL relation."""
        path = sql_literal(str(self.lake / table.folder), "string")
        return f"delta_scan({path})" if version is None else f"delta_scan({path}, version => {version})"

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def columns(self, table: Table) -> dict[str, str]:
        described = self.rows(f"DESCRIBE SELECT * FROM {self.scan(table)}")
        return {row[0]: self._KINDS.get(row[1], row[1]) for row in described}

    def summary(self, table: Table, kinds: dict[str, str], version: int | None = None) -> dict:
        wanted = measures(kinds, self._DIALECT)
        row = self.rows(f"SELECT {', '.join(wanted.values())} FROM {self.scan(table, version)}")[0]
        return dict(zip(wanted, row))

    def row(self, table: Table, kinds: dict[str, str], key: dict) -> list[dict]:
        names = ", ".join(
            self._DIALECT["instant"].format(name) if kind == "timestamp" else name
            for name, kind in kinds.items()
        )
        found = self.rows(f"SELECT {names} FROM {self.scan(table)} WHERE {where(key, kinds)}")
        return [{n: plain(v, kinds[n]) for n, v in zip(kinds, row)} for row in found]


class Almanac:
    """The product's own SQL, through its binary."""

    name = "almanac"
    _KINDS = {
        "Date32": "date",
        "Utf8": "string",
        "Float64": "double",
        "Float32": "float",
        "Int32": "integer",
        "Int64": "long",
        "Boolean": "boolean",
    }
    _DIALECT = {
        "day": "CAST(CAST({0} AS INT) AS BIGINT)",
        "instant": "CAST({0} AS BIGINT)",
        "bytes": "octet_length({0})",
    }

    def __init__(self, binary: pathlib.Path, lake: pathlib.Path):
        self.binary, self.lake = binary, lake

    def sql(self, text: str, *options: str) -> list[dict]:
        command = [str(self.binary), "--lake", str(self.lake), "--json", "-q", "sql", text, *options]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"`almanac sql` ended with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def columns(self, table: Table) -> dict[str, str]:
        schema, name = table.name.split(".")
        rows = self.sql(
            "SELECT column_name, data_type FROM information_schema.columns"
            f" WHERE table_schema = '{schema}' AND table_name = '{name}' ORDER BY ordinal_position"
        )
        return {row["column_name"]: self._kind(row["data_type"]) for row in rows}

    def _kind(self, data_type: str) -> str:
        is_micros = data_type.startswith("Timestamp(") and "UTC" in data_type
        is_micros = is_micros and ("Microsecond" in data_type or "µs" in data_type)
        return "timestamp" if is_micros else self._KINDS.get(data_type, data_type)

    def summary(self, table: Table, kinds: dict[str, str], version: int | None = None) -> dict:
        wanted = measures(kinds, self._DIALECT)
        aliased = ", ".join(f'{sql} AS "{name}"' for name, sql in wanted.items())
        options = [] if version is None else ["--as-of", f"{table.name}={version}"]
        rows = self.sql(f"SELECT {aliased} FROM {table.sql_name}", *options)
        return {name: rows[0].get(name) for name in wanted}

    def row(self, table: Table, kinds: dict[str, str], key: dict) -> list[dict]:
        found = self.sql(
            f"SELECT {', '.join(kinds)} FROM {table.sql_name} WHERE {where(key, kinds)}"
        )
        return [{n: plain(row.get(n), kind) for n, kind in kinds.items()} for row in found]


class Deltalake:
    """Python deltalake, scanned by pyarrow."""

    name = "deltalake"

    def __init__(self, lake: pathlib.Path):
        self.lake = lake

    def table(self, table: Table, version: int | None = None) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(str(self.lake / table.folder), version=version)

    def columns(self, table: Table) -> dict[str, str]:
        fields = self.table(table).schema().fields
        return {field.name: getattr(field.type, "type", str(field.type)) for field in fields}

    def summary(self, table: Table, kinds: dict[str, str], version: int | None = None) -> dict:
        dataset = self.table(table, version).to_pyarrow_dataset()
        found = _arrow_summary(dataset.schema.empty_table().select(list(kinds)), kinds)
        for batch in dataset.to_batches(columns=list(kinds)):
            part = _arrow_summary(pyarrow.Table.from_batches([batch]), kinds)
            found = {name: _merged(name, value, part[name]) for name, value in found.items()}
        return found

    def row(self, table: Table, kinds: dict[str, str], key: dict) -> list[dict]:
        tests = [_arrow_test(name, value, kinds[name]) for name, value in key.items()]
        test = tests[0]
        for other in tests[1:]:
            test = test & other
        rows = self.table(table).to_pyarrow_dataset().to_table(columns=list(kinds), filter=test)
        return [{n: plain(row[n], kinds[n]) for n in kinds} for row in rows.to_pylist()]


def _arrow_test(name: str, value, kind: str) -> pyarrow.compute.Expression:
    field = pyarrow.compute.field(name)
    if value is None:
        return field.is_null()
    types = {"date": pyarrow.date32(), "integer": pyarrow.int32(), "string": pyarrow.string()}
    return field == pyarrow.scalar(value, type=types[kind])


def _merged(name: str, left, right):
    """The measure of two parts together."""
    if left is None or right is None:
        return right if left is None else left
    if name.endswith(".min"):
        return min(left, right)
    if name.endswith(".max"):
        return max(left, right)
    return left + right


def _arrow_summary(rows: pyarrow.Table, kinds: dict[str, str]) -> dict:
    compute = pyarrow.compute
    found: dict = {"rows": rows.num_rows}
    for name, kind in kinds.items():
        column = rows.column(name)
        found[f"{name}.known"] = len(column) - column.null_count
        if kind in ("integer", "long", "float", "double"):
            wide = pyarrow.int64() if kind in ("integer", "long") else pyarrow.float64()
            found[f"{name}.sum"] = compute.sum(column.cast(wide)).as_py()
        elif kind in ("date", "timestamp"):
            whole = column.cast(pyarrow.int32()) if kind == "date" else column
            whole = whole.cast(pyarrow.int64())
            extremes = compute.min_max(whole).as_py()
            found |= {f"{name}.min": extremes["min"], f"{name}.max": extremes["max"]}
            if kind == "date":
                found[f"{name}.sum"] = compute.sum(whole).as_py()
        elif kind == "string":
            extremes = compute.min_max(column).as_py()
            lengths = compute.binary_length(column).cast(pyarrow.int64())
            found |= {f"{name}.min": extremes["min"], f"{name}.max": extremes["max"]}
            found[f"{name}.bytes"] = compute.sum(lengths).as_py()
        elif kind == "boolean":
            trues = compute.sum(column.cast(pyarrow.int64())).as_py()
            found[f"{name}.true"] = trues or 0
    return found


class Polars:
    """Polars, lazily."""

    name = "polars"
    _KINDS = {
        polars.Date: "date",
        polars.String: "string",
        polars.Float64: "double",
        polars.Float32: "float",
        polars.Int32: "integer",
        polars.Int64: "long",
        polars.Boolean: "boolean",
        polars.Datetime("us", "UTC"): "timestamp",
    }

    def __init__(self, lake: pathlib.Path):
        self.lake = lake

    def scan(self, table: Table, version: int | None = None) -> polars.LazyFrame:
        return polars.scan_delta(str(self.lake / table.folder), version=version)

    def columns(self, table: Table) -> dict[str, str]:
        schema = self.scan(table).collect_schema()
        return {name: self._KINDS.get(kind, str(kind)) for name, kind in schema.items()}

    def summary(self, table: Table, kinds: dict[str, str], version: int | None = None) -> dict:
        wanted = [polars.len().alias("rows")]
        for name, kind in kinds.items():
            column = polars.col(name)
            wanted.append(column.count().alias(f"{name}.known"))
            if kind in ("integer", "long"):
                wanted.append(column.cast(polars.Int64).sum().alias(f"{name}.sum"))
            elif kind in ("float", "double"):
                wanted.append(column.cast(polars.Float64).sum().alias(f"{name}.sum"))
            elif kind in ("date", "timestamp"):
                whole = column.cast(polars.Int32) if kind == "date" else column
                whole = whole.cast(polars.Int64)
                wanted += [whole.min().alias(f"{name}.min"), whole.max().alias(f"{name}.max")]
                if kind == "date":
                    wanted.append(whole.sum().alias(f"{name}.sum"))
            elif kind == "string":
                wanted += [column.min().alias(f"{name}.min"), column.max().alias(f"{name}.max")]
                length = column.str.len_bytes().cast(polars.Int64)
                wanted.append(length.sum().alias(f"{name}.bytes"))
            elif kind == "boolean":
                wanted.append(column.cast(polars.Int64).sum().alias(f"{name}.true"))
        return self.scan(table, version).select(wanted).collect(engine="streaming").row(0, named=True)

    def row(self, table: Table, kinds: dict[str, str], key: dict) -> list[dict]:
        rows = self.scan(table)
        for name, value in key.items():
            column = polars.col(name)
            if value is None:
                rows = rows.filter(column.is_null())
            elif kinds[name] == "date":
                rows = rows.filter(column == EPOCH_DAY + datetime.timedelta(days=value))
            else:
                rows = rows.filter(column == value)
        found = rows.select(list(kinds)).collect().to_dicts()
        return [{n: plain(row[n], kinds[n]) for n in kinds} for row in found]
