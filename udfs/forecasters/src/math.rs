//! Exponentials, logarithms and trigonometry that give the same bits on every machine.
//!
//! The standard library's own go to the platform's mathematics library, which picks its code by
//! the processor it finds: two machines of one cluster could disagree in the last bit of a stored
//! forecast. clippy.toml keeps the standard ones out of this crate.

pub(crate) use libm::{cos, expm1, lgamma, log as ln, log1p, pow, sin, tanh};

/// The exponential, to within one unit in the last place; beyond all numbers infinity, zero, or NaN
/// for NaN.
///
/// Without branches, so that a loop over many becomes vectors: 2^n times the exponential of what is
/// left over, at most 0.35, of which the series is summed up to the 13th power.
#[inline(always)]
pub(crate) fn exp(value: f64) -> f64 {
    // LN_2 in two parts: the product of the first with a small integer is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding this leaves no digits after the point, and the integer in the last bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // By comparisons that leave NaN what it is.
    let value = if value > 1_000.0 { 1_000.0 } else { value };
    let value = if value < -1_000.0 { -1_000.0 } else { value };
    let rounded = value * std::f64::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let r = (value - power * LN_2_HIGH) - power * LN_2_LOW;
    let square = r * r;
    let fourth = square * square;
    let a = 1.0 / 2.0 + r * (1.0 / 6.0);
    let b = 1.0 / 24.0 + r * (1.0 / 120.0);
    let c = 1.0 / 720.0 + r * (1.0 / 5_040.0);
    let d = 1.0 / 40_320.0 + r * (1.0 / 362_880.0);
    let e = 1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0);
    let f = 1.0 / 479_001_600.0 + r * (1.0 / 6_227_020_800.0);
    let high = d * square + fourth * (e + f * square) + c;
    let sum = 1.0 + (r + square * ((a + b * square) + fourth * high));
    // In two steps: either half of the power of two is a normal number where their product is not.
    let bits = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    let both = bits.wrapping_add(2 * 1_024);
    let half = both >> 1;
    let power_of_two = |exponent: u64| f64::from_bits(exponent.wrapping_sub(1) << 52);
    sum * power_of_two(half) * power_of_two(both.wrapping_sub(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_library() {
        let mut rng = crate::Streams::new(&crate::Digest::new()).path(1);
        for _ in 0..1_000_000 {
            let size = if rng.uniform() < 0.5 { 1.0 } else { 740.0 };
            let value = size * (2.0 * rng.uniform() - 1.0);
            let (found, known) = (exp(value), libm::exp(value));
            let apart = found.to_bits().abs_diff(known.to_bits());
            assert!(apart <= 1, "{value}: {found:e} {known:e}");
        }
        for value in [
            0.0, -0.0, 1e-300, 709.7, 709.9, -745.0, -746.0, 1e300, -1e300,
        ] {
            let (found, known) = (exp(value), libm::exp(value));
            let apart = found.to_bits().abs_diff(known.to_bits());
            assert!(apart <= 1, "{value}: {found:e} {known:e}");
        }
        assert_eq!((exp(0.0), exp(f64::INFINITY)), (1.0, f64::INFINITY));
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert!(exp(f64::NAN).is_nan());
    }
}
