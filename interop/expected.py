"""What other engines may rely on: the tables of a lake, their columns, types and keys.

Written out a second time on purpose. The product has its own definition; this one is the promise
to readers, so a column that is renamed or retyped there fails here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One table as readers see it."""

    name: str
    """Schema-qualified name; the folder under the lake root is the same with a slash."""
    columns: dict[str, str]
    """Column names and types, in table order. Types are Delta's names."""
    keys: tuple[str, ...]
    """Columns that no two rows share the values of."""
    partitions: tuple[str, ...] = ()
    evolves: bool = False
    """Whether further DOUBLE columns may stand behind the known ones."""

    @property
    def folder(self) -> str:
        return self.name.replace(".", "/")

    @property
    def sql_name(self) -> str:
        return f"commodity.{self.name}"


def _columns(**types: str) -> dict[str, str]:
    return {name: kind for kind, names in types.items() for name in names.split()}


UNIFIED_DATA = Table(
    name="silver.unified_data",
    columns={
        **_columns(date="date", string="commodity region"),
        **_columns(
            double="close open high low volume temp_mean_c humidity_mean_pct precipitation_mm"
            " vix brl_usd cop_usd"
        ),
        **_columns(string="unit currency contract", boolean="is_roll"),
    },
    keys=("date", "commodity", "region"),
    partitions=("commodity",),
    evolves=True,
)

CALENDAR = Table(
    name="silver.calendar",
    columns=_columns(string="calendar", date="date", boolean="is_open"),
    keys=("calendar", "date"),
)

TRAINED_MODELS = Table(
    name="forecast.trained_models",
    columns={
        **_columns(string="model_id commodity model_name model_version", date="training_date"),
        **_columns(integer="training_samples"),
        **_columns(date="training_start_date data_cutoff_date"),
        **_columns(string="parameters fitted_model_json fitted_model_s3_path"),
        **_columns(long="model_size_bytes", string="state_sha256 input_digest"),
        **_columns(double="training_loss validation_loss training_seconds"),
        **_columns(timestamp="created_at", string="created_by run_id"),
        **_columns(boolean="is_active", integer="year month"),
    },
    keys=("commodity", "model_name", "model_version", "training_date"),
    partitions=("commodity",),
)

DAYS = [f"day_{k}" for k in range(1, 15)]

DISTRIBUTIONS = Table(
    name="forecast.distributions",
    columns={
        **_columns(integer="path_id", date="forecast_start_date data_cutoff_date"),
        **_columns(timestamp="generation_timestamp", string="model_version commodity model_name"),
        **_columns(float=" ".join(DAYS), boolean="is_actuals has_data_leakage"),
        **_columns(string="origin", integer="revision"),
        "input_digest": "string",
        "run_id": "string",
    },
    keys=("commodity", "model_name", "model_version", "forecast_start_date", "path_id"),
    partitions=("model_version", "commodity"),
)

POINT_FORECASTS = Table(
    name="forecast.point_forecasts",
    columns={
        **_columns(date="forecast_date forecast_start_date data_cutoff_date"),
        **_columns(integer="day_ahead", timestamp="generation_timestamp"),
        **_columns(
            double="forecast_mean forecast_median forecast_std q01 q05 q10 q25 q75 q90 q95 q99"
            " lower_80 upper_80 lower_95 upper_95 actual_close"
        ),
        **_columns(string="model_version commodity model_name"),
        **_columns(boolean="model_success has_data_leakage"),
        "run_id": "string",
        "revision": "integer",
        "input_digest": "string",
    },
    keys=("commodity", "model_name", "model_version", "forecast_start_date", "day_ahead"),
    partitions=("commodity",),
)

JOB_RUNS = Table(
    name="forecast.job_runs",
    columns={
        **_columns(string="run_id kind arguments", timestamp="started_at finished_at"),
        "status": "string",
        **_columns(
            long="trained train_skipped train_failed forecasts forecast_skipped forecast_failed"
        ),
        **_columns(string="counts engine code_version data_versions table_versions message"),
    },
    keys=("run_id",),
)

JOB_FAILURES = Table(
    name="forecast.job_failures",
    columns={
        **_columns(string="run_id stage commodity model_name model_version", date="date"),
        **_columns(string="error_class message", timestamp="failed_at"),
    },
    keys=("run_id", "stage", "commodity", "model_name", "model_version", "date"),
)

TABLES = (
    UNIFIED_DATA,
    CALENDAR,
    TRAINED_MODELS,
    DISTRIBUTIONS,
    POINT_FORECASTS,
    JOB_RUNS,
    JOB_FAILURES,
)
