//! Where a search begins: initial states from a decomposition of the history and a line through its
//! beginning (Hyndman, Koehler, Ord and Snyder, section 2.6.1).

use super::{
    form::{Form, Kind},
    recursion::States,
};
use crate::moments::mean;

/// Initial states of the forms with this season. `line` is the level before the first value and its
/// growth a step; `level` is that without trend.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    season: Vec<f64>,
    line: (f64, f64),
    level: f64,
}

impl Sketch {
    /// Of a history with at least two seasons, if there are any.
    pub(crate) fn of(values: &[f64], season: Kind, season_length: usize) -> Sketch {
        let figure = match season {
            Kind::None => vec![],
            _ => figure(values, season == Kind::Multiplicative, season_length),
        };
        let first = values.len().min((2 * season_length).max(10));
        let adjusted: Vec<f64> = values[..first]
            .iter()
            .enumerate()
            .map(|(index, value)| match season {
                Kind::None => *value,
                Kind::Additive => value - figure[index % season_length],
                Kind::Multiplicative => value / figure[index % season_length],
            })
            .collect();
        let line = line(&adjusted);
        let few = adjusted.len().min(season_length.max(3));
        Sketch {
            season: figure,
            line,
            level: mean(&adjusted[..few]),
        }
    }

    /// The states for a form.
    pub(crate) fn states(&self, form: Form) -> States {
        let (level, slope) = self.line;
        // A line that begins at or below zero is no start for factors.
        let sound = !form.positive() || level > 0.1 * self.level && level + slope > 0.0;
        let (level, growth) = match form.trend {
            Kind::None => (self.level, 0.0),
            Kind::Additive if sound => (level, slope),
            Kind::Additive => (self.level, 0.0),
            Kind::Multiplicative if sound => (level, (1.0 + slope / level).clamp(0.5, 2.0)),
            Kind::Multiplicative => (self.level, 1.0),
        };
        States {
            level,
            growth,
            season: self.season.clone(),
        }
    }
}

/// The seasonal figure of a classical decomposition: means of what a centered moving average
/// leaves, brought to the sum 0, or to the mean 1 where they are factors.
fn figure(values: &[f64], factors: bool, season_length: usize) -> Vec<f64> {
    let half = season_length / 2;
    let even = season_length.is_multiple_of(2);
    let window = season_length + usize::from(even);
    let mut sums = vec![(0.0, 0u32); season_length];
    for (index, around) in values.windows(window).enumerate() {
        let mut smooth: f64 = around.iter().sum();
        if even {
            smooth -= 0.5 * (around[0] + around[window - 1]);
        }
        smooth /= season_length as f64;
        let place = index + half;
        let left = if factors {
            values[place] / smooth
        } else {
            values[place] - smooth
        };
        let sum = &mut sums[place % season_length];
        sum.0 += left;
        sum.1 += 1;
    }
    let mut figure: Vec<f64> = sums
        .iter()
        .map(|(sum, count)| match count {
            0 if factors => 1.0,
            0 => 0.0,
            count => sum / f64::from(*count),
        })
        .collect();
    let center = mean(&figure);
    for state in &mut figure {
        // A factor at zero would be divided by.
        *state = if factors {
            (*state / center).max(0.01)
        } else {
            *state - center
        };
    }
    figure
}

/// Intercept (one step before the first value) and slope of the least squares line.
fn line(values: &[f64]) -> (f64, f64) {
    let center = 0.5 * (values.len() + 1) as f64;
    let average = mean(values);
    let (mut products, mut squares) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let place = (index + 1) as f64 - center;
        products += place * (value - average);
        squares += place * place;
    }
    let slope = if squares > 0.0 {
        products / squares
    } else {
        0.0
    };
    (average - slope * center, slope)
}
