"""Python deltalake, scanned by pyarrow."""

import deltalake
import pyarrow
import pyarrow.compute

from expected import Table
from lakes import Lake
from readers.forms import plain


class Deltalake:
    name = "deltalake"

    def __init__(self, lake: Lake):
        self.lake = lake

    def table(self, table: Table, version: int | None = None) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(self.lake.place(table.folder), version=version)

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
