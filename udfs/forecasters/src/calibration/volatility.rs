//! The deviation of the newest errors.

use serde::{Deserialize, Serialize};

use crate::{
    errors::StateError,
    math::{exp, ln, log1p},
    optimize::golden_section,
    state::corrupt,
};

/// The degrees of freedom of the errors over their deviation.
const DEGREES: f64 = 10.0;

/// The shortest and the longest memory of a spell, in observations.
const MEMORY: (f64, f64) = (8.0, 100.0);

/// The memory of what is usual.
const USUAL_MEMORY: f64 = 250.0;

/// The share by which a spell returns to what is usual with each observation.
const RETURN: f64 = 0.02;

/// As many of the newest observations tell the memory.
const MOST_OBSERVATIONS: usize = 2_000;

/// A variance that forgets: each error moves it towards the error's square, and it returns slowly to
/// what is usual, which moves as well but has a longer memory. Errors far beyond the deviation count
/// less, as the score of Student's t distribution has it (Harvey 2013, *Dynamic Models for Volatility
/// and Heavy Tails*, chapter 4; with plain squares and no return it is the exponentially weighted
/// moving average of RiskMetrics 1996).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volatility {
    /// Whether errors are taken as shares of what was predicted.
    relative: bool,
    /// The share that each error moves the variance.
    share: f64,
    variance: f64,
    usual: f64,
}

/// A prediction and what came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) predicted: f64,
    pub(crate) value: f64,
}

impl Observed {
    /// How far apart they are.
    pub(super) fn distance(&self) -> f64 {
        (self.value - self.predicted).abs()
    }
}

impl Volatility {
    /// The likeliest of what can be learned from some predictions, brought up to the last of them.
    /// Errors may be relative where all is positive.
    pub(super) fn learn(observed: &[Observed]) -> Volatility {
        let newest = observed.len().saturating_sub(MOST_OBSERVATIONS);
        let known = |one: &&Observed| (one.value - one.predicted).is_finite();
        let observed: Vec<Observed> = observed[newest..].iter().filter(known).copied().collect();
        let (loss, absolute) = Volatility::likeliest(&observed, false);
        if observed
            .iter()
            .all(|one| one.predicted > 0.0 && one.value > 0.0)
        {
            let (relative_loss, relative) = Volatility::likeliest(&observed, true);
            if relative_loss < loss {
                return relative;
            }
        }
        absolute
    }

    /// The loss of the likeliest memory, and what comes of it.
    fn likeliest(observed: &[Observed], relative: bool) -> (f64, Volatility) {
        let mut start = Volatility {
            relative,
            share: 1.0 / MEMORY.1,
            variance: 0.0,
            usual: 0.0,
        };
        let usual = start.mean_square(observed);
        if !(usual > 0.0 && usual.is_finite()) {
            return (f64::INFINITY, start);
        }
        (start.variance, start.usual) = (usual, usual);
        // The density of a share is that of the error, times what it is a share of.
        let levels: f64 = if relative {
            observed.iter().map(|one| ln(one.predicted.abs())).sum()
        } else {
            0.0
        };
        let run = |log_memory: f64| {
            let mut volatility = start.clone();
            volatility.share = exp(-log_memory);
            let mut loss = 0.0;
            for one in observed {
                let error = volatility.error(one);
                let variance = volatility.variance;
                loss += ln(variance)
                    + (DEGREES + 1.0) * log1p(error * error / variance / (DEGREES - 2.0));
                volatility.observe(*one);
            }
            (0.5 * loss + levels, volatility)
        };
        let memory = golden_section(ln(MEMORY.0), ln(MEMORY.1), 0.1, |memory| run(memory).0);
        run(memory)
    }

    /// The same memory, over other predictions from their start on.
    pub(super) fn over(&self, observed: &[Observed]) -> Volatility {
        let mut volatility = self.clone();
        let usual = self.mean_square(observed);
        if usual > 0.0 && usual.is_finite() {
            volatility.usual = usual;
        }
        volatility.variance = volatility.usual;
        observed.iter().for_each(|one| volatility.observe(*one));
        volatility
    }

    /// The mean square of the errors there are; NaN if there are none.
    fn mean_square(&self, observed: &[Observed]) -> f64 {
        let errors = observed.iter().map(|one| self.error(one));
        let (mut count, mut squares) = (0.0, 0.0);
        for error in errors.filter(|error| error.is_finite()) {
            count += 1.0;
            squares += error * error;
        }
        squares / count
    }

    fn error(&self, one: &Observed) -> f64 {
        let error = one.value - one.predicted;
        if self.relative {
            error / one.predicted.abs()
        } else {
            error
        }
    }

    /// Takes in what came.
    pub(super) fn observe(&mut self, one: Observed) {
        let error = self.error(&one);
        if !error.is_finite() || self.variance <= 0.0 {
            return;
        }
        let counted = |variance: f64| {
            let ratio = (error * error / variance).min(1e12);
            (DEGREES + 1.0) * ratio / (DEGREES - 2.0 + ratio) - 1.0
        };
        let usual = self.usual * (1.0 + counted(self.usual) / USUAL_MEMORY);
        let variance = self.variance * (1.0 + self.share * counted(self.variance));
        let variance = variance - RETURN * (variance - usual);
        // A long rest does not make later steps certain, nor do wild ones pass all bounds.
        self.usual = usual.clamp(f64::MIN_POSITIVE, f64::MAX);
        self.variance = variance.clamp(f64::MIN_POSITIVE, f64::MAX);
    }

    /// The deviation expected of the next error, when so much is predicted.
    pub(super) fn deviation(&self, predicted: f64) -> f64 {
        let deviation = self.variance.sqrt();
        if self.relative {
            deviation * predicted.abs()
        } else {
            deviation
        }
    }

    /// The root of the mean of the variances of the first steps, over that of the first.
    pub(super) fn growth(&self, steps: usize) -> f64 {
        if self.variance <= 0.0 {
            return 1.0;
        }
        let count = steps as f64;
        let share = (1.0 - exp(count * ln(1.0 - RETURN))) / (count * RETURN);
        let usual = self.usual / self.variance;
        (usual + (1.0 - usual) * share).max(0.0).sqrt()
    }

    pub(super) fn check(&self) -> Result<(), StateError> {
        let variances = [self.variance, self.usual];
        let sound = variances.iter().all(|v| v.is_finite() && *v >= 0.0);
        if sound && self.share > 0.0 && self.share < 1.0 {
            Ok(())
        } else {
            Err(corrupt("the errors have no such deviation"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    fn volatility(relative: bool) -> Volatility {
        Volatility {
            relative,
            share: 0.1,
            variance: 4.0,
            usual: 9.0,
        }
    }

    #[test]
    fn an_error_moves_the_variance_by_its_share_and_it_returns_a_little() {
        let mut found = volatility(false);
        // The error of 2 has the square expected and counts (10 + 1) / (10 - 2 + 1) times; against
        // the usual variance it counts 11 * (4 / 9) / (8 + 4 / 9) times.
        found.observe(Observed {
            predicted: 5.0,
            value: 7.0,
        });
        let usual = 9.0 * (1.0 + (11.0 * (4.0 / 9.0) / (8.0 + 4.0 / 9.0) - 1.0) / 250.0);
        let moved = 4.0 * (1.0 + 0.1 * (11.0 / 9.0 - 1.0));
        assert!((found.usual - usual).abs() < 1e-14);
        assert!((found.variance - (moved - 0.02 * (moved - usual))).abs() < 1e-14);
    }

    #[test]
    fn relative_errors_are_measured_by_the_prediction() {
        let mut found = volatility(true);
        let mut same = volatility(false);
        found.observe(Observed {
            predicted: 10.0,
            value: 40.0,
        });
        same.observe(Observed {
            predicted: 0.0,
            value: 3.0,
        });
        assert_eq!(found.variance, same.variance);
        assert_eq!(found.deviation(7.0), 7.0 * same.deviation(1.0));
    }

    #[test]
    fn one_wild_error_does_not_widen_all_that_comes() {
        let mut found = volatility(false);
        found.observe(Observed {
            predicted: 0.0,
            value: 1e200,
        });
        // It counts 11 times.
        assert!(found.variance < 4.0 * 2.1, "{found:?}");
        found.check().unwrap();
    }

    #[test]
    fn many_steps_ahead_the_variance_is_nearly_the_usual_one() {
        let calm = volatility(false);
        assert!((calm.growth(1) - 1.0).abs() < 1e-14);
        // 4, then 0.98 of the way from 9 to it: 4.1.
        assert!((calm.growth(2) - ((4.0 + 4.1) / 8.0f64).sqrt()).abs() < 1e-14);
        assert!((calm.growth(1_000_000) - 1.5).abs() < 1e-4);
    }

    #[test]
    fn memory_and_measure_are_learned() {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let mut level = 100.0;
        let mut truth = Volatility {
            relative: true,
            share: 0.06,
            variance: 4e-4,
            usual: 4e-4,
        };
        let observed: Vec<Observed> = (0..4_000)
            .map(|_| {
                let predicted = level;
                level *= 1.0 + truth.deviation(1.0) * rng.normal();
                let one = Observed {
                    predicted,
                    value: level,
                };
                truth.observe(one);
                one
            })
            .collect();
        let found = Volatility::learn(&observed);
        assert!(found.relative);
        assert!((0.03..0.12).contains(&found.share), "{found:?}");
        let ratio = found.deviation(level) / truth.deviation(level);
        assert!((ratio - 1.0).abs() < 0.15, "{ratio}");
    }
}
