//! Means and deviations.

/// The mean. Taken around the first value, so that equal values have exactly their own value as
/// mean, whatever their size. NaN if there are none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let Some(origin) = values.first() else {
        return f64::NAN;
    };
    origin + values.iter().map(|value| value - origin).sum::<f64>() / values.len() as f64
}

/// The standard deviation with divisor n - 1; NaN for fewer than two values.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = mean(values);
    let squares: f64 = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The median of some values, which it reorders: of an even number the middle of the two. NaN if
/// there are none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    let (half, count) = (values.len() / 2, values.len());
    if count == 0 {
        return f64::NAN;
    }
    let (below, middle, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if count % 2 == 1 {
        return *middle;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower.midpoint(*middle)
}

/// The root of the mean square, or `None` if there are no values.
pub(crate) fn root_mean_square(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut squares) = (0u32, 0.0);
    for value in values {
        count += 1;
        squares += value * value;
    }
    (count > 0).then(|| (squares / f64::from(count)).sqrt())
}

/// The root of the sum of squares: the length of a vector.
pub(crate) fn root_sum_of_squares(values: impl IntoIterator<Item = f64>) -> f64 {
    values
        .into_iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cases_worked_by_hand() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(deviation(&[1.0, 2.0, 6.0]), 7f64.sqrt());
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), f64::MAX);
        assert!(median(&mut []).is_nan());
        assert_eq!(root_mean_square([3.0, -4.0]), Some(12.5f64.sqrt()));
        assert_eq!(root_mean_square([]), None);
        assert_eq!(root_sum_of_squares([3.0, -4.0]), 5.0);
    }

    #[test]
    fn equal_values_have_themselves_as_mean_and_do_not_deviate() {
        for value in [0.1, 1e300, -7.3e-12] {
            assert_eq!(mean(&[value; 30]), value);
            assert_eq!(deviation(&[value; 30]), 0.0);
        }
    }
}
