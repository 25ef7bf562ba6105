//! Rounds of one stage, until every slice has a manifest and every manifest is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use almanac_delta::Lake;
use almanac_delta::manifest::{Manifest, SliceInput, UnitKey};
use datafusion::logical_expr::LogicalPlan;
use object_store::path::Path;

use crate::engine::{Engine, Progress};
use crate::error::EngineError;

/// How often slices are sent out before the job gives up.
const ROUNDS: usize = 4;

/// One slice as the driver knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its number in the plan.
    pub id: i32,
    /// Its name: a hash of request, data versions, code version and keys.
    pub name: String,
    /// What it must cover, as rows or as failures.
    pub units: BTreeSet<UnitKey>,
    /// Rows that each unit with a result must have in the first table, when that is known.
    pub rows_per_unit: Option<u64>,
    /// What it must read, when the snapshot tells.
    pub input: Option<SliceInput>,
}

/// Runs what has no manifest yet until all have one. `plan` makes the plan of some of the slices.
///
/// # Errors
/// When slices stay without a manifest, or a manifest does not say what it must.
pub async fn run_to_coverage(
    engine: &dyn Engine,
    lake: &Lake,
    slices: &[Slice],
    usable_for: Duration,
    progress: &dyn Progress,
    plan: impl Fn(&[&Slice]) -> Result<LogicalPlan, EngineError>,
) -> Result<Vec<Manifest>, EngineError> {
    let store = lake.store();
    let root = Path::default();
    let mut found: BTreeMap<&str, Manifest> = BTreeMap::new();
    // Manifests of an earlier run that died: all of a slice's keys are still missing, or the slice
    // would have another name.
    for slice in slices {
        if let Some(manifest) = Manifest::get(store.as_ref(), &root, &slice.name).await? {
            let age = now_ms().saturating_sub(manifest.created_ms);
            let young = u128::try_from(age).is_ok_and(|age| age < usable_for.as_millis());
            let exact = verify(slice, &manifest).inspect_err(|error| {
                tracing::warn!(%error, "a manifest of an earlier run is not believed: its slice runs again");
            });
            if young && exact.is_ok() && manifest.files_exist(store.as_ref(), &root).await? {
                progress.slice_done();
                found.insert(&slice.name, manifest);
            } else {
                Manifest::remove(&store, &root, std::slice::from_ref(&slice.name)).await?;
            }
        }
    }
    let mut last = None;
    for round in 1.. {
        let missing: Vec<&Slice> = slices
            .iter()
            .filter(|slice| !found.contains_key(slice.name.as_str()))
            .collect();
        if missing.is_empty() {
            break;
        }
        if round > ROUNDS {
            return Err(last.unwrap_or(EngineError::Incomplete {
                missing: missing.len(),
                wanted: slices.len(),
                rounds: ROUNDS,
            }));
        }
        let ended = engine.run(plan(&missing)?, missing.len(), progress).await;
        for slice in missing {
            if let Some(manifest) = Manifest::get(store.as_ref(), &root, &slice.name).await? {
                found.insert(&slice.name, manifest);
            }
        }
        match ended {
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                tracing::info!(%error, round, "a round lost slices; they go out again");
                last = Some(error);
            }
            Ok(()) => last = None,
        }
    }
    for slice in slices {
        if let Err(error) = verify(slice, &found[slice.name.as_str()]) {
            // A manifest that cannot be believed must not be found by the next run.
            Manifest::remove(&store, &root, std::slice::from_ref(&slice.name)).await?;
            return Err(error);
        }
    }
    Ok(found.into_values().collect())
}

fn verify(slice: &Slice, manifest: &Manifest) -> Result<(), EngineError> {
    let covered: BTreeSet<UnitKey> = manifest
        .keys
        .iter()
        .map(|(key, _)| key.clone())
        .chain(manifest.failures.iter().map(|failure| failure.key.clone()))
        .collect();
    if let Some(first) = covered.symmetric_difference(&slice.units).next() {
        return Err(EngineError::Coverage {
            slice: slice.name.clone(),
            found: covered.len(),
            wanted: slice.units.len(),
            first: first.clone(),
        });
    }
    if let Some(wanted) = slice.rows_per_unit
        && let Some((unit, rows)) = manifest.keys.iter().find(|(_, rows)| *rows != wanted)
    {
        return Err(EngineError::Rows {
            slice: slice.name.clone(),
            unit: unit.clone(),
            found: *rows,
            wanted,
        });
    }
    match (slice.input, manifest.input) {
        (Some(wanted), found) if found != Some(wanted) => Err(EngineError::Input {
            slice: slice.name.clone(),
            found: format!("{found:?}"),
            wanted: format!("{wanted:?}"),
        }),
        _ => Ok(()),
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
