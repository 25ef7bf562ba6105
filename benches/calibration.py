#!/usr/bin/env python3
"""Do the intervals hold: Coffee and Sugar, every trading day of 2015 to 2021, models refitted semiannually.

A lake is made by `init`, `ingest` and `backfill` and read as any reader would. Origins and targets are
trading days: the k-th coming one is the day of the path with its date. Tested are the intervals of
point_forecasts, one day ahead by Kupiec's and Christoffersen's tests, 5 and 10 ahead, where targets
overlap, by block-bootstrap intervals; CRPS is of the paths in distributions, against a reference model.
Bars: no test rejects at 1 % (Holm, across models); what is promised lies in every 99 % interval; the mean
CRPS is nowhere surely above the reference's.
A run of the models below rewrites its section of docs/benchmarks.md.
Needs the packages of benches/requirements.txt in the Python that runs it.
"""

import argparse
import dataclasses
import datetime
import functools
import operator
import pathlib
import sys

import deltalake
import harness
import interval_tests
import numpy as np
import pages
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet
from harness import Almanac
from pages import Bar

HEADING = "## Calibration on daily prices"
COMMAND = "/tmp/peers/bin/python benches/calibration.py"
COMMODITIES = ["Coffee", "Sugar"]
MODELS = ["naive", "random_walk", "auto_ets", "auto_arima", "dot", "ces", "ets_ces_dot", "scum", "naive_garch"]
REFERENCE = "naive_garch"
FIRST, LAST = np.datetime64("2015-01-01"), np.datetime64("2021-12-31")
DAYS = 14
LEVELS = {80: ("lower_80", "upper_80"), 95: ("lower_95", "upper_95")}
AHEAD = [1, 5, 10]
TESTS = {"Kupiec": interval_tests.kupiec, "Christoffersen": interval_tests.conditional}
SIGNIFICANCE = 0.01
VERSION = "v1.0"


@dataclasses.dataclass(frozen=True)
class Prices:
    """The trading days of a commodity, with the closes of before FIRST."""

    dates: np.ndarray
    closes: np.ndarray

    def targets(self, ahead: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Origins (days since FIRST), the day of the path that is `ahead` trading days away (from 0),
        and its close; only where that lies within the path and the data."""
        origins = np.flatnonzero((self.dates >= FIRST) & (self.dates <= LAST))
        origins = origins[origins + ahead - 1 < len(self.dates)]
        targets = origins + ahead - 1
        steps = (self.dates[targets] - self.dates[origins]).astype(int)
        inside = steps < DAYS
        return (self.dates[origins[inside]] - FIRST).astype(int), steps[inside], self.closes[targets[inside]]


@dataclasses.dataclass
class Judged:
    """A model on a commodity."""

    violations: dict[tuple[int, int], np.ndarray]
    """By level and days ahead."""
    crps: dict[int, np.ndarray]
    missing: int
    """Origins without a forecast."""

    def coverage(self, level: int, ahead: int) -> float:
        return 1 - float(self.violations[level, ahead].mean())

    def coverage_interval(self, level: int, ahead: int) -> tuple[float, float]:
        inside = 1.0 - self.violations[level, ahead]
        return interval_tests.block_interval(inside, block_length(inside, ahead), 1 - SIGNIFICANCE)


Judgements = dict[tuple[str, str], Judged]
"""By commodity and model."""
PValues = dict[tuple[str, int, str], dict[str, float]]
"""By commodity, level and test, then by model."""


def main() -> int:
    arguments = parse()
    with harness.workplace(arguments) as work:
        prices, failed = fill_lake(arguments, work)
        judged = {
            (commodity, model): judge(work / "lake", commodity, model, prices[commodity])
            for commodity in COMMODITIES
            for model in arguments.models
        }
    p_values = test_first_day(judged, arguments.models)
    found = list(bars(judged, p_values, arguments.models, arguments.reference, failed))
    text = section(arguments, judged, p_values, found)
    print(text, file=sys.stderr)
    if (arguments.models, arguments.reference) == (MODELS, REFERENCE):
        pages.replace_section(arguments.docs, text)
    else:
        print(f"{arguments.docs} stays as it is: these were not all of its models", file=sys.stderr)
    figures = {
        "models": {
            f"{commodity}, {model}": {
                "origins": len(one.violations[80, 1]),
                "coverage": {f"{key[0]} %, {key[1]} ahead": round(one.coverage(*key), 4) for key in one.violations},
                "crps": {f"{ahead} ahead": round(float(scores.mean()), 5) for ahead, scores in one.crps.items()},
            }
            for (commodity, model), one in judged.items()
        },
        "measured": {bar.text: bar.measured for bar in found},
    }
    return harness.report("calibration", figures, {bar.text: bar.passed for bar in found})


def parse() -> argparse.Namespace:
    found = harness.parser(__doc__.splitlines()[0])
    data = harness.SHARED / "data" / "commodity_daily.parquet"
    found.add_argument("data", type=pathlib.Path, nargs="?", default=data, help="date, commodity, close, stale_suspect")
    found.add_argument("--models", type=lambda text: text.split(","), default=MODELS, metavar="KEY,…", help="catalog keys")
    found.add_argument("--reference", default=REFERENCE, metavar="KEY", help="the model whose CRPS is the measure")
    found.add_argument("--docs", type=pathlib.Path, default=pages.PAGE, help="the page whose section is rewritten")
    arguments = found.parse_args()
    if arguments.reference not in arguments.models:
        found.error(f"the reference `{arguments.reference}` is not one of the models")
    return arguments


# The lake.


def fill_lake(arguments: argparse.Namespace, work: pathlib.Path) -> tuple[dict[str, Prices], int]:
    """The true trading days, a lake of forecasts on them, and how many units failed."""
    table = pyarrow.parquet.read_table(arguments.data, columns=["date", "commodity", "close", "stale_suspect"])
    chosen = pc.is_in(table["commodity"], value_set=pa.array(COMMODITIES))
    table = table.filter(pc.and_(pc.and_(chosen, pc.invert(table["stale_suspect"])), table["close"].is_valid()))
    table = table.set_column(0, "date", table["date"].cast(pa.date32())).drop_columns("stale_suspect").sort_by("date")
    pyarrow.parquet.write_table(table, work / "prices.parquet")

    lake = work / "lake"
    almanac = Almanac(arguments, lake)
    if not (lake / "_almanac" / "lake.json").exists():
        almanac("init", "--calendar", "trading")
        almanac("ingest", work / "prices.parquet")
    series = ["--commodity", ",".join(COMMODITIES), "--models", ",".join(arguments.models)]
    cadence = ["--frequency", "semiannually", "--model-version", VERSION, "--horizon", DAYS]
    report = almanac("backfill", *series, "--start", FIRST, "--end", LAST, *cadence, accept=(0, 3)).json()
    for failure in report["failures"][:5]:
        print(failure, file=sys.stderr)
    prices = {}
    for commodity in COMMODITIES:
        rows = table.filter(pc.equal(table["commodity"], commodity))
        prices[commodity] = Prices(rows["date"].to_numpy().astype("datetime64[D]"), rows["close"].to_numpy())
    return prices, report["train_failed"] + report["forecast_failed"]


def judge(lake: pathlib.Path, commodity: str, model: str, prices: Prices) -> Judged:
    bounds = intervals(lake, commodity, model)
    targets = {ahead: prices.targets(ahead) for ahead in AHEAD}
    missing = int(np.isnan(bounds[targets[1][0], 0, 0]).sum())
    violations, scores = {}, {}
    for ahead, (origins, steps, actual) in targets.items():
        made = ~np.isnan(bounds[origins, steps, 0])
        targets[ahead] = origins, steps, actual = origins[made], steps[made], actual[made]
        scores[ahead] = np.full(len(origins), np.nan)
        for index, level in enumerate(LEVELS):
            low, high = bounds[origins, steps, 2 * index], bounds[origins, steps, 2 * index + 1]
            violations[level, ahead] = (actual < low) | (actual > high)
    for first, paths in paths_by_year(lake, commodity, model):
        for ahead, (origins, steps, actual) in targets.items():
            here = (origins >= first) & (origins < first + len(paths))
            sample = paths[origins[here] - first, :, steps[here]]
            scores[ahead][here] = interval_tests.crps(sample, actual[here])
    return Judged(violations, scores, missing)


def rows_of(lake: pathlib.Path, table: str, commodity: str, model: str) -> tuple[pyarrow.dataset.Dataset, pc.Expression]:
    """A table, and the filter for the rows of a model on a commodity."""
    keys = {"commodity": commodity, "model_name": model, "model_version": VERSION}
    dataset = deltalake.DeltaTable(lake / "forecast" / table).to_pyarrow_dataset()
    tests = [pc.field(name) == value for name, value in keys.items()]
    return dataset, functools.reduce(operator.and_, tests)


def intervals(lake: pathlib.Path, commodity: str, model: str) -> np.ndarray:
    """Bounds by origin (days since FIRST), day of the path, and column of LEVELS; NaN where none is."""
    dataset, chosen = rows_of(lake, "point_forecasts", commodity, model)
    columns = [name for names in LEVELS.values() for name in names]
    rows = dataset.to_table(columns=["forecast_start_date", "day_ahead", *columns], filter=chosen)
    found = np.full(((LAST - FIRST).astype(int) + 1, DAYS, len(columns)), np.nan)
    origins, days = since_first(rows["forecast_start_date"]), rows["day_ahead"].to_numpy() - 1
    for index, name in enumerate(columns):
        found[origins, days, index] = rows[name].to_numpy()
    return found


def paths_by_year(lake: pathlib.Path, commodity: str, model: str):
    """The first day (since FIRST) of each year, and paths by origin, number and day; NaN where none is."""
    dataset, chosen = rows_of(lake, "distributions", commodity, model)
    columns = [f"day_{day}" for day in range(1, DAYS + 1)]
    for year in range(FIRST.astype(object).year, LAST.astype(object).year + 1):
        span = [datetime.date(year, 1, 1), datetime.date(year, 12, 31)]
        date = pc.field("forecast_start_date")
        here = chosen & (date >= span[0]) & (date <= span[1])
        rows = dataset.to_table(columns=["forecast_start_date", "path_id", *columns], filter=here)
        first = (np.datetime64(span[0]) - FIRST).astype(int)
        paths = pc.max(rows["path_id"]).as_py()
        if paths is None:
            continue
        found = np.full(((span[1] - span[0]).days + 1, paths, DAYS), np.nan, np.float32)
        origins, numbers = since_first(rows["forecast_start_date"]) - first, rows["path_id"].to_numpy() - 1
        for index, name in enumerate(columns):
            found[origins, numbers, index] = rows[name].to_numpy()
        yield first, found


def since_first(dates: pa.ChunkedArray) -> np.ndarray:
    return (dates.to_numpy().astype("datetime64[D]") - FIRST).astype(int)


# The tests.


def block_length(values: np.ndarray, ahead: int) -> int:
    """Two horizons, so that blocks hold the overlap, and no less than the usual cube root."""
    return max(2 * ahead, round(len(values) ** (1 / 3)))


def test_first_day(judged: Judgements, models: list[str]) -> PValues:
    """Corrected for there being several models."""
    return {
        (commodity, level, name): interval_tests.holm(
            {model: test(judged[commodity, model].violations[level, 1], 1 - level / 100).p_value for model in models}
        )
        for commodity in COMMODITIES
        for level in LEVELS
        for name, test in TESTS.items()
    }


def bars(judged: Judgements, p_values: PValues, models: list[str], reference: str, failed: int):
    missing = sum(one.missing for one in judged.values())
    yield Bar("units that failed = 0", str(failed), failed == 0)
    yield Bar("trading days without a forecast = 0", str(missing), missing == 0)
    for model in models:
        if model != reference:
            cases = [(commodity, ahead) for commodity in COMMODITIES for ahead in AHEAD]
            least = max(crps_ratio(judged, commodity, model, reference, ahead)[1] for commodity, ahead in cases)
            text = f"{model}: CRPS nowhere surely worse than of {reference}: lower ends of the 95 % intervals of the ratios ≤ 1"
            yield Bar(text, f"{least:.3f}", least <= 1)
        least, where = min((of_models[model], where) for where, of_models in p_values.items())
        text = f"{model}: least of {len(p_values)} p values one day ahead ≥ {SIGNIFICANCE}"
        commodity, level, test = where
        yield Bar(text, f"{p_cell(least)} ({test}, {commodity}, {level} %)", least >= SIGNIFICANCE)
        cases = [(commodity, level, ahead) for commodity in COMMODITIES for level in LEVELS for ahead in AHEAD[1:]]
        held = 0
        for commodity, level, ahead in cases:
            low, high = judged[commodity, model].coverage_interval(level, ahead)
            held += low <= level / 100 <= high
        text = f"{model}: {len(cases)} of {len(cases)} promises in their 99 % intervals, {AHEAD[1]} and {AHEAD[2]} days ahead"
        yield Bar(text, str(held), held == len(cases))


def crps_ratio(judged: Judgements, commodity: str, model: str, reference: str, ahead: int) -> tuple[float, float, float]:
    """Mean CRPS over the reference's, and its 95 % interval from blocks of their differences."""
    ours, theirs = judged[commodity, model].crps[ahead], judged[commodity, reference].crps[ahead]
    if len(ours) != len(theirs):
        sys.exit(f"{model} and {reference} have other origins on {commodity}")
    low, high = interval_tests.block_interval(ours - theirs, block_length(ours, ahead), 0.95)
    return tuple(float((theirs.mean() + difference) / theirs.mean()) for difference in ((ours - theirs).mean(), low, high))


# Words.


def section(arguments: argparse.Namespace, judged: Judgements, p_values: PValues, found: list[Bar]) -> str:
    today = datetime.datetime.now(datetime.timezone.utc).date()
    version = harness.run([arguments.binary.resolve(), "--version"]).stdout.strip()
    first = judged[COMMODITIES[0], arguments.models[0]]
    sizes = ", ".join(f"{len(first.violations[80, ahead])} at {ahead}" for ahead in AHEAD)
    passed = sum(bar.passed for bar in found)
    further = [(ahead, level) for ahead in AHEAD[1:] for level in LEVELS]
    return pages.section(
        [
            HEADING,
            f"```sh\n{pages.ENVIRONMENT}\n{COMMAND}\n```",
            f"Written by that command on {today}. Machine: {harness.machine()}. {version}.",
            f"{' and '.join(COMMODITIES)}, every trading day from {FIRST} to {LAST}, models refitted semiannually, "
            f"2,000 paths, read from `point_forecasts` and `distributions`. Origins of {COMMODITIES[0]}: {sizes} trading days ahead; a day "
            f"that lies beyond the {DAYS} calendar days of a path is left out.",
            "One day ahead: share of closes inside the interval, and p values of Kupiec's test of their number and of "
            "Christoffersen's of number and independence, after Holm's correction across the models:",
            pages.table(
                ["", "model", *(f"{level} %: inside, {', '.join(TESTS)}" for level in LEVELS)],
                lines(judged, lambda *key: [first_day_cell(judged, p_values, *key, level) for level in LEVELS]),
            ),
            "Further ahead: share inside, and in brackets its 99 % interval from a moving-block bootstrap:",
            pages.table(
                ["", "model", *(f"{level} %, {ahead} days" for ahead, level in further)],
                lines(judged, lambda *key: [coverage_cell(judged[key], level, ahead) for ahead, level in further]),
            ),
            f"CRPS as a multiple of that of `{arguments.reference}`, and in brackets the 95 % interval of that:",
            pages.table(
                ["", "model", *(f"days ahead: {ahead}" for ahead in AHEAD)],
                lines(judged, lambda *key: [ratio_cell(crps_ratio(judged, *key, arguments.reference, ahead)) for ahead in AHEAD]),
            ),
            f"{passed} of {len(found)} bars passed:",
            pages.bar_table(found),
        ]
    )


def lines(judged: Judgements, cells) -> list[list[str]]:
    return [[commodity, f"`{model}`", *cells(commodity, model)] for commodity, model in judged]


def first_day_cell(judged: Judgements, p_values: PValues, commodity: str, model: str, level: int) -> str:
    tested = [p_cell(p_values[commodity, level, test][model]) for test in TESTS]
    return ", ".join([f"{judged[commodity, model].coverage(level, 1):.3f}", *tested])


def p_cell(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else "< 0.001"


def coverage_cell(one: Judged, level: int, ahead: int) -> str:
    low, high = one.coverage_interval(level, ahead)
    return f"{one.coverage(level, ahead):.3f} ({low:.3f}–{high:.3f})"


def ratio_cell(found: tuple[float, float, float]) -> str:
    ratio, low, high = found
    return f"{ratio:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
