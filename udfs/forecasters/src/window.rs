//! The newest observations, as far back as a model looks.

use serde::{Deserialize, Serialize};

use crate::{errors::StateError, state::corrupt};

/// The last values of a series, oldest first. Its length never changes: what comes in at one end
/// pushes out the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Window {
    values: Vec<f64>,
}

impl Window {
    /// The last `length` of at least as many values.
    pub(crate) fn of(values: &[f64], length: usize) -> Window {
        Window {
            values: values[values.len() - length..].to_vec(),
        }
    }

    /// Takes in a newer value.
    pub(crate) fn push(&mut self, value: f64) {
        self.values.rotate_left(1);
        if let Some(last) = self.values.last_mut() {
            *last = value;
        }
    }

    /// Checks that a decoded window holds as many values as its model needs, all finite.
    pub(crate) fn check(&self, length: usize) -> Result<(), StateError> {
        if self.values.len() != length {
            return Err(corrupt(format!(
                "{} values, needed {length}",
                self.values.len()
            )));
        }
        if self.values.iter().all(|value| value.is_finite()) {
            Ok(())
        } else {
            Err(corrupt("a value is not finite"))
        }
    }

    /// The values, oldest first.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The newest value.
    pub(crate) fn last(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_values_push_out_the_oldest() {
        let mut window = Window::of(&[1.0, 2.0, 3.0], 2);
        window.push(4.0);
        assert_eq!(
            (window.values(), window.last()),
            ([3.0, 4.0].as_slice(), 4.0)
        );
    }
}
