//! Point forecasts that are missing beside stored paths: after a crash between the two tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use almanac_delta::care::MINIMUM_RETENTION;
use almanac_delta::manifest::{SliceInput, UnitKey};
use almanac_delta::provider::SliceFiles;
use almanac_delta::tables::{distributions, point_forecasts};
use almanac_delta::write::RowSource;
use almanac_delta::{TableName, TableSnapshot};
use almanac_executor::EngineError;
use almanac_executor::rounds::{Slice, run_to_coverage};
use almanac_planner::points::points;
use almanac_planner::present::{KeyRange, present_points};
use datafusion::catalog::TableProvider;

use super::present::{Present, present_keys, refused};
use super::replace::{files_with_keys, without_keys};
use super::slices::{Cut, name};
use super::{Landed, Production, Tally, commit, forget, pin};
use crate::context::{Context, Rows};
use crate::error::JobError;

/// Present forecasts without point forecasts of the same revision and input. A key made with
/// another horizon is refused.
pub async fn missing(
    context: &Context,
    production: &Production,
    table: &TableSnapshot,
    range: &KeyRange,
    present: &BTreeMap<UnitKey, Present>,
) -> Result<Missing, JobError> {
    let days = i64::try_from(production.horizon).unwrap_or(i64::MAX);
    let mut there = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for batch in context
        .query(present_points(&context.source(table), range)?)
        .await?
    {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let key = rows.key(
                &range.model_version,
                point_forecasts::FORECAST_START_DATE,
                row,
            )?;
            let found = rows.number(point_forecasts::DAY_AHEAD, row)?;
            if found != days && present.contains_key(&key) {
                let stored = format!("a horizon of {found} days");
                return Err(refused(&key, &stored, &format!("--horizon {days}")));
            }
            let revision = rows.number(point_forecasts::REVISION, row)?;
            let input_digest = rows.text(point_forecasts::INPUT_DIGEST, row)?;
            let once = rows.number("rows", row)? == days;
            whole.extend(once.then(|| key.clone()));
            there.insert(
                key,
                Present {
                    revision,
                    input_digest,
                },
            );
        }
    }
    let made = |key: &UnitKey, made: &Present| whole.contains(key) && there.get(key) == Some(made);
    let keys: BTreeSet<UnitKey> = present
        .iter()
        .filter(|(key, present)| !made(key, present))
        .map(|(key, _)| key.clone())
        .collect();
    let outdated = keys
        .iter()
        .filter(|key| there.contains_key(key))
        .cloned()
        .collect();
    let orphans = there
        .into_keys()
        .filter(|key| !present.contains_key(key))
        .collect();
    Ok(Missing {
        paths: production.paths as u64,
        keys,
        outdated,
        orphans,
    })
}

/// How the point forecasts of a range differ from its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Paths of each forecast.
    paths: u64,
    /// Keys whose points must be made from their paths.
    pub keys: BTreeSet<UnitKey>,
    /// Those of them that have rows of an older revision, or rows twice.
    outdated: BTreeSet<UnitKey>,
    /// Keys with points and without paths: a delete that did not end, or one under way.
    pub orphans: BTreeSet<UnitKey>,
}

/// Makes the point forecasts of these keys from their paths, file by file.
pub async fn rebuild(
    context: &Context,
    table: &TableSnapshot,
    point_table: &TableSnapshot,
    Missing {
        paths,
        keys,
        outdated,
        ..
    }: Missing,
    tally: &mut Tally,
) -> Result<(), JobError> {
    let mut slices: Vec<Slice> = vec![];
    let mut files = vec![];
    for (index, found) in files_with_keys(context, table, &keys).await? {
        let id = i32::try_from(slices.len()).unwrap_or(i32::MAX);
        let file = &table.files()[index].path;
        let request = format!("points, distributions {}, file {file}", table.version());
        slices.push(Slice {
            id,
            name: name(&request, format!("{found:?}").as_bytes()),
            // All of its forecasts' paths and no others.
            input: Some(SliceInput {
                rows: i64::try_from(found.len() as u64 * paths).unwrap_or(i64::MAX),
                newest: found.iter().map(|key| key.date).max(),
            }),
            units: found,
            // The horizon that they were made with, which may be another than this request's.
            rows_per_unit: None,
        });
        files.push(SliceFiles {
            slice: id,
            files: vec![index],
        });
    }
    context
        .bar
        .stage("point forecasts".to_owned(), slices.len());
    let dated = context.lake.settings().calendar != "observed";
    let pinned = context.pinned(table);
    let plan = |some: &[&Slice]| {
        let wanted: BTreeSet<i32> = some.iter().map(|slice| slice.id).collect();
        let own = files
            .iter()
            .filter(|file| wanted.contains(&file.slice))
            .cloned()
            .collect();
        let source: Arc<dyn TableProvider> = Arc::new(pinned.clone().sliced(own));
        let keys: Vec<UnitKey> = some
            .iter()
            .flat_map(|slice| slice.units.iter().cloned())
            .collect();
        let target = vec![(
            TableName::PointForecasts,
            RowSource::Unnest(almanac_udfs::expand::POINTS.to_owned()),
        )];
        let spec = context.write_spec(target, distributions::FORECAST_START_DATE, Cut::named(some));
        points(&source, &keys, dated, spec).map_err(EngineError::from)
    };
    let half = MINIMUM_RETENTION / 2;
    let manifests = run_to_coverage(
        context.engine.as_ref(),
        &context.lake,
        &slices,
        half,
        &context.bar,
        plan,
    )
    .await?;
    let change = without_keys(context, point_table, &outdated).await?;
    match commit(context, point_table, &manifests, change, tally).await? {
        Landed::Yes => tally.points_rebuilt += keys.len() as u64,
        // The caller looks again on newer snapshots.
        Landed::PlanAgain => {}
    }
    forget(
        context,
        &slices
            .into_iter()
            .map(|slice| slice.name)
            .collect::<Vec<_>>(),
    )
    .await;
    Ok(())
}

/// Rebuilds until no point forecast of the range is missing.
pub async fn settle(
    context: &Context,
    production: &Production,
    range: &KeyRange,
    tally: &mut Tally,
) -> Result<(), JobError> {
    loop {
        let point_table = context.lake.table(TableName::PointForecasts).await?;
        let table = context.lake.table(TableName::Distributions).await?;
        pin(tally, &[&table, &point_table]);
        let present = present_keys(context, production, &table, range).await?;
        let missing = missing(context, production, &point_table, range, &present).await?;
        if missing.keys.is_empty() {
            return Ok(());
        }
        rebuild(context, &table, &point_table, missing, tally).await?;
    }
}
