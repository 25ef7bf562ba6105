"""chDB: ClickHouse in this process."""

import json

from chdb import session

from expected import Table
from lakes import Lake
from readers.forms import SqlReader, quoted

# A process has one session; every reader asks the same.
_session = None


class ChDb(SqlReader):
    name = "chdb"
    kinds = {
        "Nullable(Date32)": "date",
        "Nullable(String)": "string",
        "Nullable(Float64)": "double",
        "Nullable(Float32)": "float",
        "Nullable(Int32)": "integer",
        "Nullable(Int64)": "long",
        "Nullable(Bool)": "boolean",
        "Nullable(DateTime64(6))": "timestamp",
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
        # A CAST to a plain type would make nulls an error, and JSON would make 64 bits strings.
        settings = (
            "cast_keep_nullable = 1, session_timezone = 'UTC',"
            " output_format_json_quote_64bit_integers = 0"
        )
        answer = self.session.query(f"SELECT * FROM ({sql}) SETTINGS {settings}", "JSONCompactEachRow")
        return [tuple(json.loads(line)) for line in answer.bytes().decode().splitlines()]

    def types(self, table: Table) -> list[tuple[str, str]]:
        answer = self.session.query(f"DESCRIBE {self.scan(table)}", "JSONCompactEachRow")
        return [tuple(json.loads(line))[:2] for line in answer.bytes().decode().splitlines()]
