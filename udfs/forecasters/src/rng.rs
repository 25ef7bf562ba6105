//! Random numbers that never change: the generator and the normal sampler are both written here,
//! in plain arithmetic, so neither a dependency nor a platform's mathematics library can alter a
//! stored forecast.

use crate::{
    digest::{Digest, GOLDEN, mix},
    ziggurat::{LAYERS, ROUGH_ERROR, TABLES, TAIL_START, exp, ln, rough_exp},
};

/// The random streams of one forecast: one per path.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    low: u64,
    high: u64,
}

impl Streams {
    /// The streams of a key. Keys that differ give unrelated streams.
    pub fn new(key: &Digest) -> Self {
        Streams {
            low: mix(key.low64()),
            high: mix(key.high64() ^ GOLDEN),
        }
    }

    /// The stream of one path: a pure function of the key and the path id.
    pub fn path(&self, path_id: u64) -> Rng {
        // Two SplitMix64 sequences, so that all 128 bits of the key tell streams apart. Two words
        // of one sequence are never both zero, hence nor is the state.
        let spread = mix(path_id.wrapping_mul(GOLDEN));
        let (first, second) = (self.low.wrapping_add(spread), self.high ^ spread);
        Rng {
            state: [
                mix(first.wrapping_add(GOLDEN)),
                mix(first.wrapping_add(GOLDEN.wrapping_mul(2))),
                mix(second.wrapping_add(GOLDEN)),
                mix(second.wrapping_add(GOLDEN.wrapping_mul(2))),
            ],
        }
    }
}

/// xoshiro256++ 1.0 (Blackman and Vigna 2019).
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A uniform number in [0, 1), a multiple of 2^-53.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * SCALE
    }

    /// A standard normal number, by the ziggurat of Marsaglia and Tsang (2000) with 256 layers.
    /// The layer and the position in it come from separate bits (Doornik 2005).
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let bits = self.next_u64();
        let layer = bits as usize % LAYERS;
        let value = (bits as i64 >> 11) as f64 * TABLES.unit[layer];
        if value.abs() < TABLES.edge[layer + 1] {
            return value;
        }
        // The generator goes there and back by value: one whose address is never taken stays in
        // registers.
        let rng = Rng { state: self.state };
        let (value, rng) = rng.normal_beyond_core(layer, value);
        self.state = rng.state;
        value
    }

    /// What the core of a layer does not decide: the tail, the wedges, and a new draw.
    #[cold]
    fn normal_beyond_core(mut self, layer: usize, value: f64) -> (f64, Rng) {
        if layer == 0 {
            let value = self.normal_tail(value < 0.0);
            return (value, self);
        }
        let (low, high) = (TABLES.density[layer], TABLES.density[layer + 1]);
        if is_below(low + (high - low) * self.uniform(), -0.5 * value * value) {
            (value, self)
        } else {
            let value = self.normal();
            (value, self)
        }
    }

    /// Marsaglia (1964): beyond `TAIL_START`, an exponential number accepted against the normal.
    fn normal_tail(&mut self, negative: bool) -> f64 {
        loop {
            // 1 - uniform() is never zero.
            let beyond = -ln(1.0 - self.uniform()) / TAIL_START;
            let exponential = -ln(1.0 - self.uniform());
            if 2.0 * exponential >= beyond * beyond {
                let value = TAIL_START + beyond;
                return if negative { -value } else { value };
            }
        }
    }
}

/// Whether `height < exp(power)`. A cheaper exponential decides, unless the two are so close that
/// only [`exp`] may.
#[inline]
fn is_below(height: f64, power: f64) -> bool {
    let density = rough_exp(power);
    let gap = density - height;
    if gap.abs() > ROUGH_ERROR {
        gap > 0.0
    } else {
        height < exp(power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(name: &str) -> Streams {
        let mut key = Digest::new();
        key.add_str(name);
        Streams::new(&key)
    }

    #[test]
    fn the_generator_gives_the_published_sequence() {
        // First outputs of the authors' C code for the state {1, 2, 3, 4}.
        let mut rng = Rng {
            state: [1, 2, 3, 4],
        };
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn a_stream_is_a_function_of_key_and_path_alone() {
        let (one, other) = (streams("coffee"), streams("sugar"));
        let first = |streams: Streams, path| streams.path(path).next_u64();
        assert_eq!(first(one, 7), first(streams("coffee"), 7));
        assert_ne!(first(one, 7), first(one, 8));
        assert_ne!(first(one, 7), first(other, 7));
    }

    #[test]
    fn stored_forecasts_never_change() {
        let mut rng = streams("pinned").path(1);
        let drawn = [(); 4].map(|()| rng.normal());
        let expected = [
            -0.247_736_413_004_077_5,
            -0.508_554_063_008_575_4,
            0.385_148_064_037_548_14,
            -0.297_258_591_499_653_3,
        ];
        assert_eq!(drawn, expected);
        assert_eq!(rng.uniform(), 0.444_977_031_115_223_8);
    }

    #[test]
    fn no_normal_number_ever_changes() {
        // Two million of them, wedges and tails included, as they were first written.
        let streams = Streams::new(&Digest::new());
        let mut sum = 0u64;
        for path in 1..=100_000 {
            let mut rng = streams.path(path);
            for _ in 0..20 {
                sum = (sum.rotate_left(5) ^ rng.normal().to_bits()).wrapping_mul(GOLDEN);
            }
        }
        assert_eq!(sum, 0x5c51_619f_26a8_243a);
    }

    const DRAWS: usize = 2_000_000;

    /// Many short streams, as forecasts use them, rather than one long one.
    fn normals(name: &str) -> impl Iterator<Item = f64> {
        let streams = streams(name);
        (1..=DRAWS as u64 / 20).flat_map(move |path| {
            let mut rng = streams.path(path);
            (0..20).map(move |_| rng.normal())
        })
    }

    #[test]
    fn normal_moments_are_within_four_standard_errors() {
        let mut sums = [0.0; 4];
        for value in normals("moments") {
            let mut power = 1.0;
            for sum in &mut sums {
                power *= value;
                *sum += power;
            }
        }
        // The variances of x, x^2, x^3 and x^4 are 1, 2, 15 and 96.
        let expected = [(0.0, 1.0f64), (1.0, 2.0), (0.0, 15.0), (3.0, 96.0)];
        for (sum, (moment, variance)) in sums.into_iter().zip(expected) {
            let count = DRAWS as f64;
            let off = (sum / count - moment) / (variance / count).sqrt();
            assert!(off.abs() < 4.0, "{off} standard errors off {moment}");
        }
    }

    /// The distribution function at multiples of one half (from tables of the normal integral).
    const NORMAL_BELOW: [(f64, f64); 8] = [
        (0.0, 0.5),
        (0.5, 0.691_462_461_274_013_1),
        (1.0, 0.841_344_746_068_542_9),
        (1.5, 0.933_192_798_731_141_9),
        (2.0, 0.977_249_868_051_820_8),
        (2.5, 0.993_790_334_674_223_8),
        (3.0, 0.998_650_101_968_369_9),
        (3.5, 0.999_767_370_920_964_5),
    ];

    #[test]
    fn tails_hold_the_mass_they_should() {
        let values: Vec<f64> = normals("tails").collect();
        for (edge, below) in NORMAL_BELOW {
            let expected = (1.0 - below) * DRAWS as f64;
            for sign in [-1.0, 1.0] {
                let beyond = values.iter().filter(|value| **value * sign > edge).count() as f64;
                let off = (beyond - expected) / (expected * below).sqrt();
                assert!(
                    off.abs() < 4.0,
                    "{off} standard errors off beyond {}",
                    sign * edge
                );
            }
        }
        // Beyond the start of the tail, where another method takes over: 2 Q(4) = 6.334e-5.
        let beyond = values.iter().filter(|value| value.abs() > 4.0).count() as f64;
        let expected = 6.334_248_366_623_996e-5 * DRAWS as f64;
        assert!(
            (beyond - expected).abs() < 4.0 * expected.sqrt(),
            "{beyond}, expected {expected}"
        );
    }

    #[test]
    fn normals_pass_kolmogorov_and_smirnov() {
        let mut values: Vec<f64> = normals("shape").collect();
        values.sort_by(f64::total_cmp);
        // The distribution function, integrated along the sorted values by the trapezoid rule
        // from its known value at the smallest one, found by a fine sum from -8 on.
        let density = |at: f64| (-0.5 * at * at).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let area = |from: f64, to: f64| 0.5 * (to - from) * (density(from) + density(to));
        let fine = 1e-4;
        let mut below = 0.0;
        let mut at = -8.0;
        let mut distance: f64 = 0.0;
        for (index, value) in values.iter().enumerate() {
            while at + fine < *value {
                below += area(at, at + fine);
                at += fine;
            }
            below += area(at, *value);
            at = *value;
            distance = distance.max((below - index as f64 / DRAWS as f64).abs());
        }
        // The 99.9 % point of the Kolmogorov distribution is 1.95.
        let statistic = distance * (DRAWS as f64).sqrt();
        assert!(statistic < 1.95, "{statistic}");
    }

    #[test]
    fn neighboring_paths_and_steps_are_uncorrelated() {
        let streams = streams("correlation");
        let (mut across, mut along) = (0.0, 0.0);
        let mut before = streams.path(0);
        for path in 1..=DRAWS as u64 / 20 {
            let mut rng = streams.path(path);
            let mut last = before.normal();
            for _ in 0..20 {
                let (here, there) = (rng.normal(), before.normal());
                across += here * there;
                along += last * there;
                last = there;
            }
            before = streams.path(path);
        }
        for sum in [across, along] {
            let off = sum / (DRAWS as f64).sqrt();
            assert!(off.abs() < 4.0, "{off} standard errors");
        }
    }

    #[test]
    fn uniforms_fill_their_range_evenly() {
        let mut rng = streams("uniform").path(1);
        let mut counts = [0.0; 100];
        for _ in 0..DRAWS {
            let value = rng.uniform();
            assert!((0.0..1.0).contains(&value));
            counts[(value * 100.0) as usize] += 1.0;
        }
        let expected = DRAWS as f64 / 100.0;
        let chi_square: f64 = counts
            .iter()
            .map(|count| (count - expected) * (count - expected) / expected)
            .sum();
        // 99 degrees of freedom: the 99.9 % point is 148.2.
        assert!(chi_square < 148.2, "{chi_square}");
    }
}
