//! Train and forecast plans are one stage, and run as one, on real tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::manifest::Manifest;
use almanac_delta::provider::{PinnedTable, SliceFiles};
use almanac_delta::rows::write_rows;
use almanac_delta::tables::{distributions, series_bucket, trained_models};
use almanac_delta::write::{RowSource, Target, WriteSpec};
use almanac_delta::{
    CommitKind, CommitOutcome, CommitRequest, Lake, LakeSettings, Layout, StoreLocation, TableName,
};
use almanac_planner::Stamp;
use almanac_planner::forecasting::{Making, forecasting};
use almanac_planner::history::covariate_columns;
use almanac_planner::training::training;
use almanac_udfs::assign::{AssignUnits, Unit};
use almanac_udfs::expand::{ExpandPaths, PATHS, POINTS};
use almanac_udfs::spec::ModelSpec;
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray,
};
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use object_store::path::Path;

use almanac_executor::session::{job_config, require_one_stage, state};
use almanac_executor::{Embedded, EmbeddedSettings, Engine, EngineError, Progress};

const FIRST: i32 = 19_000;
const DAYS: i32 = 40;
const TRAINED: i32 = FIRST + DAYS - 5;

struct Place {
    _folder: tempfile::TempDir,
    lake: Lake,
    table: PinnedTable,
    root: String,
    /// The value of the partition column of each file.
    partitions: Vec<String>,
}

struct Silent;

impl Progress for Silent {
    fn slice_done(&self) {}
    fn waiting(&self, reason: &str) {
        panic!("{reason}");
    }
}

impl Place {
    async fn new(layout: Layout, commodities: &[String], days: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::new(folder.path().to_str().unwrap());
        let settings = LakeSettings {
            layout,
            ..LakeSettings::default()
        };
        let lake = Lake::create(&location, settings).await.unwrap();
        let mut rows: Vec<(i32, &str, i32)> = commodities
            .iter()
            .flat_map(|name| {
                let bucket = match layout {
                    Layout::Commodity => 0,
                    Layout::Buckets(count) => series_bucket(name, count),
                };
                (FIRST..FIRST + days).map(move |date| (bucket, name.as_str(), date))
            })
            .collect();
        rows.sort_unstable();
        let closes = rows.iter().map(|(_, _, date)| {
            let at = f64::from(*date);
            500.0 + 5.0 * (at * 0.7).sin() + 3.0 * (at * 0.31).sin()
        });
        let vix = rows
            .iter()
            .map(|(_, _, date)| 20.0 + f64::from(*date * 7 % 13));
        let columns: [(&str, ArrayRef); 6] = [
            (
                "series_bucket",
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
            ),
            (
                "commodity",
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
            ),
            (
                "date",
                Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.2))),
            ),
            (
                "region",
                Arc::new(StringArray::from(vec!["ALL"; rows.len()])),
            ),
            (
                "close",
                Arc::new(Float64Array::from_iter_values(closes.clone())),
            ),
            ("vix", Arc::new(Float64Array::from_iter_values(vix))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let snapshot = lake.table(TableName::UnifiedData).await.unwrap();
        let request = CommitRequest {
            operation: CommitKind::Append,
            adds: write_rows(&lake, snapshot.def(), &batch).await.unwrap(),
            removes: vec![],
            claims: vec![],
            run_id: "run".to_owned(),
            attempt_id: "attempt".to_owned(),
            new_columns: vec![],
        };
        let snapshot = match snapshot.commit(request).await.unwrap() {
            CommitOutcome::Committed { snapshot, .. } => snapshot,
            other => panic!("{other:?}"),
        };
        let root = Path::from_url_path(lake.url().path()).unwrap().to_string();
        let partitions = snapshot
            .files()
            .iter()
            .map(|file| file.partition_values[0].clone().unwrap())
            .collect();
        Self {
            table: PinnedTable::new(&snapshot, "file:///", &root),
            _folder: folder,
            lake,
            root,
            partitions,
        }
    }

    /// The table as one slice for each of these partition values.
    fn sliced(&self, slices: &[String]) -> Arc<dyn TableProvider> {
        let files = |partition: &String| {
            (0..self.partitions.len())
                .filter(|index| self.partitions[*index] == *partition)
                .collect()
        };
        let slices = (0..).zip(slices).map(|(slice, partition)| SliceFiles {
            slice,
            files: files(partition),
        });
        Arc::new(self.table.clone().sliced(slices.collect()))
    }

    fn target(
        &self,
        slices: usize,
        targets: Vec<(TableName, RowSource)>,
        date: &str,
    ) -> Arc<WriteSpec> {
        Arc::new(WriteSpec {
            store_url: "file:///".to_owned(),
            root: self.root.clone(),
            layout: self.lake.settings().layout,
            targets: targets
                .into_iter()
                .map(|(table, source)| Target { table, source })
                .collect(),
            date_column: date.to_owned(),
            slices: (0..)
                .take(slices)
                .map(|slice| (slice, format!("{date}-{slice}")))
                .collect(),
            attempt: "attempt".to_owned(),
            offload: None,
        })
    }

    fn train_plan(&self, slices: &[String], units: Vec<Unit>) -> LogicalPlan {
        let columns = covariate_columns(&spec("linear_regression"));
        training(
            &self.sliced(slices),
            &columns.into_iter().collect(),
            AssignUnits {
                units: Arc::new(units),
                closed: Arc::default(),
            },
            &stamp(),
            self.target(
                slices.len(),
                vec![(TableName::TrainedModels, RowSource::Rows)],
                trained_models::TRAINING_DATE,
            ),
        )
        .unwrap()
    }

    fn forecast_plan(&self, slices: &[String], units: Vec<Unit>) -> LogicalPlan {
        let columns = covariate_columns(&spec("linear_regression"));
        let making = Making {
            today: 0,
            revision: 0,
        };
        forecasting(
            &self.sliced(slices),
            &columns.into_iter().collect(),
            AssignUnits {
                units: Arc::new(units),
                closed: Arc::default(),
            },
            ExpandPaths {
                paths: 10,
                horizon: 14,
            },
            (&stamp(), making),
            self.target(
                slices.len(),
                vec![
                    (
                        TableName::Distributions,
                        RowSource::Unnest(PATHS.to_owned()),
                    ),
                    (
                        TableName::PointForecasts,
                        RowSource::Unnest(POINTS.to_owned()),
                    ),
                ],
                distributions::FORECAST_START_DATE,
            ),
        )
        .unwrap()
    }

    async fn manifests(&self, slices: usize, date: &str) -> Vec<Manifest> {
        let store = self.lake.store();
        let mut found = vec![];
        for slice in 0..slices {
            let name = format!("{date}-{slice}");
            let manifest = Manifest::get(store.as_ref(), &Path::default(), &name).await;
            found.push(manifest.unwrap().unwrap());
        }
        found
    }

    /// The states in the files of these manifests, by commodity and model.
    async fn states(&self, manifests: &[Manifest]) -> BTreeMap<(String, String), String> {
        let def = TableName::TrainedModels.def(&self.lake.settings().layout);
        let mut states = BTreeMap::new();
        let snapshot = self.lake.table(TableName::TrainedModels).await.unwrap();
        let request = CommitRequest {
            operation: CommitKind::Append,
            adds: manifests
                .iter()
                .flat_map(|manifest| manifest.files[&TableName::TrainedModels].clone())
                .collect(),
            removes: vec![],
            claims: vec![],
            run_id: "run".to_owned(),
            attempt_id: "models".to_owned(),
            new_columns: vec![],
        };
        let CommitOutcome::Committed { snapshot, .. } = snapshot.commit(request).await.unwrap()
        else {
            panic!("not committed");
        };
        let rows = almanac_delta::rows::read_files(&self.lake, &def, snapshot.files())
            .await
            .unwrap();
        let text = |name: &str, row: usize| {
            let column = rows.column_by_name(name).unwrap().as_string::<i32>();
            column.value(row).to_owned()
        };
        for row in 0..rows.num_rows() {
            assert!(
                rows.column_by_name("fitted_model_json")
                    .unwrap()
                    .is_valid(row)
            );
            states.insert(
                (text("commodity", row), text("model_name", row)),
                text("fitted_model_json", row),
            );
        }
        states
    }
}

fn stamp() -> Stamp {
    Stamp {
        run_id: "run".to_owned(),
        at_micros: 0,
        created_by: "test".to_owned(),
    }
}

fn spec(family: &str) -> ModelSpec {
    let mut spec = ModelSpec::of_family(family);
    if family == "linear_regression" {
        spec.covariates = vec!["vix".to_owned()];
        let params = r#"{"lags":[1,2],"windows":[3]}"#;
        spec.params = serde_json::from_str(params).unwrap();
    }
    spec
}

fn unit(slice: i32, commodity: &str, model_name: &str, spec: &ModelSpec, layout: Layout) -> Unit {
    Unit {
        slice,
        series_bucket: match layout {
            Layout::Commodity => None,
            Layout::Buckets(count) => Some(series_bucket(commodity, count)),
        },
        commodity: commodity.to_owned(),
        model_name: model_name.to_owned(),
        model_version: "v1".to_owned(),
        training_date: TRAINED,
        spec: spec.to_json(),
        state: None,
        wanted: vec![],
        covariates: spec.covariates.clone(),
        from: i32::MIN,
        until: TRAINED,
    }
}

/// The units as they forecast, with the states that they were trained to.
fn forecasts(units: &[Unit], states: &BTreeMap<(String, String), String>) -> Vec<Unit> {
    let trained = |unit: &Unit| states[&(unit.commodity.clone(), unit.model_name.clone())].clone();
    units
        .iter()
        .map(|unit| Unit {
            state: Some(trained(unit)),
            wanted: vec![TRAINED, TRAINED + 2],
            until: TRAINED + 2,
            ..unit.clone()
        })
        .collect()
}

fn operators(plan: &Arc<dyn ExecutionPlan>) -> Vec<&str> {
    let mut names = vec![plan.name()];
    for child in plan.children() {
        names.extend(operators(child));
    }
    names
}

async fn physical(plan: &LogicalPlan, slices: usize) -> Arc<dyn ExecutionPlan> {
    let session = state(job_config(slices), Arc::default()).unwrap();
    session.create_physical_plan(plan).await.unwrap()
}

/// Holds a plan against the operators that it must have and no others, projections apart.
async fn check(plan: &LogicalPlan, slices: usize, expected: &[&str]) {
    let physical = physical(plan, slices).await;
    require_one_stage(&physical).unwrap();
    let mut found = operators(&physical);
    found.retain(|name| *name != "ProjectionExec");
    assert_eq!(found, expected);
    assert_eq!(physical.properties().partitioning.partition_count(), slices);
    let text = displayable(physical.as_ref()).indent(false).to_string();
    assert_eq!(text.matches("mode=SinglePartitioned").count(), 2, "{text}");
}

const TRAIN: [&str; 6] = [
    "WriteTables",
    "AggregateExec",
    "AssignUnits",
    "AggregateExec",
    "KeepWindow",
    "DataSourceExec",
];
const FORECAST: [&str; 7] = [
    "WriteTables",
    "ExpandPaths",
    "AggregateExec",
    "AssignUnits",
    "AggregateExec",
    "KeepWindow",
    "DataSourceExec",
];

fn engine() -> Embedded {
    let settings = EmbeddedSettings {
        threads: 2,
        memory_bytes: 256 << 20,
    };
    Embedded::start(settings).unwrap()
}

/// Plans, checks and runs training and then forecasting of these units.
async fn trains_and_forecasts_in_one_stage(place: &Place, slices: &[String], units: &[Unit]) {
    let engine = engine();
    let train = place.train_plan(slices, units.to_vec());
    check(&train, slices.len(), &TRAIN).await;
    engine.run(train, slices.len(), &Silent).await.unwrap();
    let manifests = place
        .manifests(slices.len(), trained_models::TRAINING_DATE)
        .await;
    for manifest in &manifests {
        assert_eq!(manifest.failures, []);
    }
    let trained: usize = manifests.iter().map(|manifest| manifest.keys.len()).sum();
    assert_eq!(trained, units.len());

    let states = place.states(&manifests).await;
    let forecast = place.forecast_plan(slices, forecasts(units, &states));
    check(&forecast, slices.len(), &FORECAST).await;
    engine.run(forecast, slices.len(), &Silent).await.unwrap();
    let manifests = place
        .manifests(slices.len(), distributions::FORECAST_START_DATE)
        .await;
    for manifest in &manifests {
        assert_eq!(
            (&manifest.failures[..], &manifest.leaks[..]),
            (&[][..], &[][..])
        );
        assert!(manifest.input.unwrap().rows > 0);
    }
    let keys: BTreeSet<_> = manifests
        .iter()
        .flat_map(|manifest| &manifest.keys)
        .collect();
    assert_eq!(keys.len(), 2 * units.len());
    assert!(keys.iter().all(|(_, rows)| *rows == 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_commodity_and_twenty_models_are_one_stage() {
    let commodities = ["coffee".to_owned()];
    let place = Place::new(Layout::Commodity, &commodities, DAYS).await;
    let families = [
        "naive",
        "random_walk",
        "seasonal_naive",
        "window_mean",
        "linear_regression",
    ];
    let units: Vec<Unit> = (0..20)
        .map(|model| {
            let spec = spec(families[model % families.len()]);
            let slice = i32::try_from(model % 8).unwrap();
            unit(
                slice,
                "coffee",
                &format!("model {model}"),
                &spec,
                Layout::Commodity,
            )
        })
        .collect();
    // Eight slices of the same files.
    let slices = vec!["coffee".to_owned(); 8];
    trains_and_forecasts_in_one_stage(&place, &slices, &units).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_commodities_are_one_stage() {
    let layout = Layout::Buckets(16);
    let commodities: Vec<String> = (0..500).map(|series| format!("series {series}")).collect();
    let place = Place::new(layout, &commodities, DAYS).await;
    let slices: Vec<String> = (0..16).map(|bucket| bucket.to_string()).collect();
    let units: Vec<Unit> = commodities
        .iter()
        .map(|name| {
            let slice = series_bucket(name, 16);
            unit(slice, name, "naive", &spec("naive"), layout)
        })
        .collect();
    trains_and_forecasts_in_one_stage(&place, &slices, &units).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_partitions_are_one_stage() {
    let commodities: Vec<String> = (0..500).map(|series| format!("series {series}")).collect();
    let place = Place::new(Layout::Commodity, &commodities, 3).await;
    let units: Vec<Unit> = (0..)
        .zip(&commodities)
        .map(|(slice, name)| unit(slice, name, "naive", &spec("naive"), Layout::Commodity))
        .collect();
    check(&place.train_plan(&commodities, units.clone()), 500, &TRAIN).await;
    check(&place.forecast_plan(&commodities, units), 500, &FORECAST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_slice_is_one_stage_too() {
    let commodities = ["coffee".to_owned()];
    let place = Place::new(Layout::Commodity, &commodities, 3).await;
    let units = vec![unit(
        0,
        "coffee",
        "naive",
        &spec("naive"),
        Layout::Commodity,
    )];
    for plan in [
        place.train_plan(&commodities, units.clone()),
        place.forecast_plan(&commodities, units.clone()),
    ] {
        let physical = physical(&plan, 1).await;
        require_one_stage(&physical).unwrap();
        assert_eq!(physical.properties().partitioning.partition_count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_moves_rows_is_refused_and_not_run() {
    let commodities = ["coffee".to_owned(), "tea".to_owned()];
    let place = Place::new(Layout::Commodity, &commodities, 3).await;
    let scan = |alias: &str| {
        LogicalPlanBuilder::scan(alias, provider_as_source(place.sliced(&commodities)), None)
            .unwrap()
    };
    let by_date = scan("t")
        .aggregate(vec![col("date")], vec![max(col("close"))])
        .unwrap();
    let sorted = scan("t").sort([col("close").sort(true, false)]).unwrap();
    let united = scan("t").union(scan("t").build().unwrap()).unwrap();
    let joined = scan("a")
        .join(
            scan("b").build().unwrap(),
            datafusion::common::JoinType::Inner,
            (vec!["a.slice"], vec!["b.slice"]),
            None,
        )
        .unwrap();
    let engine = engine();
    for (plan, part) in [
        (by_date, "Repartition"),
        (sorted, "Merge"),
        (united, "Interleave"),
        (joined, "Join"),
    ] {
        let plan = plan.build().unwrap();
        match engine.run(plan, 2, &Silent).await.unwrap_err() {
            EngineError::NotOneStage { operator } => {
                assert!(operator.contains(part), "{operator}, {part}");
            }
            other => panic!("{other:?}"),
        }
    }
}
