"""The one form in which all readers answer.

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
import struct

from expected import Table
from lakes import Lake

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


def quoted(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"


def where(key: dict, kinds: dict[str, str], dialect: dict[str, str]) -> str:
    """The SQL that is true of the rows with a key."""
    tests = []
    for name, value in key.items():
        if value is None:
            tests.append(f"{name} IS NULL")
        elif kinds[name] == "date":
            day = EPOCH_DAY + datetime.timedelta(days=value)
            tests.append(f"{name} = {dialect.get('date', 'DATE {0}').format(quoted(str(day)))}")
        elif kinds[name] == "string":
            tests.append(f"{name} = {quoted(value)}")
        else:
            tests.append(f"{name} = {value}")
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


class SqlReader:
    """An engine that answers in SQL. Subclasses say how it scans, asks, and names its types."""

    name: str
    kinds: dict[str, str]
    """Delta's names of the engine's types."""
    dialect: dict[str, str]
    """SQL of the days since 1970-01-01 of a date, the microseconds of a timestamp, the bytes of a
    string, and of a date where `DATE '…'` will not do."""

    def __init__(self, lake: Lake):
        self.lake = lake

    def scan(self, table: Table, version: int | None = None) -> str:
        """The table as a SQL relation."""
        raise NotImplementedError

    def rows(self, sql: str) -> list[tuple]:
        raise NotImplementedError

    def types(self, table: Table) -> list[tuple[str, str]]:
        """Columns and the engine's names of their types."""
        raise NotImplementedError

    def columns(self, table: Table) -> dict[str, str]:
        return {name: self.kinds.get(kind, kind) for name, kind in self.types(table)}

    def summary(self, table: Table, kinds: dict[str, str], version: int | None = None) -> dict:
        wanted = measures(kinds, self.dialect)
        aliased = ", ".join(f"{sql} AS m{place}" for place, sql in enumerate(wanted.values()))
        row = self.rows(f"SELECT {aliased} FROM {self.scan(table, version)}")[0]
        return dict(zip(wanted, row))

    def row(self, table: Table, kinds: dict[str, str], key: dict) -> list[dict]:
        names = ", ".join(
            f"{self.dialect['instant'].format(name)} AS {name}_instant"
            if kind == "timestamp"
            else name
            for name, kind in kinds.items()
        )
        test = where(key, kinds, self.dialect)
        found = self.rows(f"SELECT {names} FROM {self.scan(table)} WHERE {test}")
        return [{n: plain(v, kinds[n]) for n, v in zip(kinds, row)} for row in found]
