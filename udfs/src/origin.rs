//! What surrounds a forecaster's state: the fit as it is stored, and the origin from which paths
//! are drawn.

use std::collections::VecDeque;

use almanac_forecasters::{Day, Digest, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The longest move that the guard against absurd output remembers, in steps.
const LONGEST_MOVE: usize = 14;

/// Version of the stored form of [`Fit`].
const FORMAT: u32 = 1;

/// How far the series has moved within 1 … 14 steps, and whether it was ever not positive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The newest values, oldest first, at most one more than the longest move.
    newest: VecDeque<f64>,
    /// `largest_move[k - 1]` is the largest absolute difference between values `k` steps apart.
    largest_move: Vec<f64>,
    /// Whether every value was positive.
    positive: bool,
}

impl Range {
    fn of(values: &[f64]) -> Self {
        let mut range = Self {
            newest: VecDeque::with_capacity(LONGEST_MOVE + 1),
            largest_move: vec![0.0; LONGEST_MOVE],
            positive: true,
        };
        values.iter().for_each(|value| range.push(*value));
        range
    }

    fn push(&mut self, value: f64) {
        self.positive &= value > 0.0;
        for (largest, before) in self.largest_move.iter_mut().zip(self.newest.iter().rev()) {
            *largest = largest.max((value - before).abs());
        }
        if self.newest.len() > LONGEST_MOVE {
            self.newest.pop_front();
        }
        self.newest.push_back(value);
    }

    /// Why `paths` of step `step` (1-based) with this median are absurd, if they are: the largest
    /// move counts that is not longer than the step.
    pub fn objection(&self, step: usize, lowest: f32, median: f64) -> Option<String> {
        const TIMES: f64 = 5.0;
        if self.positive && lowest < 0.0 {
            return Some(format!(
                "a path reaches {lowest} at step {step}, every observation is positive"
            ));
        }
        let last = *self.newest.back()?;
        // A periodic series hardly moves over a whole period: shorter moves count as well.
        let largest = self.largest_move[..step.clamp(1, LONGEST_MOVE)]
            .iter()
            .copied()
            .fold(0.0, f64::max);
        // Half a unit in the last place of a stored FLOAT is no move.
        let rounding = last.abs() * f64::from(f32::EPSILON);
        ((median - last).abs() > TIMES * largest + rounding).then(|| {
            format!(
                "the median of step {step} is {median}, the last close is {last}, and the largest move of up to \
                 that length was {largest}"
            )
        })
    }

    pub fn last(&self) -> Option<f64> {
        self.newest.back().copied()
    }
}

/// A fitted model as it is stored: the forecaster's state and what conditioning needs besides.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The forecaster's own state.
    pub state: State,
    /// What conditioning needs besides.
    pub around: Around,
}

/// What surrounds a state in a stored fit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    /// Date of the newest value in the state.
    pub last_date: Day,
    /// Newest date of anything that was read, covariates included.
    pub cutoff: Day,
    /// Digest of all that was read, in date order.
    pub digest: Digest,
    /// The guard against absurd output.
    pub range: Range,
}

impl Fit {
    pub fn of(state: State, dates: &[Day], values: &[f64], cutoff: Day, digest: Digest) -> Self {
        let last_date = dates.last().copied().unwrap_or(cutoff);
        Self {
            state,
            around: Around {
                last_date,
                cutoff,
                digest,
                range: Range::of(values),
            },
        }
    }

    /// JSON that begins with the model's name and the format's version.
    pub fn to_json(&self) -> String {
        format!(
            "{{{},{}}}",
            header(&self.state),
            spliced(&self.around, &self.state)
        )
    }

    pub fn from_json(text: &str) -> Result<Self, Failure> {
        let corrupt =
            |reason: &str| Failure::new("state_corrupt", format!("stored state: {reason}"));
        let (around, state) = unspliced(text).map_err(|reason| corrupt(&reason))?;
        let state = State::from_text(state)?;
        if !text.starts_with(&format!("{{{},", header(&state))) {
            let found: String = text.chars().take(60).collect();
            let message = format!(
                "stored state begins `{found}`, this build reads `{{{}`",
                header(&state)
            );
            return Err(Failure::new("state_format", message));
        }
        Ok(Self { state, around })
    }

    /// Takes a newer value into the guard.
    pub fn observe(&mut self, date: Day, value: f64) {
        self.around.last_date = date;
        self.around.range.push(value);
    }
}

fn header(state: &State) -> String {
    format!("\"model\":\"{}\",\"format\":{FORMAT}", state.model())
}

/// `"around":…,"state":…`: a state's text is kept as it is, to the byte.
fn spliced<T: Serialize>(around: &T, state: &State) -> String {
    let around = serde_json::to_string(around).expect("what surrounds a state is plain data");
    format!("\"around\":{around},\"state\":{}", state.as_str())
}

fn unspliced<T: DeserializeOwned>(text: &str) -> Result<(T, String), String> {
    const AROUND: &str = "\"around\":";
    let start = text.find(AROUND).ok_or("it has no `around`")? + AROUND.len();
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<T>();
    let around = values
        .next()
        .ok_or("it ends early")?
        .map_err(|error| error.to_string())?;
    let rest = &text[start + values.byte_offset()..];
    let state = rest
        .strip_prefix(",\"state\":")
        .and_then(|rest| rest.strip_suffix('}'));
    Ok((around, state.ok_or("it has no `state`")?.to_owned()))
}

/// All that is needed to draw the paths of one forecast, beside the conditioned state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Origin {
    /// The forecaster family.
    pub family: String,
    /// For each day of the horizon the step whose value it shows; 0 is the last close.
    pub steps: Vec<u16>,
    /// The date of steps 1, 2, …, or the one expected where the calendar cannot know it.
    pub dates: Vec<Day>,
    /// The covariates' names.
    pub covariates: Vec<String>,
    /// Covariates for steps 1, 2, …; `None` when missing.
    pub regressors: Vec<Vec<Option<f64>>>,
    /// The guard against absurd output.
    pub range: Range,
    /// Part of the random stream's key.
    pub seed: u64,
    /// Whether `day_k` is a calendar date.
    pub dated: bool,
}

impl Origin {
    /// The dates of the first steps; those beyond the ones that are known go on as the last two.
    pub fn dates_of(&self, steps: usize) -> Vec<Day> {
        let mut dates: Vec<Day> = self.dates.iter().copied().take(steps).collect();
        let spacing = match self.dates.as_slice() {
            [.., before, last] => last - before,
            _ => 1,
        };
        while dates.len() < steps {
            dates.push(dates.last().map_or(0, |last| last + spacing));
        }
        dates
    }

    pub fn to_json(&self, state: &State) -> String {
        format!("{{{}}}", spliced(self, state))
    }

    pub fn from_json(text: &str) -> Result<(Self, State), Failure> {
        let (origin, state) = unspliced(text)
            .map_err(|reason| Failure::new("state_corrupt", format!("origin: {reason}")))?;
        Ok((origin, State::from_text(state)?))
    }
}

#[cfg(test)]
mod tests {
    use almanac_forecasters::{Params, Series, family};

    use super::*;

    const VALUES: [f64; 4] = [0.1 + 0.2, 1e-300, 12_345.678_901_234_567, f64::MAX / 3.0];

    fn fit() -> Fit {
        let dates = [1, 2, 3, 4];
        let history = Series {
            dates: &dates,
            values: &[0.1, 0.3, 0.1 + 0.2, 1.0 / 3.0],
            regressors: &[],
        };
        let naive = family("naive").unwrap();
        let state = naive.fit(history, &Params::default(), None).unwrap().state;
        let mut digest = Digest::new();
        digest.add_str("input");
        Fit::of(state, &dates, &VALUES, 5, digest)
    }

    #[test]
    fn a_fit_is_read_back_as_it_was_written() {
        let fit = fit();
        let text = fit.to_json();
        assert!(
            text.starts_with(r#"{"model":"naive","format":1,"around":"#),
            "{text}"
        );
        let read = Fit::from_json(&text).unwrap();
        assert_eq!(read.to_json(), text);
        assert_eq!(read.state, fit.state);
        assert_eq!(read.around.range, fit.around.range);
        assert_eq!(
            (
                read.around.last_date,
                read.around.cutoff,
                read.around.digest
            ),
            (4, 5, fit.around.digest)
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn a_fit_that_is_not_what_it_claims_is_refused() {
        let good = fit().to_json();
        let other_format = good.replacen("\"format\":1", "\"format\":2", 1);
        let other_model = good.replacen("naive", "random_walk", 1);
        let surplus = good.replacen("\"last_date\"", "\"code\":1,\"last_date\"", 1);
        let wrong_type = good.replacen("\"last_date\":4", "\"last_date\":\"4\"", 1);
        for (text, class) in [
            ("", "state_corrupt"),
            ("{}", "state_corrupt"),
            ("\u{80}\u{4}K.", "state_corrupt"),
            (&good[1..], "state_format"),
            (&format!("{good} "), "state_corrupt"),
            (&other_format, "state_format"),
            (&other_model, "state_format"),
            (&surplus, "state_corrupt"),
            (&wrong_type, "state_corrupt"),
        ] {
            let failure = Fit::from_json(text).unwrap_err();
            assert_eq!(failure.class, class, "{text}: {}", failure.message);
        }
        // A text that was cut is refused here, or by the model when it decodes its state.
        let nothing = Series {
            dates: &[],
            values: &[],
            regressors: &[],
        };
        let naive = family("naive").unwrap();
        for end in 0..good.len() {
            let usable = Fit::from_json(&good[..end])
                .is_ok_and(|fit| naive.condition(&fit.state, nothing).is_ok());
            assert!(!usable, "cut at {end}");
        }
    }

    #[test]
    fn a_median_within_five_times_the_largest_move_is_believed() {
        // One step: moves 1, 2, 1, the largest 2; two steps: 1, 1, but a shorter move was 2.
        let range = Range::of(&[10.0, 11.0, 9.0, 10.0]);
        assert_eq!(range.objection(1, 0.5, 20.0), None);
        assert_eq!(range.objection(1, 0.0, 0.0), None);
        let objection = range.objection(1, 0.5, 20.1).unwrap();
        assert!(
            objection.contains("20.1") && objection.contains("largest move"),
            "{objection}"
        );
        assert_eq!(range.objection(2, 0.5, 20.0), None);
        assert!(range.objection(2, 0.5, 20.1).is_some());
        assert!(range.objection(2, 0.5, -0.1).is_some());
    }

    #[test]
    fn a_flat_series_may_forecast_itself_rounded_to_a_float() {
        let range = Range::of(&[0.1; 40]);
        for step in [1, 14, 30] {
            assert_eq!(range.objection(step, 0.1, f64::from(0.1_f32)), None);
            assert!(range.objection(step, 0.1, 0.1001).is_some());
        }
    }

    #[test]
    fn negative_paths_are_absurd_only_where_no_value_was_negative() {
        let oil = Range::of(&[20.0, -37.63, 10.0]);
        assert_eq!(oil.objection(1, -50.0, 11.0), None);
        let coffee = Range::of(&[20.0, 37.63, 10.0]);
        assert_eq!(coffee.objection(1, 0.0, 11.0), None);
        assert!(
            coffee
                .objection(1, -0.01, 11.0)
                .unwrap()
                .contains("positive")
        );
    }

    #[test]
    fn the_longest_move_remembered_is_fourteen_steps() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let range = Range::of(&values);
        assert_eq!(
            range.largest_move,
            (1..15).map(f64::from).collect::<Vec<_>>()
        );
        assert_eq!((range.newest.len(), range.last()), (15, Some(99.0)));
        assert_eq!(range.objection(20, 1.0, 99.0 + 70.0), None);
        assert!(range.objection(20, 1.0, 99.0 + 70.1).is_some());
        let mut pushed = Range::of(&values[..50]);
        values[50..].iter().for_each(|value| pushed.push(*value));
        assert_eq!(pushed, range);
    }
}
