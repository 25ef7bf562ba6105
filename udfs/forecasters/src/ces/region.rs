//! Which weights are allowed.

use super::recursion::{Form, Model, Weights};

/// Bounds within which the weights are estimated, and how stable the model has to be.
///
/// The stability region of the paper is wider than what forecasts well: its far corners
/// hold forecasts that explode or fall to zero within a season. The imaginary part is what makes
/// forecasts grow (by about its excess over 1, divided by the real part, a step) or decay, so it is
/// held near 1. A real part near 2 forgets its start only after very many steps, in swings: 1.8
/// halves them every third step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) lower: Weights,
    pub(crate) upper: Weights,
    /// The largest root of the discount matrix, of a season's in the form `simple`.
    root: f64,
}

const LEAST_REAL: f64 = 0.05;
const MOST_REAL: f64 = 1.8;

/// How far the level's imaginary part may lie above and below 1: in a step, and summed over a season.
const MOST_GROWTH: (f64, f64) = (0.1, 0.2);
const MOST_DECAY: (f64, f64) = (0.01, 0.05);

/// A start may have that much more effect at the end of a history than at its beginning. Level and
/// seasonal effects share a constant, which they forget very slowly if at all.
const PERSISTENCE: f64 = 0.1;

impl Region {
    pub(crate) fn new(form: Form, season_length: usize, observations: usize) -> Region {
        let season = season_length as f64;
        // A real seasonal effect is smoothed by 0 to 1.8 rather than by 1 to 2.
        let least_seasonal = if form == Form::Partial {
            0.0
        } else {
            LEAST_REAL
        };
        Region {
            lower: [
                LEAST_REAL,
                1.0 - MOST_DECAY.0.min(MOST_DECAY.1 / season),
                least_seasonal,
                1.0 - MOST_DECAY.1,
            ],
            upper: [
                MOST_REAL,
                1.0 + MOST_GROWTH.0.min(MOST_GROWTH.1 / season),
                MOST_REAL,
                1.0 + MOST_GROWTH.0,
            ],
            root: 1.0
                + PERSISTENCE * if form == Form::Simple { season } else { 1.0 }
                    / observations as f64,
        }
    }

    /// The weights, those outside the bounds moved to them.
    pub(crate) fn clamp(&self, weights: Weights) -> Weights {
        std::array::from_fn(|place| weights[place].clamp(self.lower[place], self.upper[place]))
    }

    /// Whether errors far in the past are forgotten: the roots of the discount matrix's
    /// characteristic polynomial lie within the circle.
    pub(crate) fn is_stable(&self, model: &Model, season_length: usize) -> bool {
        let mut polynomial = discount_polynomial(model, season_length);
        let mut power = 1.0;
        for coefficient in &mut polynomial {
            *coefficient *= power;
            power /= self.root;
        }
        roots_within_circle(polynomial)
    }
}

/// The polynomial in the backward shift that turns forecast errors into values, for cells of these
/// weights: `1 - (2 - a) B + (2 - a - b) B^2`, the transition's.
fn transition(real: f64, imaginary: f64) -> [f64; 3] {
    [1.0, real - 2.0, 2.0 - real - imaginary]
}

/// The same for the transition less the weights times the forecast: the discount matrix of one cell.
/// Its coefficients are those that the paper's conditions of stability come from.
fn discount(real: f64, imaginary: f64) -> [f64; 3] {
    [
        1.0,
        2.0 * real - 2.0 - imaginary,
        2.0 - 3.0 * real + real * real - imaginary + imaginary * imaginary,
    ]
}

/// The characteristic polynomial of the discount matrix, 1 first. With level and season it is
/// `d(B) T(B^m) + (D(B^m) - T(B^m)) t(B)`, where t, d and T, D are transition and discount of level
/// and season.
fn discount_polynomial(model: &Model, season_length: usize) -> Vec<f64> {
    let [real, imaginary, season, season_turn] = model.weights;
    if model.form == Form::None {
        return discount(real, imaginary).to_vec();
    }
    if model.form == Form::Simple {
        // In powers of the season: its roots are the season's roots of these.
        return discount(season, season_turn).to_vec();
    }
    let (kept, turned) = if model.form == Form::Partial {
        ([1.0, -1.0, 0.0], [1.0, season - 1.0, 0.0])
    } else {
        (
            transition(season, season_turn),
            discount(season, season_turn),
        )
    };
    let (level, level_turned) = (transition(real, imaginary), discount(real, imaginary));
    let degree = if model.form == Form::Partial {
        season_length + 2
    } else {
        2 * season_length + 2
    };
    let mut polynomial = vec![0.0; degree + 1];
    for block in 0..=(degree - 2) / season_length {
        for lag in 0..3 {
            polynomial[block * season_length + lag] +=
                level_turned[lag] * kept[block] + level[lag] * (turned[block] - kept[block]);
        }
    }
    polynomial
}

/// Whether `1 + c1 z + … ` has all its roots outside the unit circle, by stepping its order down one
/// by one (Schur and Cohn; Brockwell and Davis, *Time Series: Theory and Methods*, section 5.2).
fn roots_within_circle(mut polynomial: Vec<f64>) -> bool {
    while let Some(reflection) = polynomial.pop().filter(|_| !polynomial.is_empty()) {
        if reflection.is_nan() || reflection.abs() >= 1.0 {
            return false;
        }
        let factor = 1.0 / (1.0 - reflection * reflection);
        let order = polynomial.len();
        // Coefficients 1 … order - 1, each with its mirror image; the first stays 1.
        for low in 1..=order / 2 {
            let high = order - low;
            let (left, right) = (polynomial[low], polynomial[high]);
            polynomial[low] = (left - reflection * right) * factor;
            polynomial[high] = (right - reflection * left) * factor;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three circles between which the paper finds the model stable.
    fn in_the_papers_region(real: f64, imaginary: f64) -> bool {
        let circle = |x: f64, y: f64| (real - x) * (real - x) + (imaginary - y) * (imaginary - y);
        circle(2.5, 0.0) > 1.25 && circle(0.5, 1.0) > 0.25 && circle(1.5, 0.5) < 1.5
    }

    #[test]
    fn one_cell_is_stable_where_the_paper_says_so() {
        let strict = Region {
            root: 1.0,
            ..Region::new(Form::None, 1, 1)
        };
        let mut stable = 0;
        for row in 0..60 {
            for column in 0..60 {
                let (real, imaginary) = (
                    0.013 + 0.05 * f64::from(row),
                    0.0541 * f64::from(column) - 1.0,
                );
                let model = Model {
                    form: Form::None,
                    weights: [real, imaginary, 1.0, 1.0],
                };
                let found = strict.is_stable(&model, 1);
                assert_eq!(
                    found,
                    in_the_papers_region(real, imaginary),
                    "{real} {imaginary}"
                );
                stable += usize::from(found);
            }
        }
        assert!(stable > 100 && stable < 3_000, "{stable}");
    }

    /// How much larger the errors of a series of zeros, which are what the discount matrix makes of
    /// the states, are after many steps than at first.
    fn growth(model: &Model, season_length: usize) -> f64 {
        use crate::ces::recursion::{Cell, States};
        let season = if model.form.has_season() {
            season_length
        } else {
            0
        };
        let mut states = States::<0> {
            level: Cell::new(1.0, -0.3),
            season: (0..season)
                .map(|place| Cell::new(0.7 - place as f64, 0.4))
                .collect(),
        };
        let mut largest = |steps: usize| {
            let mut largest = 0.0f64;
            model.filter(&mut states, &vec![0.0; steps], |forecast, _, _| {
                largest = largest.max(forecast.abs());
            });
            largest
        };
        let early = largest(20);
        largest(580);
        largest(20) / early
    }

    #[test]
    fn stable_models_forget_and_unstable_ones_grow() {
        let season_length = 5;
        let (mut stable, mut unstable) = (0, 0);
        for form in Form::ALL {
            // The roots of a season are powers of those of a step.
            let power = if form == Form::Simple { 5 } else { 1 };
            let within = |root: f64| Region {
                root: root.powi(power),
                ..Region::new(form, season_length, 1)
            };
            for index in 0..400u32 {
                let part = |step: u32| f64::from(index * step % 97) / 97.0;
                let model = Model {
                    form,
                    weights: [
                        0.3 + 1.8 * part(31),
                        0.6 + 0.8 * part(57),
                        0.1 + 1.9 * part(11),
                        0.6 + 0.8 * part(73),
                    ],
                };
                if within(0.96).is_stable(&model, season_length) {
                    assert!(growth(&model, season_length) < 1e-5, "{model:?}");
                    stable += 1;
                } else if !within(1.03).is_stable(&model, season_length) {
                    assert!(growth(&model, season_length) > 1e3, "{model:?}");
                    unstable += 1;
                }
            }
        }
        assert!(stable > 200 && unstable > 200, "{stable} {unstable}");
    }

    #[test]
    fn roots_are_told_apart_by_the_circle() {
        // (1 - 0.5 z)(1 + 0.9 z)(1 - 0.2 z) and the same with 1.1 for 0.9.
        assert!(roots_within_circle(vec![1.0, 0.2, -0.53, 0.09]));
        assert!(!roots_within_circle(vec![1.0, 0.4, -0.67, 0.11]));
        assert!(roots_within_circle(vec![1.0]));
    }
}
