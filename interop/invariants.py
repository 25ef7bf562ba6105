"""What must be true of every lake, asked through DuckDB so that the product does not judge itself.

Each function of `ALL` returns rows that contradict its sentence; none is what is wanted.
"""

import hashlib
import json

from expected import (
    CALENDAR,
    DAYS,
    DISTRIBUTIONS,
    JOB_RUNS,
    POINT_FORECASTS,
    TRAINED_MODELS,
    UNIFIED_DATA,
    Table,
)
from readers.duckdb import DuckDb

PATHS = 2000
KEY = "commodity, model_name, model_version, forecast_start_date"
# numpy's and DuckDB's linear interpolation are the product's, but from other intermediate values.
QUANTILE_TOLERANCE = 1e-9


def doubled_keys(duck: DuckDb, table: Table) -> list:
    """No two rows of a table share their key."""
    keys = ", ".join(table.keys)
    return duck.rows(
        f"SELECT {keys}, count(*) FROM {duck.scan(table)} GROUP BY ALL HAVING count(*) > 1 LIMIT 5"
    )


def forecasts(duck: DuckDb) -> list[dict]:
    """The key of every forecast."""
    names = [name.strip() for name in KEY.split(",")]
    rows = duck.rows(
        "SELECT DISTINCT commodity, model_name, model_version,"
        " date_diff('day', DATE '1970-01-01', forecast_start_date)"
        f" FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals ORDER BY ALL"
    )
    return [dict(zip(names, row)) for row in rows]


def incomplete_forecasts(duck: DuckDb) -> list:
    """Every forecast has the paths 1 to 2,000, each once."""
    return duck.rows(
        f"SELECT {KEY}, count(*), count(DISTINCT path_id), min(path_id), max(path_id)"
        f" FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals GROUP BY ALL"
        f" HAVING count(*) <> {PATHS} OR count(DISTINCT path_id) <> {PATHS}"
        f" OR min(path_id) <> 1 OR max(path_id) <> {PATHS} LIMIT 5"
    )


def leaking_forecasts(duck: DuckDb) -> list:
    """No forecast saw its first day or a later one, and none is marked as if it had."""
    leaks = []
    for table in (DISTRIBUTIONS, POINT_FORECASTS):
        only = "NOT is_actuals AND" if table is DISTRIBUTIONS else ""
        leaks += duck.rows(
            f"SELECT DISTINCT {KEY}, data_cutoff_date FROM {duck.scan(table)} WHERE {only}"
            " (has_data_leakage IS NOT FALSE OR data_cutoff_date IS NULL"
            " OR data_cutoff_date >= forecast_start_date) LIMIT 5"
        )
    return leaks


def leaking_models(duck: DuckDb) -> list:
    """No model saw its training date or a later one."""
    return duck.rows(
        f"SELECT model_id, data_cutoff_date FROM {duck.scan(TRAINED_MODELS)}"
        " WHERE data_cutoff_date IS NULL OR data_cutoff_date >= training_date"
        " OR training_start_date > data_cutoff_date LIMIT 5"
    )


def untrue_cutoffs(duck: DuckDb) -> list:
    """A forecast without covariates ends its data at the newest close before its first day."""
    return duck.rows(
        f"""
        WITH forecasts AS (
            SELECT DISTINCT {KEY}, data_cutoff_date FROM {duck.scan(DISTRIBUTIONS)}
            WHERE NOT is_actuals AND model_name IN ('naive', 'random_walk', 'seasonal_naive')
        ), closes AS (
            SELECT DISTINCT commodity, date FROM {duck.scan(UNIFIED_DATA)} WHERE close IS NOT NULL
        )
        SELECT f.*, c.date FROM forecasts f
        ASOF LEFT JOIN closes c ON f.commodity = c.commodity AND f.forecast_start_date > c.date
        WHERE f.data_cutoff_date IS DISTINCT FROM c.date LIMIT 5
        """
    )


def odd_path_values(duck: DuckDb) -> list:
    """All 14 days of every row are set, finite and positive."""
    odd = " OR ".join(f"{day} IS NULL OR NOT isfinite({day}) OR {day} <= 0" for day in DAYS)
    return duck.rows(f"SELECT {KEY}, path_id FROM {duck.scan(DISTRIBUTIONS)} WHERE {odd} LIMIT 5")


def moving_weekends(duck: DuckDb) -> list:
    """On a Saturday or Sunday a row repeats the day before."""
    weekend = "isodow(forecast_start_date + {0}) >= 6"
    moves = " OR ".join(
        f"({weekend.format(k)} AND {DAYS[k]} <> {DAYS[k - 1]})" for k in range(1, len(DAYS))
    )
    return duck.rows(f"SELECT {KEY}, path_id FROM {duck.scan(DISTRIBUTIONS)} WHERE {moves} LIMIT 5")


def identical_paths(duck: DuckDb) -> list:
    """The paths of a forecast are different draws."""
    return duck.rows(
        f"SELECT {KEY}, count(DISTINCT day_14) FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals"
        f" GROUP BY ALL HAVING count(DISTINCT day_14) < {PATHS // 2} LIMIT 5"
    )


def repeated_forecasts(duck: DuckDb) -> list:
    """The forecasts of two days are different draws."""
    return duck.rows(
        f"SELECT commodity, model_name, model_version, day_7, day_13, day_14, count(*)"
        f" FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals AND path_id = 1"
        " GROUP BY ALL HAVING count(*) > 1 LIMIT 5"
    )


def odd_actuals(duck: DuckDb) -> list:
    """Actuals are one row for each commodity and first day, and nothing else has path 0."""
    return duck.rows(
        f"SELECT {KEY}, path_id, is_actuals FROM {duck.scan(DISTRIBUTIONS)} WHERE"
        " is_actuals IS DISTINCT FROM (path_id = 0)"
        " OR is_actuals IS DISTINCT FROM (model_name = 'actuals')"
        " OR is_actuals IS DISTINCT FROM (model_version = 'actuals')"
        " OR (is_actuals AND has_data_leakage IS NOT FALSE) LIMIT 5"
    )


def wrong_actuals(duck: DuckDb) -> list:
    """Actuals are the closes of the table, the previous one on a closed day."""
    days = ", ".join(DAYS)
    return duck.rows(
        f"""
        WITH actuals AS (
            UNPIVOT (SELECT commodity, forecast_start_date, {days}
                     FROM {duck.scan(DISTRIBUTIONS)} WHERE is_actuals)
            ON {days} INTO NAME day VALUE value
        ), dated AS (
            SELECT *, forecast_start_date + CAST(substr(day, 5) AS INTEGER) - 1 AS date FROM actuals
        ), closes AS (
            SELECT commodity, date, CAST(avg(close) AS FLOAT) AS close
            FROM {duck.scan(UNIFIED_DATA)} WHERE close IS NOT NULL GROUP BY ALL
        )
        SELECT d.commodity, d.forecast_start_date, d.day, d.value, c.close FROM dated d
        ASOF LEFT JOIN closes c ON d.commodity = c.commodity AND d.date >= c.date
        WHERE d.value IS DISTINCT FROM c.close LIMIT 5
        """
    )


def incomplete_points(duck: DuckDb) -> list:
    """Every forecast of distributions has 14 point forecasts, days 1 to 14; no other has any."""
    return duck.rows(
        f"""
        WITH paths AS (
            SELECT DISTINCT {KEY} FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals
        ), points AS (
            SELECT {KEY}, count(*) AS days, count(DISTINCT day_ahead) AS different,
                   min(day_ahead) AS first, max(day_ahead) AS last
            FROM {duck.scan(POINT_FORECASTS)} GROUP BY ALL
        )
        SELECT * FROM paths FULL JOIN points USING ({KEY})
        WHERE (days, different, first, last) IS DISTINCT FROM (14, 14, 1, 14) LIMIT 5
        """
    )


def misdated_points(duck: DuckDb) -> list:
    """Day 1 is the first day itself, and only evaluation may fill in what happened."""
    return duck.rows(
        f"SELECT {KEY}, day_ahead, forecast_date FROM {duck.scan(POINT_FORECASTS)} WHERE"
        " forecast_date IS DISTINCT FROM forecast_start_date + day_ahead - 1"
        " OR model_success IS NOT TRUE OR actual_close IS NOT NULL LIMIT 5"
    )


def wrong_points(duck: DuckDb) -> list:
    """Means, deviations and quantiles are those of the stored paths (of every tenth forecast)."""
    levels = {
        "forecast_median": 0.5, "q01": 0.01, "q05": 0.05, "q10": 0.1, "q25": 0.25, "q75": 0.75,
        "q90": 0.9, "q95": 0.95, "q99": 0.99, "lower_80": 0.1, "upper_80": 0.9,
        "lower_95": 0.025, "upper_95": 0.975,
    }  # fmt: skip
    quantiles = ", ".join(
        f"quantile_cont(value, {level}) AS {name}_again" for name, level in levels.items()
    )
    names = ["forecast_mean", "forecast_std", *levels]
    differs = " OR ".join(
        f"NOT abs(p.{n} - a.{n}_again) <= {QUANTILE_TOLERANCE} * abs(a.forecast_mean_again)"
        for n in names
    )
    days = ", ".join(f"CAST({day} AS DOUBLE) AS {day}" for day in DAYS)
    return duck.rows(
        f"""
        WITH sampled AS (
            SELECT {KEY} FROM (
                SELECT *, row_number() OVER (ORDER BY {KEY}) AS place
                FROM (SELECT DISTINCT {KEY} FROM {duck.scan(DISTRIBUTIONS)} WHERE NOT is_actuals)
            ) WHERE place % 10 = 1
        ), paths AS (
            UNPIVOT (SELECT {KEY}, {days} FROM {duck.scan(DISTRIBUTIONS)} SEMI JOIN sampled USING ({KEY}))
            ON {", ".join(DAYS)} INTO NAME day VALUE value
        ), again AS (
            SELECT {KEY}, CAST(substr(day, 5) AS INTEGER) AS day_ahead, avg(value) AS forecast_mean_again,
                   stddev_samp(value) AS forecast_std_again, {quantiles}
            FROM paths GROUP BY ALL
        )
        SELECT {KEY}, day_ahead, p.forecast_mean, a.forecast_mean_again, p.forecast_std, a.forecast_std_again
        FROM again a LEFT JOIN {duck.scan(POINT_FORECASTS)} p USING ({KEY}, day_ahead)
        WHERE p.forecast_mean IS NULL OR {differs} LIMIT 5
        """
    )


def crossed_quantiles(duck: DuckDb) -> list:
    """Quantiles rise with their level."""
    rising = "q01 lower_95 q05 q10 q25 forecast_median q75 q90 q95 upper_95 q99".split()
    crossed = " OR ".join(f"{low} > {high}" for low, high in zip(rising, rising[1:]))
    return duck.rows(
        f"SELECT {KEY}, day_ahead FROM {duck.scan(POINT_FORECASTS)}"
        f" WHERE {crossed} OR q10 <> lower_80 OR q90 <> upper_80 OR NOT forecast_std >= 0 LIMIT 5"
    )


def forecasts_without_model(duck: DuckDb) -> list:
    """For every forecast there is an active model trained on its first day or before."""
    return duck.rows(
        f"""
        SELECT DISTINCT {KEY} FROM {duck.scan(DISTRIBUTIONS)} d WHERE NOT is_actuals AND NOT EXISTS (
            SELECT 1 FROM {duck.scan(TRAINED_MODELS)} m
            WHERE m.commodity = d.commodity AND m.model_name = d.model_name AND m.is_active
              AND m.model_version = d.model_version AND m.training_date <= d.forecast_start_date
        ) LIMIT 5
        """
    )


def odd_models(duck: DuckDb) -> list:
    """A model's row says what it is: id, year and month, size and hash of a state that is JSON."""
    odd = duck.rows(
        f"SELECT model_id, training_date, year, month FROM {duck.scan(TRAINED_MODELS)} WHERE"
        " model_id <> commodity || '_' || model_name || '_'"
        " || strftime(training_date, '%Y-%m-%d') || '_' || model_version"
        " OR year <> year(training_date) OR month <> month(training_date)"
        " OR (fitted_model_json IS NULL) = (fitted_model_s3_path IS NULL)"
        " OR training_samples <= 0 LIMIT 5"
    )
    states = duck.rows(
        "SELECT model_id, fitted_model_json, fitted_model_s3_path, model_size_bytes, state_sha256,"
        f" parameters FROM {duck.scan(TRAINED_MODELS)}"
    )
    for model_id, state, path, size, sha256, parameters in states:
        body = (duck.lake / path).read_bytes() if path else state.encode()
        json.loads(parameters), json.loads(body)
        if len(body) != size or hashlib.sha256(body).hexdigest() != sha256:
            odd.append((model_id, len(body), size, sha256))
    return odd[:5]


def rows_without_run(duck: DuckDb) -> list:
    """Every model and every forecast names a run that job_runs knows."""
    missing = []
    for table in (TRAINED_MODELS, DISTRIBUTIONS, POINT_FORECASTS):
        missing += duck.rows(
            f"SELECT DISTINCT '{table.name}', run_id FROM {duck.scan(table)}"
            f" WHERE run_id IS NULL OR run_id NOT IN (SELECT run_id FROM {duck.scan(JOB_RUNS)}) LIMIT 5"
        )
    return missing


def unfinished_runs(duck: DuckDb) -> list:
    """Every run ended after it began, and counted what it did."""
    return duck.rows(
        f"SELECT run_id, kind, status FROM {duck.scan(JOB_RUNS)} WHERE started_at IS NULL"
        " OR finished_at IS NULL OR finished_at < started_at OR status IS NULL"
        " OR (kind IN ('train', 'backfill') AND trained IS NULL)"
        " OR (kind IN ('forecast', 'backfill') AND forecasts IS NULL) LIMIT 5"
    )


def odd_calendar(duck: DuckDb) -> list:
    """The calendar knows that exchanges close on Christmas Day."""
    return duck.rows(
        f"SELECT * FROM {duck.scan(CALENDAR)} WHERE calendar = 'us_exchange' AND is_open"
        " AND month(date) = 12 AND day(date) = 25 LIMIT 5"
    )


ALL = (
    incomplete_forecasts,
    leaking_forecasts,
    leaking_models,
    untrue_cutoffs,
    odd_path_values,
    moving_weekends,
    identical_paths,
    repeated_forecasts,
    odd_actuals,
    wrong_actuals,
    incomplete_points,
    misdated_points,
    wrong_points,
    crossed_quantiles,
    forecasts_without_model,
    odd_models,
    rows_without_run,
    unfinished_runs,
    odd_calendar,
)
