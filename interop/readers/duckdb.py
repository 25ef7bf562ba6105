"""DuckDB with its delta extension."""

import duckdb
import duckdb_extensions

from expected import Table
from lakes import Lake
from readers.forms import SqlReader, quoted


class DuckDb(SqlReader):
    name = "duckdb"
    kinds = {
        "DATE": "date",
        "VARCHAR": "string",
        "DOUBLE": "double",
        "FLOAT": "float",
        "INTEGER": "integer",
        "BIGINT": "long",
        "BOOLEAN": "boolean",
        "TIMESTAMP WITH TIME ZONE": "timestamp",
    }
    dialect = {
        "day": "datediff('day', DATE '1970-01-01', {0})",
        "instant": "epoch_us({0})",
        "bytes": "strlen({0})",
    }

    def __init__(self, lake: Lake):
        super().__init__(lake)
        self.connection = duckdb.connect()
        for extension in ("delta",) if lake.store is None else ("delta", "httpfs"):
            duckdb_extensions.import_extension(extension, con=self.connection)
            self.connection.execute(f"LOAD {extension}")
        self.connection.execute("SET TimeZone = 'UTC'")
        if lake.store is not None:
            self.connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{lake.store.key}', SECRET '{lake.store.secret}',"
                f" REGION '{lake.store.region}', ENDPOINT '{lake.store.host}', URL_STYLE 'path',"
                f" USE_SSL {lake.store.is_encrypted})"
            )

    def scan(self, table: Table, version: int | None = None) -> str:
        path = quoted(self.lake.place(table.folder))
        return f"delta_scan({path})" if version is None else f"delta_scan({path}, version => {version})"

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def types(self, table: Table) -> list[tuple[str, str]]:
        return [row[:2] for row in self.rows(f"DESCRIBE SELECT * FROM {self.scan(table)}")]
