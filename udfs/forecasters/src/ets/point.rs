//! A point of the search: a vector of parameters, read as smoothing parameters and initial states.
//!
//! The usual region 0 <= beta <= alpha, 0 <= gamma <= 1 - alpha becomes a box: what is searched in
//! beta's and gamma's place is their share of the room that alpha leaves them.

use super::{
    form::{ALPHA, Form, Kind, LEVEL, Layout},
    recursion::{Smoothing, States, Sums, sums},
};

/// The least alpha, which is at most one less this.
pub(crate) const LEAST: f64 = 1e-4;
/// The least and the greatest phi.
pub(crate) const DAMPING: (f64, f64) = (0.8, 0.98);

/// How the vectors of a form are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) form: Form,
    pub(crate) layout: Layout,
    pub(crate) season_length: usize,
}

impl Reading {
    pub(crate) fn of(form: Form, season_length: usize) -> Reading {
        Reading {
            form,
            layout: Layout::of(form, season_length),
            season_length,
        }
    }

    pub(crate) fn smoothing(&self, point: &[f64]) -> Smoothing {
        let alpha = point[ALPHA];
        let room = |place: Option<usize>, most: f64| place.map_or(0.0, |place| most * point[place]);
        Smoothing {
            alpha,
            beta: room(self.layout.beta, alpha),
            gamma: room(self.layout.gamma, 1.0 - alpha),
            phi: self.layout.phi.map_or(1.0, |place| point[place]),
        }
    }

    pub(crate) fn growth(&self, point: &[f64]) -> f64 {
        match (self.layout.beta, self.form.trend) {
            (Some(beta), _) => point[beta + 1],
            (None, Kind::Multiplicative) => 1.0,
            (None, _) => 0.0,
        }
    }

    /// Writes the initial seasonal states; the last is what the others leave of their sum.
    pub(crate) fn season(&self, point: &[f64], season: &mut Vec<f64>) {
        season.clear();
        let Some(gamma) = self.layout.gamma else {
            return;
        };
        season.extend_from_slice(&point[gamma + 1..self.layout.length]);
        let whole = if self.form.season == Kind::Multiplicative {
            self.season_length as f64
        } else {
            0.0
        };
        season.push(whole - season.iter().sum::<f64>());
    }

    pub(crate) fn states(&self, point: &[f64]) -> States {
        let mut season = vec![];
        self.season(point, &mut season);
        States {
            level: point[LEVEL],
            growth: self.growth(point),
            season,
        }
    }

    /// The sums of the likelihood over a history. `season` is room to work in.
    pub(crate) fn sums(&self, point: &[f64], values: &[f64], season: &mut Vec<f64>) -> Sums {
        self.season(point, season);
        sums(
            self.form,
            &self.smoothing(point),
            point[LEVEL],
            self.growth(point),
            season,
            values,
        )
    }

    /// The point of these smoothing parameters and states, brought into the box.
    pub(crate) fn point(&self, smoothing: &Smoothing, states: &States) -> Vec<f64> {
        let mut point = vec![0.0; self.layout.length];
        let alpha = smoothing.alpha.clamp(LEAST, 1.0 - LEAST);
        point[ALPHA] = alpha;
        point[LEVEL] = states.level;
        let share = |found: f64, most: f64| (found / most).clamp(0.0, 1.0);
        if let Some(beta) = self.layout.beta {
            point[beta] = share(smoothing.beta, alpha);
            point[beta + 1] = states.growth;
        }
        if let Some(phi) = self.layout.phi {
            point[phi] = smoothing.phi.clamp(DAMPING.0, DAMPING.1);
        }
        if let Some(gamma) = self.layout.gamma {
            point[gamma] = share(smoothing.gamma, 1.0 - alpha);
            let count = self.season_length - 1;
            point[gamma + 1..].copy_from_slice(&states.season[..count]);
        }
        point
    }
}
