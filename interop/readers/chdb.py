"""chDB: ClickHouse in this process."""

import contextlib
import json
import re

from chdb import session

from expected import Table
from lakes import Lake
from readers.forms import SqlReader, quoted

NULLABLE = re.compile(r"^Nullable\((.*)\)$")
# A process has one session; every reader asks the same.
_session = None


class ChDb(SqlReader):
    name = "chdb"
    kinds = {
        "Date32": "date",
        "String": "string",
        "Float64": "double",
        "Float32": "float",
        "Int32": "integer",
        "Int64": "long",
        "Bool": "boolean",
        "DateTime64(6)": "timestamp",
    }
    dialect = {
        "day": "toInt64(toInt32({0}))",
        "instant": "toUnixTimestamp64Micro({0})",
        "bytes": "length({0})",
        "date": "toDate32({0})",
    }

    def __init__(self, lake: Lake):
        super().__init__(lake)
        global _session
        if _session is None:
            _session = session.Session()
        self.session = _session

    def scan(self, table: Table, version: int | None = None) -> str:
        store, place = self.lake.store, self.lake.place(table.folder)
        if store is None:
            relation = f"deltaLakeLocal({quoted(place)})"
        else:
            url = place.replace("s3://", f"{store.endpoint}/")
            relation = f"deltaLake({quoted(url)}, {quoted(store.key)}, {quoted(store.secret)})"
        if version is None:
            return relation
        return f"(SELECT * FROM {relation} SETTINGS delta_lake_snapshot_version = {version})"

    def rows(self, sql: str) -> list[tuple]:
        # A CAST to a plain type would make nulls an error, an aggregate of nothing would be zero
        # where a column has no nulls, and JSON would make 64 bits strings.
        settings = (
            "cast_keep_nullable = 1, aggregate_functions_null_for_empty = 1,"
            " session_timezone = 'UTC', output_format_json_quote_64bit_integers = 0"
        )
        answer = self._ask(f"SELECT * FROM ({sql}) SETTINGS {settings}")
        return [tuple(json.loads(line)) for line in answer.bytes().decode().splitlines()]

    def types(self, table: Table) -> list[tuple[str, str]]:
        answer = self._ask(f"DESCRIBE {self.scan(table)}")
        described = [json.loads(line) for line in answer.bytes().decode().splitlines()]
        # Whether a column may be null is another question.
        return [(name, NULLABLE.sub(r"\1", kind)) for name, kind, *_ in described]

    def _ask(self, sql: str):
        # Folders must lie below the one that the process is in when it asks.
        with contextlib.chdir("/"):
            return self.session.query(sql, "JSONCompactEachRow")
