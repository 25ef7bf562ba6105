//! The tables as a plain reader sees them: the log says which files, Parquet says what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use almanac_delta::TableName;
use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Date32Array, Float32Array, Float64Array,
    Int32Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type, Int32Type};
use chrono::NaiveDate;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::lake::TestLake;

/// The days of a path.
pub const HORIZON: usize = 14;

/// What identifies a forecast or a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Commodity.
    pub commodity: String,
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
    /// Forecast start or training date.
    pub date: NaiveDate,
}

impl Key {
    /// The key of these parts.
    pub fn new(commodity: &str, model: &str, version: &str, date: NaiveDate) -> Self {
        Self {
            commodity: commodity.to_owned(),
            model: model.to_owned(),
            version: version.to_owned(),
            date,
        }
    }
}

/// The keys of all commodities and models on all dates, in version `v1`.
pub fn keys(
    commodities: &[&str],
    models: &[&str],
    dates: impl Iterator<Item = NaiveDate> + Clone,
) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for commodity in commodities {
        for model in models {
            keys.extend(
                dates
                    .clone()
                    .map(|date| Key::new(commodity, model, "v1", date)),
            );
        }
    }
    keys
}

/// One row of `distributions`. Values are bits, so that equal means identical.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRow {
    /// Its number.
    pub path_id: i32,
    /// `day_1` … `day_14`.
    pub days: [Option<u32>; HORIZON],
    /// Newest date that reached it.
    pub cutoff: Option<NaiveDate>,
    /// Digest of what it rests on.
    pub digest: Option<String>,
    /// `live` or `backfill`.
    pub origin: Option<String>,
    /// How often its key was made again.
    pub revision: Option<i32>,
    /// The run that wrote it.
    pub run_id: Option<String>,
    /// Whether it saw what it forecasts.
    pub leakage: Option<bool>,
}

impl PathRow {
    /// The value of a day, counted from 1.
    #[track_caller]
    pub fn day(&self, day: usize) -> f64 {
        f64::from(f32::from_bits(
            self.days[day - 1].unwrap_or_else(|| panic!("day_{day} is null")),
        ))
    }
}

/// Rows of `distributions` by key, in the order of their paths.
pub type Paths = BTreeMap<Key, Vec<PathRow>>;

/// A path's number and the bits of its days.
pub type PathBits = (i32, [Option<u32>; HORIZON]);

/// The bits of every day of every path: what must not depend on who computed it.
pub fn bits(paths: &Paths) -> BTreeMap<Key, Vec<PathBits>> {
    paths
        .iter()
        .map(|(key, rows)| {
            (
                key.clone(),
                rows.iter().map(|row| (row.path_id, row.days)).collect(),
            )
        })
        .collect()
}

/// Mean and standard deviation of a day over the paths.
pub fn moments(rows: &[PathRow], day: usize) -> (f64, f64) {
    let count = rows.len() as f64;
    let mean = rows.iter().map(|row| row.day(day)).sum::<f64>() / count;
    let square = rows
        .iter()
        .map(|row| (row.day(day) - mean).powi(2))
        .sum::<f64>();
    (mean, (square / (count - 1.0)).sqrt())
}

/// One row of `point_forecasts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointRow {
    /// Days from the start, counted from 1.
    pub day_ahead: i32,
    /// The day forecast.
    pub date: Option<NaiveDate>,
    /// Newest date that reached it.
    pub cutoff: Option<NaiveDate>,
    /// The bits of mean, median, deviation, quantiles and intervals, by column.
    pub values: BTreeMap<&'static str, Option<u64>>,
    /// What happened.
    pub actual_close: Option<u64>,
    /// Whether the model gave a forecast.
    pub success: Option<bool>,
    /// Whether it saw what it forecasts.
    pub leakage: Option<bool>,
    /// Revision of the forecast behind it.
    pub revision: Option<i32>,
    /// Digest of the forecast behind it.
    pub digest: Option<String>,
    /// The run that wrote it.
    pub run_id: Option<String>,
}

impl PointRow {
    /// A value by its column.
    #[track_caller]
    pub fn value(&self, column: &str) -> f64 {
        f64::from_bits(self.values[column].unwrap_or_else(|| panic!("{column} is null")))
    }
}

/// Columns of `point_forecasts` that are computed from the paths.
pub const POINT_VALUES: [&str; 15] = [
    "forecast_mean",
    "forecast_median",
    "forecast_std",
    "q01",
    "q05",
    "q10",
    "q25",
    "q75",
    "q90",
    "q95",
    "q99",
    "lower_80",
    "upper_80",
    "lower_95",
    "upper_95",
];

/// Rows of `point_forecasts` by key, in the order of their days.
pub type Points = BTreeMap<Key, Vec<PointRow>>;

/// The points without the run that happened to write them.
pub fn without_runs(mut points: Points) -> Points {
    points
        .values_mut()
        .flatten()
        .for_each(|row| row.run_id = None);
    points
}

/// One row of `trained_models`.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The fitted state, wherever it is stored.
    pub state: String,
    /// The resolved specification.
    pub parameters: String,
    /// Digest of what it rests on.
    pub digest: Option<String>,
    /// Newest date that reached it.
    pub cutoff: Option<NaiveDate>,
    /// Observations it was fitted on.
    pub samples: Option<i32>,
    /// Whether its state is an object of its own.
    pub offloaded: bool,
    /// Whether forecasts may use it.
    pub active: Option<bool>,
}

/// Rows of `trained_models` by key. More than one for a key is what must not be.
pub type Models = BTreeMap<Key, Vec<Model>>;

/// The texts of the fitted states.
pub fn states(models: &Models) -> BTreeMap<Key, Vec<String>> {
    models
        .iter()
        .map(|(key, rows)| {
            (
                key.clone(),
                rows.iter().map(|model| model.state.clone()).collect(),
            )
        })
        .collect()
}

/// The training dates of a model.
pub fn training_dates(models: &Models, commodity: &str, model: &str) -> Vec<NaiveDate> {
    models
        .keys()
        .filter(|key| key.commodity == commodity && key.model == model)
        .map(|key| key.date)
        .collect()
}

/// A batch whose columns are read by name, partition columns included.
pub struct Rows {
    batch: RecordBatch,
    partition: BTreeMap<String, Option<String>>,
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    fn column(&self, name: &str, data_type: &DataType) -> ArrayRef {
        let array = match self.partition.get(name) {
            Some(value) => {
                std::sync::Arc::new(StringArray::from(vec![value.as_deref(); self.len()]))
                    as ArrayRef
            }
            None => {
                let column = self
                    .batch
                    .column_by_name(name)
                    .unwrap_or_else(|| panic!("no column `{name}`"));
                assert!(
                    column.data_type() == data_type || data_type == &DataType::Utf8,
                    "column `{name}` is {}, wanted {data_type}",
                    column.data_type()
                );
                std::sync::Arc::clone(column)
            }
        };
        cast(&array, data_type).expect("a column is cast")
    }

    /// A column of texts.
    pub fn texts(&self, name: &str) -> StringArray {
        self.column(name, &DataType::Utf8)
            .as_string::<i32>()
            .clone()
    }
    /// A column of dates.
    pub fn dates(&self, name: &str) -> Date32Array {
        self.column(name, &DataType::Date32)
            .as_primitive::<Date32Type>()
            .clone()
    }
    /// A column of whole numbers.
    pub fn integers(&self, name: &str) -> Int32Array {
        self.column(name, &DataType::Int32)
            .as_primitive::<Int32Type>()
            .clone()
    }
    /// A column of FLOAT.
    pub fn floats(&self, name: &str) -> Float32Array {
        self.column(name, &DataType::Float32)
            .as_primitive::<Float32Type>()
            .clone()
    }
    /// A column of DOUBLE.
    pub fn doubles(&self, name: &str) -> Float64Array {
        self.column(name, &DataType::Float64)
            .as_primitive::<Float64Type>()
            .clone()
    }
    /// A column of truths.
    pub fn truths(&self, name: &str) -> BooleanArray {
        self.column(name, &DataType::Boolean).as_boolean().clone()
    }
}

/// A day from its number.
pub fn date(number: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(number).expect("a day")
}

fn text(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn date_at(array: &Date32Array, row: usize) -> Option<NaiveDate> {
    array.is_valid(row).then(|| date(array.value(row)))
}

impl TestLake {
    /// All rows of a table, file by file.
    pub fn rows(&self, name: TableName) -> Vec<Rows> {
        let table = self.table(name);
        let columns = &table.def().partition_columns;
        let mut rows = vec![];
        for file in table.files() {
            let path = self.root().join(&file.path);
            let open = File::open(&path)
                .unwrap_or_else(|error| panic!("{name} refers to {}: {error}", file.path));
            let reader = ParquetRecordBatchReaderBuilder::try_new(open)
                .expect("a Parquet file")
                .build()
                .expect("a reader");
            let partition: BTreeMap<_, _> = columns
                .iter()
                .map(|column| (*column).to_owned())
                .zip(file.partition_values.iter().cloned())
                .collect();
            let mut found = 0;
            for batch in reader {
                let batch = batch.expect("a batch");
                found += batch.num_rows() as u64;
                rows.push(Rows {
                    batch,
                    partition: partition.clone(),
                });
            }
            assert_eq!(
                file.rows,
                Some(found),
                "the log counts the rows of {} otherwise",
                file.path
            );
        }
        rows
    }

    /// The simulated paths.
    pub fn paths(&self) -> Paths {
        self.distributions(false)
    }

    /// The rows that hold what happened.
    pub fn actuals(&self) -> Paths {
        self.distributions(true)
    }

    fn distributions(&self, actuals: bool) -> Paths {
        let mut paths = Paths::new();
        for rows in self.rows(TableName::Distributions) {
            let is_actuals = rows.truths("is_actuals");
            let [commodity, model, version] =
                ["commodity", "model_name", "model_version"].map(|name| rows.texts(name));
            let [digest, origin, run_id] =
                ["input_digest", "origin", "run_id"].map(|name| rows.texts(name));
            let [start, cutoff] =
                ["forecast_start_date", "data_cutoff_date"].map(|name| rows.dates(name));
            let [path_id, revision] = ["path_id", "revision"].map(|name| rows.integers(name));
            let days: Vec<Float32Array> = (1..=HORIZON)
                .map(|day| rows.floats(&format!("day_{day}")))
                .collect();
            let leakage = rows.truths("has_data_leakage");
            for row in (0..rows.len()).filter(|row| is_actuals.value(*row) == actuals) {
                let key = Key::new(
                    commodity.value(row),
                    model.value(row),
                    version.value(row),
                    date(start.value(row)),
                );
                paths.entry(key).or_default().push(PathRow {
                    path_id: path_id.value(row),
                    days: std::array::from_fn(|day| {
                        days[day]
                            .is_valid(row)
                            .then(|| days[day].value(row).to_bits())
                    }),
                    cutoff: date_at(&cutoff, row),
                    digest: text(&digest, row),
                    origin: text(&origin, row),
                    revision: revision.is_valid(row).then(|| revision.value(row)),
                    run_id: text(&run_id, row),
                    leakage: leakage.is_valid(row).then(|| leakage.value(row)),
                });
            }
        }
        paths
            .values_mut()
            .for_each(|rows| rows.sort_by_key(|row| row.path_id));
        paths
    }

    /// The point forecasts.
    pub fn points(&self) -> Points {
        let mut points = Points::new();
        for rows in self.rows(TableName::PointForecasts) {
            let [commodity, model, version] =
                ["commodity", "model_name", "model_version"].map(|name| rows.texts(name));
            let [digest, run_id] = ["input_digest", "run_id"].map(|name| rows.texts(name));
            let [start, forecast_date, cutoff] =
                ["forecast_start_date", "forecast_date", "data_cutoff_date"]
                    .map(|name| rows.dates(name));
            let [day_ahead, revision] = ["day_ahead", "revision"].map(|name| rows.integers(name));
            let [success, leakage] =
                ["model_success", "has_data_leakage"].map(|name| rows.truths(name));
            let values = POINT_VALUES.map(|name| (name, rows.doubles(name)));
            let actual = rows.doubles("actual_close");
            let bits = |array: &Float64Array, row: usize| {
                array.is_valid(row).then(|| array.value(row).to_bits())
            };
            for row in 0..rows.len() {
                let key = Key::new(
                    commodity.value(row),
                    model.value(row),
                    version.value(row),
                    date(start.value(row)),
                );
                points.entry(key).or_default().push(PointRow {
                    day_ahead: day_ahead.value(row),
                    date: date_at(&forecast_date, row),
                    cutoff: date_at(&cutoff, row),
                    values: values
                        .iter()
                        .map(|(name, array)| (*name, bits(array, row)))
                        .collect(),
                    actual_close: bits(&actual, row),
                    success: success.is_valid(row).then(|| success.value(row)),
                    leakage: leakage.is_valid(row).then(|| leakage.value(row)),
                    revision: revision.is_valid(row).then(|| revision.value(row)),
                    digest: text(&digest, row),
                    run_id: text(&run_id, row),
                });
            }
        }
        points.values_mut().for_each(|rows| rows.sort());
        points
    }

    /// The fitted models.
    pub fn models(&self) -> Models {
        let mut models = Models::new();
        for rows in self.rows(TableName::TrainedModels) {
            let [commodity, name, version] =
                ["commodity", "model_name", "model_version"].map(|name| rows.texts(name));
            let [state, path, parameters, digest] = [
                "fitted_model_json",
                "fitted_model_s3_path",
                "parameters",
                "input_digest",
            ]
            .map(|name| rows.texts(name));
            let [trained, cutoff] =
                ["training_date", "data_cutoff_date"].map(|name| rows.dates(name));
            let samples = rows.integers("training_samples");
            let active = rows.truths("is_active");
            for row in 0..rows.len() {
                let key = Key::new(
                    commodity.value(row),
                    name.value(row),
                    version.value(row),
                    date(trained.value(row)),
                );
                let offloaded = text(&path, row).filter(|path| !path.is_empty());
                let read = |path: &String| {
                    std::fs::read_to_string(self.root().join(path)).expect("a state's object")
                };
                models.entry(key).or_default().push(Model {
                    state: offloaded
                        .as_ref()
                        .map(read)
                        .or_else(|| text(&state, row))
                        .expect("a state"),
                    parameters: text(&parameters, row).expect("a specification"),
                    digest: text(&digest, row),
                    cutoff: date_at(&cutoff, row),
                    samples: samples.is_valid(row).then(|| samples.value(row)),
                    offloaded: offloaded.is_some(),
                    active: active.is_valid(row).then(|| active.value(row)),
                });
            }
        }
        models
    }

    /// The rows of `unified_data` as texts of date, commodity, region and close, sorted.
    pub fn observations(&self) -> Vec<(String, NaiveDate, String, Option<u64>)> {
        let mut observations = vec![];
        for rows in self.rows(TableName::UnifiedData) {
            let [commodity, region] = ["commodity", "region"].map(|name| rows.texts(name));
            let (dates, close) = (rows.dates("date"), rows.doubles("close"));
            for row in 0..rows.len() {
                let close = close.is_valid(row).then(|| close.value(row).to_bits());
                observations.push((
                    commodity.value(row).to_owned(),
                    date(dates.value(row)),
                    region.value(row).to_owned(),
                    close,
                ));
            }
        }
        observations.sort();
        observations
    }
}

/// Asserts that two collections hold the same keys with the same values, and names the first that
/// differs rather than printing both.
#[track_caller]
pub fn assert_same<K: Ord + std::fmt::Debug, V: PartialEq>(
    found: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    what: &str,
) {
    let missing: Vec<&K> = wanted
        .keys()
        .filter(|key| !found.contains_key(key))
        .collect();
    let surplus: Vec<&K> = found
        .keys()
        .filter(|key| !wanted.contains_key(key))
        .collect();
    assert!(
        missing.is_empty(),
        "{what}: {} keys are missing, first {:?}",
        missing.len(),
        missing[0]
    );
    assert!(
        surplus.is_empty(),
        "{what}: {} keys too many, first {:?}",
        surplus.len(),
        surplus[0]
    );
    let different: Vec<&K> = wanted
        .iter()
        .filter(|(key, value)| found[key] != **value)
        .map(|(key, _)| key)
        .collect();
    assert!(
        different.is_empty(),
        "{what}: {} of {} differ, first {:?}",
        different.len(),
        wanted.len(),
        different[0]
    );
}
