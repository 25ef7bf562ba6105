"""Polars, through its SQL."""

import polars

from expected import Table
from lakes import Lake
from readers.forms import SqlReader


class Polars(SqlReader):
    name = "polars"
    kinds = {
        "Date": "date",
        "String": "string",
        "Float64": "double",
        "Float32": "float",
        "Int32": "integer",
        "Int64": "long",
        "Boolean": "boolean",
        "Datetime(time_unit='us', time_zone='UTC')": "timestamp",
    }
    dialect = {
        "day": "CAST(CAST({0} AS INT) AS BIGINT)",
        "instant": "CAST({0} AS BIGINT)",
        "bytes": "CAST(octet_length({0}) AS BIGINT)",
    }

    def __init__(self, lake: Lake):
        super().__init__(lake)
        self.context = polars.SQLContext()

    def scan(self, table: Table, version: int | None = None) -> str:
        name = table.name.replace(".", "_") + ("" if version is None else f"_{version}")
        self.context.register(name, self._frame(table, version))
        return name

    def rows(self, sql: str) -> list[tuple]:
        return self.context.execute(sql).collect(engine="streaming").rows()

    def types(self, table: Table) -> list[tuple[str, str]]:
        return [(name, str(kind)) for name, kind in self._frame(table).collect_schema().items()]

    def _frame(self, table: Table, version: int | None = None) -> polars.LazyFrame:
        store = self.lake.store
        options = None if store is None else _options(store)
        return polars.scan_delta(
            self.lake.place(table.folder), version=version, storage_options=options
        )


def _options(store) -> dict[str, str]:
    return {
        "aws_region": store.region,
        "aws_access_key_id": store.key,
        "aws_secret_access_key": store.secret,
        "aws_endpoint_url": store.endpoint,
        "aws_allow_http": str(not store.is_encrypted).lower(),
    }
