//! How large numbers are, and what units and products they make.

/// The largest size among some values; zero of none.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// The unit of numbers up to this size: the largest power of two that is not above it, so that
/// dividing by it rounds nothing. One for zero.
pub(crate) fn power_of_two(size: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    if size == 0.0 {
        1.0
    } else {
        f64::from_bits(size.to_bits() & EXPONENT).max(f64::MIN_POSITIVE)
    }
}

/// The sum of products, in four sums side by side that are added in a fixed order.
pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (lefts, rights) = (left.chunks_exact(4), right.chunks_exact(4));
    let rest: f64 = lefts
        .remainder()
        .iter()
        .zip(rights.remainder())
        .map(|(left, right)| left * right)
        .sum();
    for (left, right) in lefts.zip(rights) {
        for lane in 0..4 {
            sums[lane] += left[lane] * right[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_divide_without_rounding() {
        for (size, unit) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (7.9, 4.0),
            (0.3, 0.25),
            (1e308, 2f64.powi(1023)),
        ] {
            assert_eq!(power_of_two(size), unit);
        }
        assert_eq!(power_of_two(1e-310), f64::MIN_POSITIVE);
        assert_eq!(largest(&[1.0, -3.0, 2.0]), 3.0);
        assert_eq!(largest(&[]), 0.0);
    }

    #[test]
    fn products_of_every_length_are_summed() {
        for length in 0..13 {
            let numbers: Vec<f64> = (1..=length).map(f64::from).collect();
            let squares: f64 = numbers.iter().map(|number| number * number).sum();
            assert_eq!(dot(&numbers, &numbers), squares);
        }
    }
}
