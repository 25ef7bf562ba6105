//! Futures of a transformed series, turned back.

use super::Transform;
use crate::{outlook::Outlook, paths::Paths, rng::Rng, wide::wide};

/// What a model of the transformed series expects, in the series' own unit.
pub(crate) struct Transformed {
    pub(crate) inner: Box<dyn Outlook>,
    pub(crate) transform: Transform,
}

impl Transformed {
    /// Turns a future back in place, step by step.
    fn back(&self, path: &mut [f64]) {
        let mut transform = self.transform.clone();
        for value in path {
            *value = transform.back(*value);
            transform.pass(*value);
        }
    }
}

impl Outlook for Transformed {
    fn point(&self) -> Vec<f64> {
        let mut point = self.inner.point();
        self.back(&mut point);
        point
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        self.inner.draw(rng, path);
        self.back(path);
    }

    /// Half the distance between what lies one deviation above and below.
    fn deviations(&self) -> Option<Vec<f64>> {
        if let Transform::Difference { .. } = self.transform {
            return None;
        }
        let (point, inner) = (self.inner.point(), self.inner.deviations()?);
        let apart = |(point, own): (&f64, &f64)| {
            0.5 * (self.transform.back(point + own) - self.transform.back(point - own))
        };
        Some(point.iter().zip(&inner).map(apart).collect())
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let mut paths = self.inner.draw_all(steps, rngs);
        match &self.transform {
            Transform::Difference { last } => {
                let mut before = vec![*last; paths.count];
                for step in paths.rows() {
                    for (value, before) in step.iter_mut().zip(&mut before) {
                        *value = Transform::Difference { last: *before }.back(*value);
                        *before = *value;
                    }
                }
            }
            // The others turn a value back whatever was before it.
            transform => wide(
                #[inline(always)]
                || {
                    for value in &mut paths.values {
                        *value = transform.back(*value);
                    }
                },
            ),
        }
        paths
    }
}
