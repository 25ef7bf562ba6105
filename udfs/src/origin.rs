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

    /// Why `paths` of step `step` (1-based) with this median are absurd, if they are.
    pub fn objection(&self, step: usize, lowest: f32, median: f64) -> Option<String> {
        const TIMES: f64 = 5.0;
        if self.positive && lowest < 0.0 {
            return Some(format!(
                "a path reaches {lowest} at step {step}, every observation is positive"
            ));
        }
        let last = *self.newest.back()?;
        let largest = self.largest_move[step.clamp(1, LONGEST_MOVE) - 1];
        // Half a unit in the last place of a stored FLOAT is no move.
        let rounding = last.abs() * f64::from(f32::EPSILON);
        ((median - last).abs() > TIMES * largest + rounding).then(|| {
            format!(
                "the median of step {step} is {median}, the last close is {last}, and the largest move of that \
                 length was {largest}"
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
    pub fn to_json(&self, state: &State) -> String {
        format!("{{{}}}", spliced(self, state))
    }

    pub fn from_json(text: &str) -> Result<(Self, State), Failure> {
        let (origin, state) = unspliced(text)
            .map_err(|reason| Failure::new("state_corrupt", format!("origin: {reason}")))?;
        Ok((origin, State::from_text(state)?))
    }
}
