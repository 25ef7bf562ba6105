//! What slices have written and no commit has taken up yet.

use std::collections::BTreeSet;

use almanac_delta::manifest::{Manifest, UnitFailure, UnitKey};
use almanac_delta::tables::job_failures::{STAGE_FORECAST, STAGE_TRAIN};

use super::{FailureRecord, Tally};

/// Models or forecasts that have been written and not yet committed.
#[derive(Default)]
pub struct Made {
    /// What the slices wrote.
    pub manifests: Vec<Manifest>,
    /// Their names.
    pub slices: Vec<String>,
    /// Units that could not even be tried.
    pub untried: Vec<UnitFailure>,
}

impl Made {
    /// The keys that were written.
    pub fn keys(&self) -> BTreeSet<UnitKey> {
        let keys = self.manifests.iter().flat_map(|manifest| &manifest.keys);
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// The units that have no result.
    pub fn failures(&self) -> impl Iterator<Item = &UnitFailure> {
        let written = self.manifests.iter();
        written
            .flat_map(|manifest| &manifest.failures)
            .chain(&self.untried)
    }

    fn count(&self) -> u64 {
        let counts = self.manifests.iter();
        counts.map(|manifest| manifest.keys.len() as u64).sum()
    }
}

impl Tally {
    /// Counts models that are committed, and those that failed beside them.
    pub(crate) fn models<'a>(
        &mut self,
        made: &Made,
        failures: impl Iterator<Item = &'a UnitFailure>,
    ) {
        self.trained += made.count();
        self.train_failed += self.failed(STAGE_TRAIN, failures);
    }

    /// Counts forecasts that are committed, and those that failed beside them.
    pub(crate) fn forecasts(&mut self, made: &Made) {
        self.forecasts += made.count();
        self.forecast_failed += self.failed(STAGE_FORECAST, made.failures());
    }

    fn failed<'a>(&mut self, stage: &str, failures: impl Iterator<Item = &'a UnitFailure>) -> u64 {
        let known = self.failures.len();
        self.failures
            .extend(failures.map(|failure| FailureRecord::of(stage, failure)));
        (self.failures.len() - known) as u64
    }
}
