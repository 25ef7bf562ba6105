//! Every plan, printed. A changed plan is a changed file here, read and agreed to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::manifest::UnitKey;
use almanac_delta::tables::{distributions, trained_models};
use almanac_delta::write::{RowSource, Target, WriteSpec};
use almanac_delta::{Layout, TableName};
use almanac_udfs::assign::{AssignUnits, SLICE, Unit};
use almanac_udfs::expand::{ExpandPaths, PATHS, POINTS};
use almanac_udfs::score::{Actuals, ScoreForecasts};
use almanac_udfs::spec::{ModelSpec, Regions};
use almanac_udfs::window::KeepWindow;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use insta::assert_snapshot;

use crate::Stamp;
use crate::forecasting::{Making, forecasting, scoring};
use crate::history::{covariate_columns, history};
use crate::present::{
    KeyRange, closes, commodities, model_states, present_actuals, present_points, regions,
};
use crate::schedule::{WantedForecast, WantedTraining, due_forecasts, due_trainings};

const D: i32 = 19_723;

fn table(name: TableName, layout: Layout) -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(name.def(&layout).schema))
}

/// The table as a sliced scan presents it.
fn sliced(name: TableName, layout: Layout) -> Arc<dyn TableProvider> {
    let schema = name.def(&layout).schema;
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(SLICE, DataType::Int32, false)));
    Arc::new(EmptyTable::new(Arc::new(Schema::new(fields))))
}

fn printed(plan: &LogicalPlan) -> String {
    plan.display_indent().to_string()
}

fn range() -> KeyRange {
    KeyRange {
        commodities: vec!["coffee".to_owned(), "sugar".to_owned()],
        model_names: vec!["naive".to_owned()],
        model_version: "v1".to_owned(),
        start: D,
        end: D + 30,
    }
}

fn stamp() -> Stamp {
    Stamp {
        run_id: "RUN".to_owned(),
        at_micros: 0,
        created_by: "almanac".to_owned(),
    }
}

fn units(wanted: &[i32]) -> AssignUnits {
    let unit = Unit {
        slice: 0,
        series_bucket: None,
        commodity: "coffee".to_owned(),
        model_name: "naive".to_owned(),
        model_version: "v1".to_owned(),
        training_date: D,
        spec: ModelSpec::of_family("naive").to_json(),
        state: None,
        wanted: wanted.to_vec(),
        covariates: vec![],
        from: D - 400,
        until: D,
    };
    AssignUnits {
        units: Arc::new(vec![unit]),
        closed: Arc::default(),
    }
}

fn target(targets: Vec<(TableName, RowSource)>, date: &str) -> Arc<WriteSpec> {
    Arc::new(WriteSpec {
        store_url: "file:///".to_owned(),
        root: "lake".to_owned(),
        layout: Layout::Commodity,
        targets: targets
            .into_iter()
            .map(|(table, source)| Target { table, source })
            .collect(),
        date_column: date.to_owned(),
        slices: BTreeMap::from([(0, "SLICE".to_owned())]),
        attempt: "ATTEMPT".to_owned(),
        offload: None,
    })
}

fn spec(regions: Regions, covariates: &[&str]) -> ModelSpec {
    let mut spec = ModelSpec::of_family("linear_regression");
    spec.regions = regions;
    spec.covariates = covariates.iter().map(|name| (*name).to_owned()).collect();
    spec
}

#[test]
fn history_reduces_regions_in_one_grouping() {
    let source = sliced(TableName::UnifiedData, Layout::Commodity);
    let plan = history(&source, &BTreeSet::new(), KeepWindow::ALL).unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Aggregate: groupBy=[[slice, commodity, date]], aggr=[[region_first(close, region) AS close, sum(table_rows) AS table_rows]]
      KeepWindow: -2147483648 <= date < 2147483647
        TableScan: unified_data projection=[date, commodity, region, close, slice]
    "#);
}

#[test]
fn history_reduces_each_covariate_as_its_model_asks() {
    let source = sliced(TableName::UnifiedData, Layout::Commodity);
    let specs = [
        spec(Regions::Mean, &["temp_mean_c", "vix"]),
        spec(Regions::First, &["vix"]),
        spec(Regions::Pivot, &["temp_mean_c@minas", "vix"]),
    ];
    let columns: BTreeSet<_> = specs.iter().flat_map(covariate_columns).collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        ["temp_mean_c", "temp_mean_c@minas", "vix", "vix:first"]
    );
    let plan = history(&source, &columns, KeepWindow::ALL).unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Aggregate: groupBy=[[slice, commodity, date]], aggr=[[region_first(close, region) AS close, sum(table_rows) AS table_rows, region_mean(CAST(temp_mean_c AS Float64)) AS temp_mean_c, region_mean(CAST(temp_mean_c AS Float64)) FILTER (WHERE region = Utf8("minas")) AS temp_mean_c@minas, region_mean(CAST(vix AS Float64)) AS vix, region_first(CAST(vix AS Float64), region) AS vix:first]]
      KeepWindow: -2147483648 <= date < 2147483647
        TableScan: unified_data projection=[date, commodity, region, close, slice, temp_mean_c, vix]
    "#);
}

#[test]
fn history_names_a_column_that_is_not_there() {
    let source = sliced(TableName::UnifiedData, Layout::Commodity);
    let columns = covariate_columns(&spec(Regions::Mean, &["moon_phase"]));
    let error = history(&source, &columns.into_iter().collect(), KeepWindow::ALL).unwrap_err();
    assert!(
        error.to_string().contains("no column `moon_phase`"),
        "{error}"
    );
}

#[test]
fn due_trainings_are_wanted_ones_without_a_model() {
    let wanted = WantedTraining {
        commodity: "coffee".to_owned(),
        model_name: "naive".to_owned(),
        period: D,
        date: D + 1,
    };
    let models = table(TableName::TrainedModels, Layout::Commodity);
    let plan = due_trainings(&[wanted], &models, &range()).unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Sort: wanted.commodity ASC NULLS LAST, wanted.model_name ASC NULLS LAST, wanted.due ASC NULLS LAST
      LeftAnti Join: wanted.commodity = model.commodity, wanted.model_name = model.model_name Filter: model.training_date BETWEEN wanted.period AND wanted.due
        TableScan: wanted
        SubqueryAlias: model
          Projection: trained_models.commodity, trained_models.model_name, trained_models.training_date, trained_models.data_cutoff_date, trained_models.parameters, trained_models.input_digest
            Filter: trained_models.model_version = Utf8("v1") AND trained_models.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND trained_models.model_name IN ([Utf8("naive")]) AND trained_models.is_active IS NOT FALSE AND trained_models.training_date <= Date32("2024-01-31")
              TableScan: trained_models projection=[commodity, model_name, model_version, training_date, data_cutoff_date, parameters, input_digest, is_active]
    "#);
}

#[test]
fn due_forecasts_are_missing_ones_with_the_model_as_of_their_day() {
    let wanted = WantedForecast {
        commodity: "coffee".to_owned(),
        model_name: "naive".to_owned(),
        date: D,
    };
    let plan = due_forecasts(
        &[wanted],
        &table(TableName::Distributions, Layout::Commodity),
        &table(TableName::TrainedModels, Layout::Commodity),
        &range(),
        2000,
    )
    .unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Sort: wanted.commodity ASC NULLS LAST, wanted.model_name ASC NULLS LAST, wanted.day ASC NULLS LAST
      Aggregate: groupBy=[[wanted.commodity, wanted.model_name, wanted.day]], aggr=[[max(model.training_date) AS training_date]]
        Left Join: wanted.commodity = model.commodity, wanted.model_name = model.model_name Filter: model.training_date <= wanted.day
          LeftAnti Join: wanted.commodity = present.commodity, wanted.model_name = present.model_name, wanted.day = present.forecast_start_date
            TableScan: wanted
            SubqueryAlias: present
              Aggregate: groupBy=[[distributions.commodity, distributions.model_name, distributions.forecast_start_date]], aggr=[[max(distributions.path_id) AS newest_path, count(Int32(1)) AS looked_at, max(distributions.revision) AS revision, max(distributions.input_digest) AS input_digest]]
                Filter: distributions.path_id IN ([Int32(1), Int32(2000), Int32(2001)]) AND distributions.model_version = Utf8("v1") AND distributions.forecast_start_date BETWEEN Date32("2024-01-01") AND Date32("2024-01-31") AND distributions.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND distributions.model_name IN ([Utf8("naive")]) AND distributions.is_actuals IS NOT TRUE
                  TableScan: distributions projection=[path_id, forecast_start_date, model_version, commodity, model_name, is_actuals, revision, input_digest]
          SubqueryAlias: model
            Projection: trained_models.commodity, trained_models.model_name, trained_models.training_date, trained_models.data_cutoff_date, trained_models.parameters, trained_models.input_digest
              Filter: trained_models.model_version = Utf8("v1") AND trained_models.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND trained_models.model_name IN ([Utf8("naive")]) AND trained_models.is_active IS NOT FALSE AND trained_models.training_date <= Date32("2024-01-31")
                TableScan: trained_models projection=[commodity, model_name, model_version, training_date, data_cutoff_date, parameters, input_digest, is_active]
    "#);
}

#[test]
fn training_is_a_scan_two_groupings_and_a_write() {
    let plan = crate::training::training(
        &sliced(TableName::UnifiedData, Layout::Commodity),
        &BTreeSet::new(),
        units(&[]),
        &stamp(),
        target(
            vec![(TableName::TrainedModels, RowSource::Rows)],
            trained_models::TRAINING_DATE,
        ),
    )
    .unwrap();
    assert_snapshot!(printed(&plan), @r#"
    WriteTables: forecast.trained_models in 1 slices
      Projection: slice, series_bucket, commodity, model_name, model_version, training_date, concat(commodity, Utf8("_"), model_name, Utf8("_"), CAST(training_date AS Utf8), Utf8("_"), model_version) AS model_id, get_field(trained, Utf8("training_samples")) AS training_samples, get_field(trained, Utf8("training_start_date")) AS training_start_date, get_field(trained, Utf8("data_cutoff_date")) AS data_cutoff_date, parameters, get_field(trained, Utf8("state")) AS fitted_model_json, Utf8(NULL) AS fitted_model_s3_path, CAST(octet_length(get_field(trained, Utf8("state"))) AS Int64) AS model_size_bytes, encode(sha256(get_field(trained, Utf8("state"))), Utf8("hex")) AS state_sha256, get_field(trained, Utf8("input_digest")) AS input_digest, get_field(trained, Utf8("training_loss")) AS training_loss, get_field(trained, Utf8("validation_loss")) AS validation_loss, get_field(trained, Utf8("training_seconds")) AS training_seconds, TimestampMicrosecond(0, Some("UTC")) AS created_at, Utf8("almanac") AS created_by, Utf8("RUN") AS run_id, Boolean(true) AS is_active, CAST(date_part(Utf8("year"), training_date) AS Int32) AS year, CAST(date_part(Utf8("month"), training_date) AS Int32) AS month, get_field(trained, Utf8("error_class")) AS error_class, get_field(trained, Utf8("error_message")) AS error_message, scanned_rows, scanned_newest
        Aggregate: groupBy=[[slice, series_bucket, commodity, model_name, model_version, training_date]], aggr=[[train(spec, date, close, covariates) AS trained, max(spec) AS parameters, max(scanned_rows) AS scanned_rows, max(scanned_newest) AS scanned_newest]]
          AssignUnits: 1 units, 0 wanted dates
            Aggregate: groupBy=[[slice, commodity, date]], aggr=[[region_first(close, region) AS close, sum(table_rows) AS table_rows]]
              KeepWindow: 19323 <= date < 19723
                TableScan: unified_data projection=[date, commodity, region, close, slice]
    "#);
}

#[test]
fn forecasting_writes_paths_and_points_from_one_pass() {
    let covariates = covariate_columns(&spec(Regions::Mean, &["vix"]));
    let plan = forecasting(
        &sliced(TableName::UnifiedData, Layout::Commodity),
        &covariates.into_iter().collect(),
        units(&[D, D + 1]),
        ExpandPaths {
            paths: 2000,
            horizon: 14,
        },
        (
            &stamp(),
            Making {
                today: D,
                revision: 0,
            },
        ),
        target(
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
    .unwrap();
    assert_snapshot!(printed(&plan), @r#"
    WriteTables: forecast.distributions, forecast.point_forecasts in 1 slices
      Projection: slice, series_bucket, commodity, model_name, model_version, forecast_start_date, data_cutoff_date, input_digest, paths, points, error_class, error_message, scanned_rows, scanned_newest, TimestampMicrosecond(0, Some("UTC")) AS generation_timestamp, Boolean(false) AS is_actuals, CASE WHEN forecast_start_date <= data_cutoff_date THEN Boolean(true) ELSE Boolean(false) END AS has_data_leakage, CASE WHEN forecast_start_date = Date32("2024-01-01") THEN Utf8("live") ELSE Utf8("backfill") END AS origin, Int32(0) AS revision, Utf8("RUN") AS run_id, Boolean(true) AS model_success
        ExpandPaths: 2000 paths, 14 days
          Aggregate: groupBy=[[slice, series_bucket, commodity, model_name, model_version, training_date]], aggr=[[forecast(spec, state, date, close, covariates, wanted, closed) AS origins, max(scanned_rows) AS scanned_rows, max(scanned_newest) AS scanned_newest]]
            AssignUnits: 1 units, 2 wanted dates
              Aggregate: groupBy=[[slice, commodity, date]], aggr=[[region_first(close, region) AS close, sum(table_rows) AS table_rows, region_mean(CAST(vix AS Float64)) AS vix]]
                KeepWindow: 19323 <= date < 19723
                  TableScan: unified_data projection=[date, commodity, region, close, slice, vix]
    "#);
}

#[test]
fn scoring_measures_where_forecasting_expands() {
    let plan = scoring(
        &sliced(TableName::UnifiedData, Layout::Commodity),
        &BTreeSet::new(),
        units(&[D]),
        ScoreForecasts {
            paths: 2000,
            actuals: Arc::new(BTreeMap::from([(
                "Coffee".to_owned(),
                Actuals::new(&[1.0, 2.0]),
            )])),
        },
    )
    .unwrap();
    assert_snapshot!(printed(&plan), @r#"
    ScoreForecasts: 2000 paths, 1 series
      Aggregate: groupBy=[[slice, series_bucket, commodity, model_name, model_version, training_date]], aggr=[[forecast(spec, state, date, close, covariates, wanted, closed) AS origins, max(scanned_rows) AS scanned_rows, max(scanned_newest) AS scanned_newest]]
        AssignUnits: 1 units, 1 wanted dates
          Aggregate: groupBy=[[slice, commodity, date]], aggr=[[region_first(close, region) AS close, sum(table_rows) AS table_rows]]
            KeepWindow: 19323 <= date < 19723
              TableScan: unified_data projection=[date, commodity, region, close, slice]
    "#);
}

fn key(commodity: &str, date: i32) -> UnitKey {
    UnitKey {
        commodity: commodity.to_owned(),
        model_name: "naive".to_owned(),
        model_version: "v1".to_owned(),
        date,
    }
}

fn points_plan(layout: Layout, keys: &[UnitKey]) -> LogicalPlan {
    crate::points::points(
        &sliced(TableName::Distributions, layout),
        keys,
        true,
        target(
            vec![(
                TableName::PointForecasts,
                RowSource::Unnest(POINTS.to_owned()),
            )],
            distributions::FORECAST_START_DATE,
        ),
    )
    .unwrap()
}

#[test]
fn points_read_the_paths_of_their_keys_and_nothing_else() {
    let keys = [key("coffee", D), key("coffee", D + 1), key("sugar", D)];
    assert_snapshot!(printed(&points_plan(Layout::Commodity, &keys)), @r#"
    WriteTables: forecast.point_forecasts in 1 slices
      Projection: slice, commodity, model_name, model_version, forecast_start_date, data_cutoff_date, generation_timestamp, input_digest, has_data_leakage, revision, run_id, points, error_class, error_message, scanned_rows, scanned_newest, Boolean(true) AS model_success, Int32(NULL) AS series_bucket
        SummarizePaths: point forecasts of whole keys
          Projection: distributions.slice, distributions.commodity, distributions.model_name, distributions.model_version, distributions.forecast_start_date, distributions.data_cutoff_date, distributions.generation_timestamp, distributions.input_digest, distributions.has_data_leakage, distributions.revision, distributions.run_id, distributions.path_id, distributions.day_1, distributions.day_2, distributions.day_3, distributions.day_4, distributions.day_5, distributions.day_6, distributions.day_7, distributions.day_8, distributions.day_9, distributions.day_10, distributions.day_11, distributions.day_12, distributions.day_13, distributions.day_14
            Filter: distributions.commodity = Utf8("coffee") AND distributions.model_name = Utf8("naive") AND distributions.model_version = Utf8("v1") AND distributions.forecast_start_date IN ([Date32("2024-01-01"), Date32("2024-01-02")]) OR distributions.commodity = Utf8("sugar") AND distributions.model_name = Utf8("naive") AND distributions.model_version = Utf8("v1") AND distributions.forecast_start_date IN ([Date32("2024-01-01")])
              TableScan: distributions projection=[slice, commodity, model_name, model_version, forecast_start_date, data_cutoff_date, generation_timestamp, input_digest, has_data_leakage, revision, run_id, path_id, day_1, day_2, day_3, day_4, day_5, day_6, day_7, day_8, day_9, day_10, day_11, day_12, day_13, day_14]
    "#);
}

#[test]
fn what_is_there_is_asked_by_key_and_never_by_path() {
    let range = range();
    let names = &range.commodities;
    let points = table(TableName::PointForecasts, Layout::Commodity);
    assert_snapshot!(printed(&present_points(&points, &range).unwrap()), @r#"
    Aggregate: groupBy=[[point_forecasts.commodity, point_forecasts.model_name, point_forecasts.forecast_start_date]], aggr=[[max(point_forecasts.day_ahead) AS day_ahead, count(Int32(1)) AS rows, max(point_forecasts.revision) AS revision, max(point_forecasts.input_digest) AS input_digest]]
      Filter: point_forecasts.model_version = Utf8("v1") AND point_forecasts.forecast_start_date BETWEEN Date32("2024-01-01") AND Date32("2024-01-31") AND point_forecasts.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND point_forecasts.model_name IN ([Utf8("naive")])
        TableScan: point_forecasts projection=[forecast_start_date, day_ahead, model_version, commodity, model_name, revision, input_digest]
    "#);
    let models = table(TableName::TrainedModels, Layout::Commodity);
    assert_snapshot!(printed(&model_states(&models, &range, &[D]).unwrap()), @r#"
    Filter: trained_models.model_version = Utf8("v1") AND trained_models.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND trained_models.model_name IN ([Utf8("naive")]) AND trained_models.is_active IS NOT FALSE AND trained_models.training_date IN ([Date32("2024-01-01")])
      TableScan: trained_models projection=[commodity, model_name, model_version, training_date, parameters, fitted_model_json, fitted_model_s3_path, state_sha256, is_active]
    "#);
    let paths = table(TableName::Distributions, Layout::Commodity);
    let actuals = present_actuals(&paths, names, (D, D + 30)).unwrap();
    assert_snapshot!(printed(&actuals), @r#"
    Projection: distributions.commodity, distributions.forecast_start_date, distributions.input_digest
      Filter: distributions.model_version = Utf8("actuals") AND distributions.forecast_start_date BETWEEN Date32("2024-01-01") AND Date32("2024-01-31") AND distributions.commodity IN ([Utf8("coffee"), Utf8("sugar")])
        TableScan: distributions projection=[commodity, forecast_start_date, model_version, input_digest]
    "#);
}

#[test]
fn closes_and_regions_are_read_of_their_series_and_days() {
    let data = table(TableName::UnifiedData, Layout::Commodity);
    let names = &range().commodities;
    assert_snapshot!(printed(&closes(&data, names, (D, D + 30)).unwrap()), @r#"
    Sort: unified_data.commodity ASC NULLS LAST, unified_data.date ASC NULLS LAST
      Aggregate: groupBy=[[unified_data.commodity, unified_data.date]], aggr=[[region_first(unified_data.close, unified_data.region) AS close]]
        Filter: unified_data.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND unified_data.close IS NOT NULL AND unified_data.date BETWEEN Date32("2024-01-01") AND Date32("2024-01-31")
          TableScan: unified_data projection=[date, commodity, region, close]
    "#);
    assert_snapshot!(printed(&commodities(&data).unwrap()), @r#"
    Sort: unified_data.commodity ASC NULLS LAST
      Distinct:
        TableScan: unified_data projection=[commodity]
    "#);
    assert_snapshot!(printed(&regions(&data, "volume", names, D).unwrap()), @r#"
    Sort: unified_data.region ASC NULLS LAST
      Distinct:
        Projection: unified_data.region
          Filter: unified_data.commodity IN ([Utf8("coffee"), Utf8("sugar")]) AND unified_data.volume IS NOT NULL AND unified_data.date < Date32("2024-01-01")
            TableScan: unified_data projection=[date, commodity, region, volume]
    "#);
}

#[test]
fn points_of_no_keys_read_nothing() {
    let plan = printed(&points_plan(Layout::Commodity, &[]));
    assert!(plan.contains("Filter: Boolean(false)"), "{plan}");
}

#[test]
fn points_carry_the_bucket_of_lakes_that_have_buckets() {
    let bucketed = points_plan(Layout::Buckets(8), &[key("coffee", D)]);
    assert!(printed(&bucketed).contains("series_bucket"));
    let plain = points_plan(Layout::Commodity, &[key("coffee", D)]);
    assert!(printed(&plain).contains("Int32(NULL) AS series_bucket"));
}

#[test]
fn present_stretches_are_of_first_paths() {
    let table = table(TableName::Distributions, Layout::Commodity);
    let plan = crate::coverage::present_stretches(&table).unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Sort: distributions.commodity ASC NULLS LAST, distributions.model_name ASC NULLS LAST, distributions.model_version ASC NULLS LAST, first_date ASC NULLS LAST
      Aggregate: groupBy=[[distributions.commodity, distributions.model_name, distributions.model_version, apart]], aggr=[[min(date) AS first_date, max(date) AS last_date, bool_or(live) AS live]]
        Projection: distributions.commodity, distributions.model_name, distributions.model_version, date, live, CAST(CAST(date AS Int32) AS Int64) - CAST(number AS Int64) AS apart
          WindowAggr: windowExpr=[[row_number() PARTITION BY [distributions.commodity, distributions.model_name, distributions.model_version] ORDER BY [date ASC NULLS LAST] ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS number]]
            Projection: distributions.commodity, distributions.model_name, distributions.model_version, distributions.forecast_start_date AS date, distributions.origin = Utf8("live") AS live
              Filter: distributions.path_id = Int32(1) AND distributions.is_actuals IS NOT TRUE
                TableScan: distributions projection=[path_id, forecast_start_date, model_version, commodity, model_name, is_actuals, origin]
    "#);
}

#[test]
fn failed_stretches_are_of_forecasts_each_day_once() {
    let table = table(TableName::JobFailures, Layout::Commodity);
    let plan = crate::coverage::failed_stretches(&table).unwrap();
    assert_snapshot!(printed(&plan), @r#"
    Sort: job_failures.commodity ASC NULLS LAST, job_failures.model_name ASC NULLS LAST, job_failures.model_version ASC NULLS LAST, first_date ASC NULLS LAST
      Aggregate: groupBy=[[job_failures.commodity, job_failures.model_name, job_failures.model_version, apart]], aggr=[[min(date) AS first_date, max(date) AS last_date, bool_or(live) AS live]]
        Projection: job_failures.commodity, job_failures.model_name, job_failures.model_version, date, live, CAST(CAST(date AS Int32) AS Int64) - CAST(number AS Int64) AS apart
          WindowAggr: windowExpr=[[row_number() PARTITION BY [job_failures.commodity, job_failures.model_name, job_failures.model_version] ORDER BY [date ASC NULLS LAST] ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS number]]
            Distinct:
              Projection: job_failures.commodity, job_failures.model_name, job_failures.model_version, job_failures.date AS date, Boolean(false) AS live
                Filter: job_failures.stage IN ([Utf8("forecast"), Utf8("freshness")]) AND job_failures.date IS NOT NULL
                  TableScan: job_failures projection=[stage, commodity, model_name, model_version, date]
    "#);
}
