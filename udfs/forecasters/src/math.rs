//! Exponentials, logarithms and trigonometry that give the same bits on every machine.
//!
//! The standard library's own go to the platform's mathematics library, which picks its code by
//! the processor it finds: two machines of one cluster could disagree in the last bit of a stored
//! forecast. clippy.toml keeps the standard ones out of this crate.

pub(crate) use libm::{cos, expm1, lgamma, log as ln, log1p, pow, sin, tanh};

/// The exponential, to within one unit in the last place; beyond all numbers infinity, zero, or NaN
/// for NaN. Without branches, so that a loop over many becomes vectors.
#[inline(always)]
pub(crate) fn exp(value: f64) -> f64 {
    // By comparisons that leave NaN what it is.
    let value = if value > 1_000.0 { 1_000.0 } else { value };
    let value = if value < -1_000.0 { -1_000.0 } else { value };
    let (remainder, power) = halved(value);
    // In two steps: either half of the power of two is a normal number where their product is not.
    let both = power.wrapping_add(2 * 1_024);
    let half = both >> 1;
    let power_of_two = |exponent: u64| f64::from_bits(exponent.wrapping_sub(1) << 52);
    remainder * power_of_two(half) * power_of_two(both.wrapping_sub(half))
}

/// The same from [`NORMAL`]'s start to its end; what lies beyond is as those are.
#[inline(always)]
pub(crate) fn exp_normal(value: f64) -> f64 {
    let (least, most) = NORMAL;
    let value = if value > most { most } else { value };
    let value = if value < least { least } else { value };
    let (remainder, power) = halved(value);
    // The power of two is in the exponent's bits.
    f64::from_bits(remainder.to_bits().wrapping_add(power << 52))
}

/// Between these the exponential is a normal number.
const NORMAL: (f64, f64) = (-708.39, 709.4);

/// The exponential as a number from 0.7 to 1.42 and the power of 2, an integer in the low bits, that
/// it is to be multiplied by. The first is the exponential of what is left over, at most 0.35: 1 plus
/// that plus its square times the polynomial which is off by at most 4e-18 of the whole (by Remez's
/// exchange; Muller 2016, *Elementary Functions*, section 3.5).
#[inline(always)]
fn halved(value: f64) -> (f64, u64) {
    // LN_2 in two parts: the product of the first with a small integer is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Adding this leaves no digits after the point, and the integer in the last bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let rounded = value * std::f64::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let r = (value - power * LN_2_HIGH) - power * LN_2_LOW;
    let square = r * r;
    let fourth = square * square;
    let a = 0.500_000_000_000_001_1 + r * 0.166_666_666_666_664_13;
    let b = 0.041_666_666_666_530_155 + r * 0.008_333_333_333_494_465;
    let c = 0.001_388_888_894_363_018_8 + r * 1.984_126_950_657_126_7e-4;
    let d = 2.480_149_309_881_613_8e-5 + r * 2.755_758_638_083_65e-6;
    let e = 2.763_024_841_408_471e-7 + r * 2.500_005_928_835_836e-8;
    let high = c + d * square + fourth * e;
    let sum = 1.0 + (r + square * ((a + b * square) + fourth * high));
    (sum, rounded.to_bits().wrapping_sub(ROUND.to_bits()))
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

    #[test]
    fn normal_exponentials_are_the_same_and_end_at_normal_numbers() {
        let (least, most) = NORMAL;
        let mut rng = crate::Streams::new(&crate::Digest::new()).path(2);
        for _ in 0..1_000_000 {
            let value = least + (most - least) * rng.uniform();
            assert_eq!(exp_normal(value), exp(value), "{value}");
        }
        assert_eq!(exp_normal(0.0), 1.0);
        for (end, beyond) in [(least, f64::NEG_INFINITY), (most, f64::INFINITY)] {
            assert_eq!(exp_normal(end), exp(end));
            assert_eq!(exp_normal(beyond), exp(end));
            assert!(exp(end).is_normal());
        }
        assert!(exp_normal(f64::NAN).is_nan());
    }
}
