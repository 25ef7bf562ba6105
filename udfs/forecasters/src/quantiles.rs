//! Means, deviations and quantiles of simulated values, the same for every model.
//!
//! Values are single precision because tables store them so, and a point forecast is defined on
//! what is stored. All results are computed in double precision.

/// The probabilities of the quantiles in a [`Summary`].
pub const LEVELS: [f64; 11] = [
    0.01, 0.025, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.975, 0.99,
];

/// What a point forecast says about one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The standard deviation with divisor n - 1; 0 for a single path.
    pub std: f64,
    /// The quantiles at [`LEVELS`], interpolated linearly between order statistics (type 7 of
    /// Hyndman and Fan 1996, the default of numpy).
    pub quantiles: [f64; LEVELS.len()],
}

/// One quantile, as [`Summary::quantiles`] defines it, at any level from 0 to 1. `None` if there are
/// no values, one is not finite, or the level is none.
pub fn quantile(values: &[f32], level: f64) -> Option<f64> {
    if values.is_empty()
        || !values.iter().all(|value| value.is_finite())
        || !(0.0..=1.0).contains(&level)
    {
        return None;
    }
    let mut keys: Vec<i32> = values.iter().map(|value| key(*value)).collect();
    keys.sort_unstable();
    let position = (values.len() - 1) as f64 * level;
    let below = position as usize;
    let above = (below + 1).min(values.len() - 1);
    Some(interpolate(
        keys[below],
        keys[above],
        position - position.floor(),
    ))
}

const BUCKETS: usize = 512;
/// Fewer values than this are sorted; with as many, no two levels share an order statistic.
const LEAST_BUCKETED: usize = 256;
/// Sums run in this many lanes, so that their order is fixed and still vectorizes.
const LANES: usize = 8;

/// Summarises the paths of one step after another, reusing its buffers.
///
/// Sorting thousands of values to read a few ranks is wasteful. The values are counted into
/// buckets of equal width; only those in buckets that hold a wanted rank are sorted. The result is
/// exactly that of a full sort.
#[derive(Clone, Debug)]
pub struct Summariser {
    counts: [u32; BUCKETS],
    wanted: [bool; BUCKETS],
    /// The bucket of each value.
    buckets: Vec<u16>,
    /// The values whose order is wanted, as sortable keys.
    keys: Vec<i32>,
}

impl Default for Summariser {
    fn default() -> Self {
        Summariser::new()
    }
}

/// A quantile lies between the order statistics `below` and `below + 1`, at `fraction`.
#[derive(Clone, Copy)]
struct Rank {
    below: usize,
    fraction: f64,
}

impl Summariser {
    /// Makes the buffers.
    pub fn new() -> Self {
        Summariser {
            counts: [0; BUCKETS],
            wanted: [false; BUCKETS],
            buckets: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Summarises the values, one per path in path order. `None` if there are none or one is not
    /// finite.
    pub fn summarise(&mut self, values: &[f32]) -> Option<Summary> {
        let Extent { low, high, sum } = Extent::of(values)?;
        let count = values.len() as f64;
        let mean = sum / count;
        let std = if values.len() > 1 {
            (squares_around(values, mean) / (count - 1.0)).sqrt()
        } else {
            0.0
        };
        let ranks = LEVELS.map(|level| {
            let position = (count - 1.0) * level;
            Rank {
                below: position as usize,
                fraction: position - position.floor(),
            }
        });
        let scale = (BUCKETS - 1) as f32 / (high - low);
        let quantiles = if values.len() >= LEAST_BUCKETED && scale.is_normal() {
            self.select(values, low, scale, &ranks)
        } else {
            self.sort(values, &ranks)
        };
        Some(Summary {
            mean,
            std,
            quantiles,
        })
    }

    /// The quantiles by a full sort: for few values, and where the buckets cannot tell values
    /// apart because their range is empty, tiny or beyond single precision.
    fn sort(&mut self, values: &[f32], ranks: &[Rank; LEVELS.len()]) -> [f64; LEVELS.len()] {
        self.keys.clear();
        self.keys.extend(values.iter().map(|value| key(*value)));
        self.keys.sort_unstable();
        let last = values.len() - 1;
        ranks.map(|rank| {
            interpolate(
                self.keys[rank.below],
                self.keys[(rank.below + 1).min(last)],
                rank.fraction,
            )
        })
    }

    /// The quantiles by buckets.
    fn select(
        &mut self,
        values: &[f32],
        low: f32,
        scale: f32,
        ranks: &[Rank; LEVELS.len()],
    ) -> [f64; LEVELS.len()] {
        self.count(values, low, scale);
        let places = self.place(ranks);
        self.gather(values);
        self.keys.sort_unstable();
        std::array::from_fn(|level| {
            let [below, above] = places[level];
            interpolate(self.keys[below], self.keys[above], ranks[level].fraction)
        })
    }

    /// Counts the values into buckets. Rounding is monotonic, so a larger value never falls into
    /// a lower bucket.
    fn count(&mut self, values: &[f32], low: f32, scale: f32) {
        /// Added to a small number, it leaves the number's nearest integer in the low bits.
        const ROUNDER: f32 = (1 << 23) as f32;
        self.buckets.clear();
        self.buckets.extend(values.iter().map(|value| {
            let scaled = (value - low) * scale + ROUNDER;
            (scaled.to_bits() % BUCKETS as u32) as u16
        }));
        self.counts.fill(0);
        for bucket in &self.buckets {
            self.counts[*bucket as usize % BUCKETS] += 1;
        }
    }

    /// Marks the buckets that hold a wanted order statistic, and says where each rank's two will
    /// be among the sorted values of all marked buckets.
    fn place(&mut self, ranks: &[Rank; LEVELS.len()]) -> [[usize; 2]; LEVELS.len()] {
        self.wanted.fill(false);
        let mut places = [[0; 2]; LEVELS.len()];
        let (mut bucket, mut before, mut gathered_before) = (0, 0, 0);
        for (rank, places) in ranks.iter().zip(&mut places) {
            for (position, place) in [rank.below, rank.below + 1].into_iter().zip(places) {
                while before + self.counts[bucket] as usize <= position {
                    let count = self.counts[bucket] as usize;
                    before += count;
                    gathered_before += if self.wanted[bucket] { count } else { 0 };
                    bucket += 1;
                }
                self.wanted[bucket] = true;
                *place = gathered_before + position - before;
            }
        }
        places
    }

    /// Fills `keys` with the values in marked buckets. They are few, so the branch is cheap.
    fn gather(&mut self, values: &[f32]) {
        self.keys.clear();
        for (value, bucket) in values.iter().zip(&self.buckets) {
            if self.wanted[*bucket as usize % BUCKETS] {
                self.keys.push(key(*value));
            }
        }
    }
}

struct Extent {
    low: f32,
    high: f32,
    sum: f64,
}

impl Extent {
    /// `None` if there are no values or one is not finite.
    fn of(values: &[f32]) -> Option<Extent> {
        let first = *values.first()?;
        let mut lows = [first; LANES];
        let mut highs = [first; LANES];
        let mut sums = [0.0; LANES];
        let chunks = values.chunks_exact(LANES);
        let rest = chunks.remainder();
        let mut take = |lane: usize, value: f32| {
            lows[lane] = if value < lows[lane] {
                value
            } else {
                lows[lane]
            };
            highs[lane] = if value > highs[lane] {
                value
            } else {
                highs[lane]
            };
            sums[lane] += f64::from(value);
        };
        for chunk in chunks {
            for (lane, value) in chunk.iter().enumerate() {
                take(lane, *value);
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            take(lane, *value);
        }
        let sum = total(sums);
        // A sum of single-precision numbers cannot leave double precision unless one of them is
        // not finite.
        sum.is_finite().then(|| Extent {
            low: lows.into_iter().fold(first, f32::min),
            high: highs.into_iter().fold(first, f32::max),
            sum,
        })
    }
}

fn squares_around(values: &[f32], mean: f64) -> f64 {
    let mut sums = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            let deviation = f64::from(*value) - mean;
            *sum += deviation * deviation;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        let deviation = f64::from(*value) - mean;
        *sum += deviation * deviation;
    }
    total(sums)
}

fn total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// An integer that sorts as the number does, negative zero before zero.
fn key(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

fn number(key: i32) -> f64 {
    f64::from(f32::from_bits((key ^ ((key >> 31) & i32::MAX)) as u32))
}

/// numpy's interpolation: from the nearer end, so that it never passes the other.
fn interpolate(below: i32, above: i32, fraction: f64) -> f64 {
    let (below, above) = (number(below), number(above));
    let distance = above - below;
    if fraction < 0.5 {
        below + distance * fraction
    } else {
        above - distance * (1.0 - fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Rng, Streams};

    fn quantiles_by_sorting(values: &[f32]) -> [f64; LEVELS.len()] {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        LEVELS.map(|level| {
            let position = (values.len() - 1) as f64 * level;
            let below = sorted[position.floor() as usize];
            let above = sorted[position.ceil() as usize];
            interpolate(key(below), key(above), position.fract())
        })
    }

    fn check(summariser: &mut Summariser, values: &[f32]) {
        let summary = summariser.summarise(values).unwrap();
        let bits = |quantiles: [f64; LEVELS.len()]| quantiles.map(f64::to_bits);
        assert_eq!(
            bits(summary.quantiles),
            bits(quantiles_by_sorting(values)),
            "{values:?}"
        );
        assert!(summary.quantiles.is_sorted());
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        let size = values
            .iter()
            .fold(0.0, |size: f64, value| size.max(f64::from(value.abs())));
        assert!(
            (summary.mean - mean).abs() <= 1e-12 * size,
            "{} {mean}",
            summary.mean
        );
    }

    fn rng() -> Rng {
        Streams::new(&Digest::new()).path(1)
    }

    #[test]
    fn one_quantile_is_that_of_the_summary() {
        let values: Vec<f32> = (0..977)
            .map(|i| ((i * 7919) % 977) as f32 * 0.37 - 50.0)
            .collect();
        for count in [1, 2, 3, 200, 977] {
            let values = &values[..count];
            let summary = Summariser::new().summarise(values).unwrap();
            for (level, wanted) in LEVELS.iter().zip(summary.quantiles) {
                assert_eq!(quantile(values, *level), Some(wanted), "{count}, {level}");
            }
        }
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[2.0, 1.0], 0.0), Some(1.0));
        assert_eq!(quantile(&[2.0, 1.0], 1.0), Some(2.0));
        for (values, level) in [(&[][..], 0.5), (&[f32::NAN][..], 0.5), (&[1.0][..], 1.5)] {
            assert_eq!(quantile(values, level), None);
        }
    }

    #[test]
    fn every_shape_of_sample_gives_the_quantiles_of_a_full_sort() {
        let mut rng = rng();
        let mut summariser = Summariser::new();
        let shapes: [fn(&mut Rng) -> f64; 12] = [
            |rng| rng.normal(),
            |rng| 180.0 + rng.normal(),
            |rng| rng.uniform(),
            |rng| crate::math::exp(rng.normal() * 3.0),
            |rng| 1.0 / (rng.uniform() - 0.5),
            |rng| (rng.uniform() * 4.0).floor() - 2.0,
            |rng| if rng.uniform() < 0.5 { -0.0 } else { 0.0 },
            |rng| {
                if rng.uniform() < 0.01 {
                    1e30
                } else {
                    rng.normal()
                }
            },
            |rng| rng.normal() * 1e-42,
            |rng| rng.normal() * 1e-37,
            |rng| (rng.uniform() - 0.5) * f64::from(f32::MAX) * 2.0,
            |_| 0.1,
        ];
        for length in [
            1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 1_000, 1_999, 2_000, 5_003, 70_000,
        ] {
            for shape in shapes {
                let values: Vec<f32> = (0..length).map(|_| shape(&mut rng) as f32).collect();
                check(&mut summariser, &values);
            }
        }
        for _ in 0..2_000 {
            let length = 1 + rng.next_u64() as usize % 600;
            let shape = shapes[rng.next_u64() as usize % shapes.len()];
            let values: Vec<f32> = (0..length).map(|_| shape(&mut rng) as f32).collect();
            check(&mut summariser, &values);
        }
    }

    #[test]
    fn a_sample_worked_by_hand() {
        let summary = Summariser::new().summarise(&[4.0, 1.0, 2.0]).unwrap();
        assert_eq!(summary.mean, 7.0 / 3.0);
        assert!((summary.std - (14.0f64 / 6.0).sqrt()).abs() < 1e-15);
        assert_eq!(
            (
                summary.quantiles[4],
                summary.quantiles[5],
                summary.quantiles[6]
            ),
            (1.5, 2.0, 3.0)
        );
    }

    #[test]
    fn one_path_has_no_deviation_and_equal_paths_have_none_either() {
        let mut summariser = Summariser::new();
        for length in [1, 2, 2_000] {
            let value = f64::from(0.1f32);
            let summary = summariser.summarise(&vec![0.1; length]).unwrap();
            assert_eq!(
                summary,
                Summary {
                    mean: value,
                    std: 0.0,
                    quantiles: [value; LEVELS.len()]
                }
            );
        }
    }

    #[test]
    fn nothing_and_non_finite_values_have_no_summary() {
        let mut summariser = Summariser::new();
        assert_eq!(summariser.summarise(&[]), None);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 500, 1_002] {
                let mut values = vec![1.0; 1_003];
                values[place] = value;
                assert_eq!(summariser.summarise(&values), None);
            }
        }
        assert_eq!(
            summariser.summarise(&[f32::INFINITY, f32::NEG_INFINITY]),
            None
        );
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        relative_tolerance: f64,
        values: Vec<f32>,
        mean: f64,
        std: f64,
        quantiles: [f64; LEVELS.len()],
    }

    #[test]
    fn figures_agree_with_the_reference() {
        let golden: Golden =
            serde_json::from_str(include_str!("../golden/quantiles.json")).unwrap();
        let summary = Summariser::new().summarise(&golden.values).unwrap();
        let near = |found: f64, expected: f64| {
            assert!(
                (found / expected - 1.0).abs() < golden.relative_tolerance,
                "{found} {expected}"
            );
        };
        near(summary.mean, golden.mean);
        near(summary.std, golden.std);
        for (found, expected) in summary.quantiles.into_iter().zip(golden.quantiles) {
            near(found, expected);
        }
    }
}
