"""The product's own SQL, through its binary."""

import json
import pathlib
import subprocess

from expected import Table
from lakes import Lake
from readers.forms import measures, plain, where


class Almanac:
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

    def __init__(self, lake: Lake, binary: pathlib.Path):
        self.binary, self.lake = binary, lake

    def sql(self, text: str, *options: str) -> list[dict]:
        command = [str(self.binary), "--lake", self.lake.root, "--json", "-q", "sql", text, *options]
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
        test = where(key, kinds, self._DIALECT)
        found = self.sql(f"SELECT {', '.join(kinds)} FROM {table.sql_name} WHERE {test}")
        return [{n: plain(row.get(n), kind) for n, kind in kinds.items()} for row in found]
