//! The state space of complex exponential smoothing: cells of two numbers, updated by one error.
//!
//! Every pass carries the derivatives of its states with respect to the weights along, as many as
//! the caller asks for (`K`), so that a gradient costs one pass and no differences.

use serde::{Deserialize, Serialize};

/// The forms of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// A level.
    None,
    /// A level for each place in the season, each updated once a season.
    Simple,
    /// A level, and additive seasonal effects smoothed as those of Holt and Winters.
    Partial,
    /// A level, and seasonal effects that are complex themselves.
    Full,
}

impl Form {
    /// Every form, in the order in which they are tried.
    pub(crate) const ALL: [Form; 4] = [Form::None, Form::Simple, Form::Partial, Form::Full];

    /// Whether there is a cell updated at every step.
    pub(crate) fn has_level(self) -> bool {
        self != Form::Simple
    }

    /// Whether there are cells updated once a season.
    pub(crate) fn has_season(self) -> bool {
        self != Form::None
    }

    /// The weights in use, as places in [`Weights`].
    pub(crate) fn places(self) -> &'static [usize] {
        match self {
            Form::None => &[0, 1],
            Form::Simple => &[2, 3],
            Form::Partial => &[0, 1, 2],
            Form::Full => &[0, 1, 2, 3],
        }
    }
}

/// The smoothing weights: real and imaginary part of the level's, then of the season's. Those that a
/// form has no use for are not read.
pub(crate) type Weights = [f64; 4];

/// A complex state: the part that forecasts, its companion, and their derivatives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<const K: usize> {
    pub(crate) real: f64,
    pub(crate) companion: f64,
    real_slope: [f64; K],
    companion_slope: [f64; K],
}

impl<const K: usize> Cell<K> {
    pub(crate) fn new(real: f64, companion: f64) -> Self {
        Cell {
            real,
            companion,
            real_slope: [0.0; K],
            companion_slope: [0.0; K],
        }
    }

    /// The transition, and the error times the weights. `own` is the place
    /// of this cell's weights among the derivatives.
    #[inline(always)]
    fn update(&mut self, real: f64, imaginary: f64, error: f64, slopes: &[f64; K], own: usize) {
        let (kept, turned) = (1.0 - real, 1.0 - imaginary);
        let (to_real, to_companion) = (real - imaginary, real + imaginary);
        let Cell {
            real: level,
            companion,
            real_slope,
            companion_slope,
        } = *self;
        self.real = level - turned * companion + to_real * error;
        self.companion = level + kept * companion + to_companion * error;
        for k in 0..K {
            self.real_slope[k] = real_slope[k] - turned * companion_slope[k] + to_real * slopes[k];
            self.companion_slope[k] =
                real_slope[k] + kept * companion_slope[k] + to_companion * slopes[k];
        }
        if K > 0 {
            self.real_slope[own] += error;
            self.companion_slope[own] += error - companion;
            self.real_slope[own + 1] += companion - error;
            self.companion_slope[own + 1] += error;
        }
    }

    /// A seasonal effect without companion.
    #[inline(always)]
    fn update_real(&mut self, weight: f64, error: f64, slopes: &[f64; K], own: usize) {
        self.real += weight * error;
        for (own, slope) in self.real_slope.iter_mut().zip(slopes) {
            *own += weight * slope;
        }
        if K > 0 {
            self.real_slope[own] += error;
        }
    }
}

/// All states of a model.
#[derive(Clone, Debug)]
pub(crate) struct States<const K: usize> {
    pub(crate) level: Cell<K>,
    /// One for each place in the season; none without season.
    pub(crate) season: Vec<Cell<K>>,
}

/// A form with its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) form: Form,
    pub(crate) weights: Weights,
}

impl Model {
    /// The forecast of the value at this place in the season, with its derivatives.
    #[inline(always)]
    pub(crate) fn forecast<const K: usize>(
        &self,
        states: &States<K>,
        place: usize,
    ) -> (f64, [f64; K]) {
        let (mut value, mut slopes) = (0.0, [0.0; K]);
        if self.form.has_level() {
            value = states.level.real;
            slopes = states.level.real_slope;
        }
        if self.form.has_season() {
            let cell = &states.season[place];
            value += cell.real;
            for (slope, more) in slopes.iter_mut().zip(&cell.real_slope) {
                *slope += more;
            }
        }
        (value, slopes)
    }

    /// Takes in an error made at this place in the season.
    #[inline(always)]
    pub(crate) fn update<const K: usize>(
        &self,
        states: &mut States<K>,
        place: usize,
        error: f64,
        slopes: &[f64; K],
    ) {
        let [level, turn, season, season_turn] = self.weights;
        if self.form.has_level() {
            states.level.update(level, turn, error, slopes, 0);
        }
        match self.form {
            Form::None => {}
            Form::Partial => states.season[place].update_real(season, error, slopes, 2),
            Form::Simple => states.season[place].update(season, season_turn, error, slopes, 0),
            Form::Full => states.season[place].update(season, season_turn, error, slopes, 2),
        }
    }

    /// Filters values, oldest first, the first of them at place 0 in the season. `seen` gets every
    /// forecast, its error, and the derivatives of the error.
    pub(crate) fn filter<const K: usize>(
        &self,
        states: &mut States<K>,
        values: &[f64],
        mut seen: impl FnMut(f64, f64, &[f64; K]),
    ) {
        // Each arm is compiled for its form.
        match self.form {
            Form::None => self.of(Form::None).pass(states, values, &mut seen),
            Form::Simple => self.of(Form::Simple).pass(states, values, &mut seen),
            Form::Partial => self.of(Form::Partial).pass(states, values, &mut seen),
            Form::Full => self.of(Form::Full).pass(states, values, &mut seen),
        }
    }

    /// Filters values from the newest to the oldest, to the states before the first.
    pub(crate) fn filter_back<const K: usize>(&self, states: &mut States<K>, values: &[f64]) {
        match self.form {
            Form::None => self.of(Form::None).pass_back(states, values),
            Form::Simple => self.of(Form::Simple).pass_back(states, values),
            Form::Partial => self.of(Form::Partial).pass_back(states, values),
            Form::Full => self.of(Form::Full).pass_back(states, values),
        }
    }

    #[inline(always)]
    fn of(&self, form: Form) -> Model {
        Model { form, ..*self }
    }

    #[inline(always)]
    fn pass<const K: usize>(
        &self,
        states: &mut States<K>,
        values: &[f64],
        seen: &mut impl FnMut(f64, f64, &[f64; K]),
    ) {
        let season_length = states.season.len();
        let mut place = 0;
        for value in values {
            let (forecast, mut slopes) = self.forecast(states, place);
            slopes.iter_mut().for_each(|slope| *slope = -*slope);
            let error = value - forecast;
            self.update(states, place, error, &slopes);
            seen(forecast, error, &slopes);
            place += 1;
            if place >= season_length {
                place = 0;
            }
        }
    }

    #[inline(always)]
    fn pass_back<const K: usize>(&self, states: &mut States<K>, values: &[f64]) {
        let season_length = states.season.len().max(1);
        let mut place = values.len() % season_length;
        for value in values.iter().rev() {
            place = if place == 0 { season_length } else { place } - 1;
            let (forecast, mut slopes) = self.forecast(states, place);
            slopes.iter_mut().for_each(|slope| *slope = -*slope);
            self.update(states, place, value - forecast, &slopes);
        }
    }

    /// The states before the first value, by backcasting: rough ones after the last value (means
    /// over a few values, companions where they would settle) are filtered back to the first.
    pub(crate) fn backcast<const K: usize>(
        &self,
        values: &[f64],
        season_length: usize,
    ) -> States<K> {
        let values = &values[..values.len().min(REACH.max(SEASONS_REACH * season_length))];
        let mut states = self.rough(values, season_length);
        self.filter_back(&mut states, values);
        states
    }

    fn rough<const K: usize>(&self, values: &[f64], season_length: usize) -> States<K> {
        // Where the companion of a constant level settles.
        let settled = |real: f64, weight: f64, own: usize| {
            let mut cell = Cell::new(real, real / weight);
            if K > 0 {
                cell.companion_slope[own] = -real / (weight * weight);
            }
            cell
        };
        let length = values.len();
        if !self.form.has_season() {
            let mean = crate::moments::mean(&values[length - length.min(FEW)..]);
            return States {
                level: settled(mean, self.weights[0], 0),
                season: vec![],
            };
        }
        let seasons = (length / season_length).clamp(1, FEW_SEASONS);
        let window = &values[length - length.min(seasons * season_length)..];
        let mean = crate::moments::mean(window);
        // A trend within the window is none of the season's.
        let slope = if seasons > 1 {
            let last = crate::moments::mean(&window[window.len() - season_length..]);
            let first = crate::moments::mean(&window[..season_length]);
            (last - first) / ((seasons - 1) * season_length) as f64
        } else {
            0.0
        };
        let center = 0.5 * (window.len() as f64 - 1.0);
        let mut effects = vec![0.0; season_length];
        let mut place = (length - window.len()) % season_length;
        for (index, value) in window.iter().enumerate() {
            let level = mean + slope * (index as f64 - center);
            effects[place] += (value - level) / seasons as f64;
            place = (place + 1) % season_length;
        }
        let season = effects.iter().map(|effect| match self.form {
            Form::Simple => settled(mean + effect, self.weights[2], 0),
            Form::Full => settled(*effect, self.weights[2], 2),
            Form::None | Form::Partial => Cell::new(*effect, 0.0),
        });
        States {
            level: settled(mean, self.weights[0], 0),
            season: season.collect(),
        }
    }
}

/// Backcasting begins so many values, or seasons, after the first value.
const REACH: usize = 200;
const SEASONS_REACH: usize = 10;

/// Its rough states are means over so many values, or seasons.
const FEW: usize = 10;
const FEW_SEASONS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 30] = {
        let mut values = [0.0; 30];
        let mut index = 0;
        while index < 30 {
            values[index] = 3.0 + 0.01 * ((index * index * 7) % 31) as f64 + 0.02 * index as f64;
            index += 1;
        }
        values
    };

    fn errors(model: &Model, season_length: usize) -> Vec<f64> {
        let mut states = model.backcast::<0>(&VALUES, season_length);
        let mut errors = vec![];
        model.filter(&mut states, &VALUES, |_, error, _| errors.push(error));
        errors
    }

    #[test]
    fn a_step_worked_by_hand() {
        // Level 10 with companion 4, weights 1.5 + 1.1 i, error 2.
        let mut states = States::<0> {
            level: Cell::new(10.0, 4.0),
            season: vec![],
        };
        let model = Model {
            form: Form::None,
            weights: [1.5, 1.1, 1.0, 1.0],
        };
        model.filter(&mut states, &[12.0], |forecast, error, _| {
            assert_eq!((forecast, error), (10.0, 2.0));
        });
        assert!((states.level.real - (10.0 + 0.1 * 4.0 + 0.4 * 2.0)).abs() < 1e-14);
        assert!((states.level.companion - (10.0 - 0.5 * 4.0 + 2.6 * 2.0)).abs() < 1e-14);
    }

    #[test]
    fn without_the_imaginary_part_it_is_simple_exponential_smoothing() {
        let model = Model {
            form: Form::None,
            weights: [1.3, 1.0, 1.0, 1.0],
        };
        let mut states = States::<0> {
            level: Cell::new(VALUES[0], 1.0),
            season: vec![],
        };
        let mut level = VALUES[0];
        model.filter(&mut states, &VALUES, |forecast, error, _| {
            assert!((forecast - level).abs() < 1e-13);
            level += 0.3 * error;
        });
    }

    #[test]
    fn derivatives_are_those_of_the_errors() {
        for form in Form::ALL {
            let weights = [1.4, 1.02, 0.8, 0.97];
            let model = Model { form, weights };
            for (own, place) in form.places().iter().enumerate() {
                let step = 1e-6;
                let moved = |by: f64| {
                    let mut model = model;
                    model.weights[*place] += by;
                    errors(&model, 4)
                };
                let (above, below) = (moved(step), moved(-step));
                let mut found = vec![];
                match form.places().len() {
                    2 => slopes::<2>(&model, own, &mut found),
                    3 => slopes::<3>(&model, own, &mut found),
                    _ => slopes::<4>(&model, own, &mut found),
                }
                for (found, (above, below)) in found.iter().zip(above.iter().zip(&below)) {
                    let expected = (above - below) / (2.0 * step);
                    assert!(
                        (found - expected).abs() < 1e-6 * expected.abs().max(1.0),
                        "{form:?} {place}: {found} {expected}"
                    );
                }
            }
        }
    }

    fn slopes<const K: usize>(model: &Model, own: usize, found: &mut Vec<f64>) {
        let mut states = model.backcast::<K>(&VALUES, 4);
        model.filter(&mut states, &VALUES, |_, _, slopes| found.push(slopes[own]));
    }
}
