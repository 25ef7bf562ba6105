//! STL: a seasonal and trend decomposition by local regression.
//!
//! Cleveland, Cleveland, McRae and Terpenning (1990), *STL: A Seasonal-Trend Decomposition
//! Procedure Based on Loess*, Journal of Official Statistics 6: the inner loop of section 3.3 (steps
//! 1 to 6) updates the season and the trend; the outer loop of section 3.4 gives less weight to
//! values that the two describe badly. The names of its parameters n(p), n(s), n(l), n(t), n(i)
//! and n(o) are those in brackets below.

use crate::loess::{Degree, Loess, Span};

/// The settings of a decomposition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Steps in a season (n(p)), at least 2.
    pub(crate) period: usize,
    /// How the values of one phase are smoothed over the seasons (n(s)).
    pub(crate) season: Span,
    /// How the trend is smoothed (n(t)).
    pub(crate) trend: Span,
    /// How what is left of the trend in the season is smoothed (n(l)).
    pub(crate) low_pass: Span,
    /// Updates of season and trend under one set of weights (n(i)).
    pub(crate) inner_loops: usize,
    /// Updates of the weights (n(o)).
    pub(crate) outer_loops: usize,
}

/// The components of a series; what is left of it is the remainder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Components {
    pub(crate) season: Vec<f64>,
    pub(crate) trend: Vec<f64>,
}

impl Settings {
    /// What the paper recommends for a period and a seasonal window (sections 3.5 and 5.1), without
    /// robustness: lines everywhere, curves evaluated at every `window / jumps`-th position.
    pub(crate) fn recommended(period: usize, window: usize, jumps: usize) -> Settings {
        let line = |window: usize| Span {
            window,
            degree: Degree::Line,
            jump: (window / jumps).max(1),
        };
        let smooth = 1.5 * period as f64 / (1.0 - 1.5 / window as f64);
        Settings {
            period,
            season: line(window),
            trend: line(next_odd(smooth)),
            low_pass: line(next_odd(period as f64)),
            inner_loops: 5,
            outer_loops: 0,
        }
    }
}

/// Decomposes at least two seasons of values.
pub(crate) fn decompose(values: &[f64], settings: Settings) -> Components {
    let length = values.len();
    let mut smoothers = Smoothers::new(length, settings);
    let mut components = Components {
        season: vec![0.0; length],
        trend: vec![0.0; length],
    };
    let mut weights = None;
    for outer in 0..=settings.outer_loops {
        for _ in 0..settings.inner_loops {
            smoothers.update(values, weights.as_deref(), &mut components);
        }
        if outer < settings.outer_loops {
            weights = Some(robustness(values, &components));
        }
    }
    components
}

/// The smoothers of a decomposition, and room to work in.
struct Smoothers {
    period: usize,
    /// Of the phases with one value more than the others, and of the others.
    phases: [Loess; 2],
    trend: Loess,
    low_pass: Loess,
    /// The season of one more period before and after the values.
    extended: Vec<f64>,
    work: Vec<f64>,
}

impl Smoothers {
    fn new(length: usize, settings: Settings) -> Smoothers {
        let seasons = length / settings.period;
        Smoothers {
            period: settings.period,
            phases: [seasons + 1, seasons].map(|count| Loess::new(count, settings.season, 1)),
            trend: Loess::new(length, settings.trend, 0),
            low_pass: Loess::new(length, settings.low_pass, 0),
            extended: vec![0.0; length + 2 * settings.period],
            work: vec![0.0; length],
        }
    }

    /// The six steps of the inner loop.
    fn update(&mut self, values: &[f64], weights: Option<&[f64]>, components: &mut Components) {
        let length = values.len();
        for (rest, (value, trend)) in self
            .work
            .iter_mut()
            .zip(values.iter().zip(&components.trend))
        {
            *rest = value - trend;
        }
        self.smooth_phases(weights);
        let once = moving_average(&self.extended, self.period);
        let twice = moving_average(&once, self.period);
        let thrice = moving_average(&twice, 3);
        self.low_pass.smooth(&thrice, None, &mut self.work);
        let inside = &self.extended[self.period..self.period + length];
        for (season, (with_trend, trend)) in components
            .season
            .iter_mut()
            .zip(inside.iter().zip(&self.work))
        {
            *season = with_trend - trend;
        }
        for (rest, (value, season)) in self
            .work
            .iter_mut()
            .zip(values.iter().zip(&components.season))
        {
            *rest = value - season;
        }
        self.trend
            .smooth(&self.work, weights, &mut components.trend);
    }

    /// Smooths what is in `work` phase by phase, from one season before to one after it.
    fn smooth_phases(&mut self, weights: Option<&[f64]>) {
        let of_phase = |values: &[f64], phase: usize| -> Vec<f64> {
            values
                .iter()
                .skip(phase)
                .step_by(self.period)
                .copied()
                .collect()
        };
        let longer = self.work.len() % self.period;
        for phase in 0..self.period {
            let values = of_phase(&self.work, phase);
            let weights = weights.map(|weights| of_phase(weights, phase));
            let mut curve = vec![0.0; values.len() + 2];
            self.phases[usize::from(phase >= longer)].smooth(
                &values,
                weights.as_deref(),
                &mut curve,
            );
            let places = self.extended.iter_mut().skip(phase).step_by(self.period);
            places.zip(curve).for_each(|(place, value)| *place = value);
        }
    }
}

/// The means of `count` neighboring values.
fn moving_average(values: &[f64], count: usize) -> Vec<f64> {
    let size = count as f64;
    let mut sum: f64 = values[..count].iter().sum();
    let mut means = Vec::with_capacity(values.len() + 1 - count);
    means.push(sum / size);
    for (new, old) in values[count..].iter().zip(values) {
        sum += new - old;
        means.push(sum / size);
    }
    means
}

/// The bisquare of each remainder relative to six times their median.
fn robustness(values: &[f64], components: &Components) -> Vec<f64> {
    let described = components.season.iter().zip(&components.trend);
    let remainders: Vec<f64> = values
        .iter()
        .zip(described)
        .map(|(value, (season, trend))| (value - season - trend).abs())
        .collect();
    let mut sorted = remainders.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        0.5 * (sorted[half - 1] + sorted[half])
    } else {
        sorted[half]
    };
    let reach = 6.0 * median;
    let weight = |remainder: f64| {
        if reach == 0.0 {
            return f64::from(u8::from(remainder == 0.0));
        }
        let share = (remainder / reach).min(1.0);
        (1.0 - share * share) * (1.0 - share * share)
    };
    remainders.into_iter().map(weight).collect()
}

/// The least odd number from `at_least` on that is larger than a whole number given.
fn next_odd(at_least: f64) -> usize {
    let next = at_least.ceil() as usize;
    next + usize::from(next.is_multiple_of(2))
}

/// The seasons of a series and its trend; what is left is the remainder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seasons {
    /// One component per season asked for, in that order.
    pub(crate) seasons: Vec<Vec<f64>>,
    pub(crate) trend: Vec<f64>,
}

/// Decomposes by several seasons, shortest first: each in turn is estimated anew from the series
/// without the others, `rounds` times (Bandara, Hyndman and Bergmeir 2021, algorithm 1).
pub(crate) fn decompose_all(values: &[f64], settings: &[Settings], rounds: usize) -> Seasons {
    let mut found = Seasons {
        seasons: vec![vec![0.0; values.len()]; settings.len()],
        trend: vec![0.0; values.len()],
    };
    let mut rest = values.to_vec();
    let rounds = if settings.len() == 1 { 1 } else { rounds };
    for _ in 0..rounds {
        for (season, settings) in found.seasons.iter_mut().zip(settings) {
            rest.iter_mut()
                .zip(&*season)
                .for_each(|(rest, season)| *rest += season);
            let components = decompose(&rest, *settings);
            *season = components.season;
            found.trend = components.trend;
            rest.iter_mut()
                .zip(&*season)
                .for_each(|(rest, season)| *rest -= season);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        tolerance: f64,
        robust_tolerance: f64,
        stl: Vec<One>,
        mstl: Vec<Several>,
    }

    #[derive(Deserialize)]
    struct One {
        name: String,
        values: Vec<f64>,
        period: usize,
        window: usize,
        low_pass: usize,
        robust: bool,
        jump: usize,
        seasonal: Vec<f64>,
        trend: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Several {
        values: Vec<f64>,
        periods: Vec<usize>,
        low_pass: Vec<usize>,
        seasonal: Vec<Vec<f64>>,
        trend: Vec<f64>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../golden/stl.json")).unwrap()
    }

    fn farthest(found: &[f64], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let distances = found
            .iter()
            .zip(expected)
            .map(|(found, expected)| (found - expected).abs());
        distances.fold(0.0, f64::max)
    }

    #[test]
    fn components_agree_with_the_reference() {
        let golden = golden();
        for case in golden.stl {
            let mut settings = Settings::recommended(case.period, case.window, usize::MAX);
            for span in [
                &mut settings.season,
                &mut settings.trend,
                &mut settings.low_pass,
            ] {
                span.jump = case.jump;
            }
            settings.low_pass.window = case.low_pass;
            let mut tolerance = golden.tolerance;
            if case.robust {
                (settings.inner_loops, settings.outer_loops) = (2, 15);
                tolerance = golden.robust_tolerance;
            }
            let found = decompose(&case.values, settings);
            for (found, expected) in [(&found.season, &case.seasonal), (&found.trend, &case.trend)]
            {
                let distance = farthest(found, expected);
                assert!(distance < tolerance, "{}: {distance}", case.name);
            }
        }
    }

    #[test]
    fn components_of_several_seasons_agree_with_the_reference() {
        let golden = golden();
        for case in golden.mstl {
            let settings: Vec<Settings> = (0..case.periods.len())
                .map(|index| {
                    let window = 11 + 4 * index;
                    let mut settings =
                        Settings::recommended(case.periods[index], window, usize::MAX);
                    settings.low_pass.window = case.low_pass[index];
                    settings
                })
                .collect();
            let found = decompose_all(&case.values, &settings, 2);
            for (found, expected) in found.seasons.iter().zip(&case.seasonal) {
                let distance = farthest(found, expected);
                assert!(distance < golden.tolerance, "{distance}");
            }
            let distance = farthest(&found.trend, &case.trend);
            assert!(distance < golden.tolerance, "{distance}");
        }
    }
}
