//! The tables of the normal sampler, and the two functions they and its rare branches need.
//!
//! The tables are computed by the compiler. `exp` and `ln` are written in additions, products and
//! quotients, which IEEE 754 rounds the same everywhere; a platform's own may differ in the last
//! bit.

/// The number of layers of equal area.
pub(crate) const LAYERS: usize = 256;

/// Where the tail begins: the right edge of the lowest layer, for 256 layers.
pub(crate) const TAIL_START: f64 = 3.654_152_885_361_009;

/// The area of one layer, tail included in the lowest.
const AREA: f64 = 0.004_928_673_233_974_655;

/// The layers, lowest and widest first.
pub(crate) struct Tables {
    /// The right edges; `edge[0]` is the width the lowest layer would have as a rectangle, the
    /// last edge is 0.
    pub(crate) edge: [f64; LAYERS + 1],
    /// The right edges, as multiples of 2^-52: by which a signed whole number of 53 bits is multiplied.
    pub(crate) unit: [f64; LAYERS],
    /// exp(-x^2 / 2) at the edges.
    pub(crate) density: [f64; LAYERS + 1],
}

/// The tables of the standard normal distribution.
pub(crate) static TABLES: Tables = build();

const fn build() -> Tables {
    let mut edge = [0.0; LAYERS + 1];
    let mut density = [0.0; LAYERS + 1];
    edge[0] = AREA / exp(-0.5 * TAIL_START * TAIL_START);
    density[0] = exp(-0.5 * edge[0] * edge[0]);
    edge[1] = TAIL_START;
    density[1] = exp(-0.5 * TAIL_START * TAIL_START);
    let mut layer = 2;
    while layer < LAYERS {
        density[layer] = density[layer - 1] + AREA / edge[layer - 1];
        edge[layer] = square_root(-2.0 * ln(density[layer]));
        layer += 1;
    }
    density[LAYERS] = 1.0;
    let mut unit = [0.0; LAYERS];
    layer = 0;
    while layer < LAYERS {
        // Exact, for it only changes the exponent.
        unit[layer] = edge[layer] / (1u64 << 52) as f64;
        layer += 1;
    }
    Tables {
        edge,
        unit,
        density,
    }
}

/// The natural logarithm of a positive normal number.
pub(crate) const fn ln(value: f64) -> f64 {
    let bits = value.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), the argument at most 0.172.
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let mut sum = 0.0;
    let mut term = 23;
    while term >= 1 {
        sum = sum * square + 1.0 / term as f64;
        term -= 2;
    }
    exponent * std::f64::consts::LN_2 + 2.0 * ratio * sum
}

/// The exponential of a number from -700 to 0.
pub(crate) const fn exp(value: f64) -> f64 {
    // LN_2 in two parts: the product of the first with a small integer is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let power = (value * std::f64::consts::LOG2_E - 0.5) as i64;
    let rest = (value - power as f64 * LN_2_HIGH) - power as f64 * LN_2_LOW;
    let mut sum = 1.0;
    let mut term = 15;
    while term >= 1 {
        sum = 1.0 + sum * rest / term as f64;
        term -= 1;
    }
    sum * f64::from_bits(((power + 1023) as u64) << 52)
}

/// More than [`rough_exp`] is ever off.
pub(crate) const ROUGH_ERROR: f64 = 1e-8;

/// The exponential of a number from -7 to 0 to within [`ROUGH_ERROR`]: the first nine terms of its
/// series at what a power of two leaves over, at most 0.35. Without quotients, and in two halves that
/// do not wait for each other.
#[inline]
pub(crate) fn rough_exp(value: f64) -> f64 {
    let power = (value * std::f64::consts::LOG2_E - 0.5) as i64;
    let rest = value - power as f64 * std::f64::consts::LN_2;
    let square = rest * rest;
    let fourth = square * square;
    let low = (1.0 + rest) + (1.0 / 2.0 + rest * (1.0 / 6.0)) * square;
    let middle =
        (1.0 / 24.0 + rest * (1.0 / 120.0)) + (1.0 / 720.0 + rest * (1.0 / 5_040.0)) * square;
    let sum = low + (middle + fourth * (1.0 / 40_320.0)) * fourth;
    sum * f64::from_bits(((power + 1023) as u64) << 52)
}

const fn square_root(value: f64) -> f64 {
    let mut root = if value > 1.0 { value } else { 1.0 };
    // Newton's iteration falls from above until rounding stops it.
    loop {
        let next = 0.5 * (root + value / root);
        if next >= root {
            return root;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_agree_with_the_platform() {
        for index in 1..20_000 {
            let value = f64::from(index) / 1_000.0;
            assert!(
                (ln(value) - value.ln()).abs() <= 1e-15 * value.ln().abs().max(1.0),
                "{value}"
            );
            assert!(
                (exp(-value) / (-value).exp() - 1.0).abs() <= 1e-15,
                "{value}"
            );
            assert!(
                (square_root(value) / value.sqrt() - 1.0).abs() <= 4e-16,
                "{value}"
            );
        }
    }

    #[test]
    fn the_rough_exponential_is_as_near_as_it_claims() {
        for index in 0..700_000 {
            let value = -f64::from(index) * 1e-5;
            let off = (rough_exp(value) - exp(value)).abs();
            assert!(off < 0.1 * ROUGH_ERROR, "{value}: {off}");
        }
    }

    #[test]
    fn every_layer_has_the_same_area_and_the_top_closes() {
        for layer in 1..LAYERS {
            let area = TABLES.edge[layer] * (TABLES.density[layer + 1] - TABLES.density[layer]);
            assert!((area / AREA - 1.0).abs() < 1e-9, "{layer}: {area}");
        }
        assert!(TABLES.edge.is_sorted_by(|wider, narrower| wider > narrower));
    }
}
