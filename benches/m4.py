"""The M4 sets, and forecasts measured as the M4 competition measured them.

Makridakis, Spiliotis and Assimakopoulos (2020), *The M4 Competition: 100,000 time series and 61
forecasting methods*, International Journal of Forecasting 36. Written from the paper and not from
`udfs/forecasters/src/accuracy.rs`, so that the two check each other.
"""

import csv
import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

PUBLISHED = "m4_published_point_results.csv"


@dataclasses.dataclass(frozen=True)
class Set:
    """One of the sets: a file of `unique_id`, `ds`, `y` and `split`."""

    name: str
    file: str
    season_length: int
    """The season that scales errors and that Naive 2 adjusts for."""
    horizon: int
    complete: str | None = None
    """The published column that these series are all of."""
    longer: tuple[int, ...] = ()
    """Further seasons, for models that take several."""

    @property
    def seasons(self) -> tuple[int, ...]:
        """What models are told; those that take one season take the first."""
        return (self.season_length, *self.longer)


SETS = [
    Set("yearly", "m4_yearly_1000.parquet", 1, 6),
    Set("quarterly", "m4_quarterly_200.parquet", 4, 8),
    Set("monthly", "m4_monthly_300.parquet", 12, 18),
    Set("weekly", "m4_weekly.parquet", 1, 13, "Weekly"),
    Set("daily", "m4_daily_full_69.parquet", 1, 14),
    Set("hourly", "m4_hourly.parquet", 24, 48, "Hourly", longer=(168,)),
]


@dataclasses.dataclass(frozen=True)
class Series:
    name: str
    history: np.ndarray
    actual: np.ndarray
    """The test part, as long as the horizon."""


def read(path: pathlib.Path, horizon: int) -> list[Series]:
    """The series of a file in the order of their names."""
    table = pa.parquet.read_table(path, columns=["unique_id", "ds", "y", "split"])
    table = table.sort_by([("unique_id", "ascending"), ("ds", "ascending")])
    names = table["unique_id"].to_numpy(zero_copy_only=False)
    values = table["y"].to_numpy().copy()  # Arrow's own memory is read-only, which some models refuse.
    is_test = pa.compute.equal(table["split"].cast(pa.string()), "test").to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    found = []
    for start, end in zip(starts, np.r_[starts[1:], len(names)]):
        tests = int(is_test[start:end].sum())
        if tests != horizon or not is_test[end - horizon : end].all():
            raise ValueError(f"{path}: {names[start]} has {tests} test rows, wanted its last {horizon}")
        found.append(Series(names[start], values[start : end - horizon], values[end - horizon : end]))
    return found


def thinned(path: pathlib.Path, count: int, target: pathlib.Path) -> pathlib.Path:
    """A file of `count` series of another, evenly spaced in the order of their names."""
    table = pa.parquet.read_table(path)
    names = np.unique(table["unique_id"].to_numpy(zero_copy_only=False))
    if count >= len(names):
        return path
    chosen = names[np.arange(count) * len(names) // count]
    kept = pa.compute.is_in(table["unique_id"], value_set=pa.array(chosen))
    pa.parquet.write_table(table.filter(kept), target)
    return target


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """In percent, from 0 to 200; a zero that was forecast as zero has no error."""
    size = np.abs(actual) + np.abs(forecast)
    return float(np.mean(200 * np.abs(actual - forecast) / np.where(size == 0, 1, size)))


def scale(history: np.ndarray, season_length: int) -> float:
    """The mean absolute difference of values a season apart, in which MASE counts errors."""
    return float(np.mean(np.abs(history[season_length:] - history[:-season_length])))


def mase(series: Series, forecast: np.ndarray, season_length: int) -> float:
    return float(np.mean(np.abs(series.actual - forecast)) / scale(series.history, season_length))


def naive(history: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    return np.full(horizon, history[-1])


def seasonal_naive(history: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    return np.resize(history[-season_length:], horizon)


def naive2(history: np.ndarray, season_length: int, horizon: int) -> np.ndarray:
    """The last value, adjusted for the season where the history shows one."""
    if not is_seasonal(history, season_length):
        return naive(history, season_length, horizon)
    phases = np.arange(len(history) + horizon) % season_length
    factors = seasonal_factors(history, season_length)[phases]
    return history[-1] / factors[len(history) - 1] * factors[len(history) :]


def is_seasonal(history: np.ndarray, season_length: int) -> bool:
    """Whether the autocorrelation at the season is beyond Bartlett's 90 % limits."""
    if season_length < 2 or len(history) < 3 * season_length:
        return False
    deviations = history - history.mean()
    products = [deviations[lag:] @ deviations[: len(history) - lag] for lag in range(season_length + 1)]
    correlations = np.array(products[1:]) / products[0]
    limit = 1.645 * np.sqrt((1 + 2 * np.sum(correlations[:-1] ** 2)) / len(history))
    return bool(abs(correlations[-1]) > limit)


def seasonal_factors(history: np.ndarray, season_length: int) -> np.ndarray:
    """The classical multiplicative decomposition's, with a mean of one."""
    weights = np.ones(season_length)
    if season_length % 2 == 0:
        weights = np.r_[0.5, np.ones(season_length - 1), 0.5]
    trend = np.convolve(history, weights / season_length, mode="valid")
    half = season_length // 2
    ratios = history[half : len(history) - half] / trend
    phases = np.arange(half, len(history) - half) % season_length
    factors = np.array([ratios[phases == phase].mean() for phase in range(season_length)])
    return factors / factors.mean()


def benchmark(method, series: list[Series], season_length: int) -> tuple[float, float]:
    """The mean sMAPE and MASE of a method of this file."""
    forecasts = [method(one.history, season_length, len(one.actual)) for one in series]
    pairs = list(zip(series, forecasts))
    return (
        float(np.mean([smape(one.actual, forecast) for one, forecast in pairs])),
        float(np.mean([mase(one, forecast, season_length) for one, forecast in pairs])),
    )


def published(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """The organisers' figures, by method; a submission is named by its first author."""
    with open(folder / PUBLISHED, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    author = [row["first_author_and_type"].split(" (")[0] for row in rows]
    return {row["method"] if name == "benchmark" else name: row for name, row in zip(author, rows)}
