//! A running digest of numbers and text: tells inputs apart, keys random streams.
//!
//! Not cryptographic: it guards against accidents, not against somebody who looks for collisions.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A 128-bit digest that depends on what was added and in which order.
///
/// Every step is a bijection of the digest for a fixed input and of the input for a fixed digest,
/// so no information is lost before 128 bits have been added. There is no final step: a digest
/// read back from its text goes on where it was.
///
/// Numbers and text share one stream; add a length or a name where two readings could be mixed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Digest {
    low: u64,
    high: u64,
}

/// 2^64 divided by the golden ratio: keeps zeros from being a fixed point.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    /// The digest of nothing.
    pub fn new() -> Self {
        Digest::default()
    }

    /// Adds an integer.
    pub fn add_u64(&mut self, value: u64) {
        let mixed = mix((self.low ^ value).wrapping_add(GOLDEN));
        self.low = self.high.rotate_left(23).wrapping_add(mixed);
        self.high = mixed;
    }

    /// Adds the bits of a number; all NaNs are equal and so are the two zeros.
    pub fn add_f64(&mut self, value: f64) {
        let bits = if value.is_nan() {
            f64::NAN.to_bits()
        } else if value == 0.0 {
            0
        } else {
            value.to_bits()
        };
        self.add_u64(bits);
    }

    /// Adds a text: its length in bytes, then its bytes.
    pub fn add_str(&mut self, text: &str) {
        self.add_u64(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add_u64(u64::from_le_bytes(word));
        }
    }

    /// The digest as 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.to_string()
    }

    /// Reads 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let (high, low) = text.split_at(16);
        Some(Digest {
            low: u64::from_str_radix(low, 16).ok()?,
            high: u64::from_str_radix(high, 16).ok()?,
        })
    }

    /// The low 64 bits, as good as a 64-bit hash.
    pub fn low64(&self) -> u64 {
        self.low
    }

    pub(crate) fn high64(&self) -> u64 {
        self.high
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}{:016x}", self.high, self.low)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::from_hex(&text).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is no digest of 32 hexadecimal digits"))
        })
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): a bijection in which every input bit
/// flips every output bit with probability close to one half.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn digest_of(values: &[u64]) -> Digest {
        let mut digest = Digest::new();
        values.iter().for_each(|value| digest.add_u64(*value));
        digest
    }

    #[test]
    fn order_and_leading_zeros_matter() {
        assert_ne!(digest_of(&[1, 2]), digest_of(&[2, 1]));
        assert_ne!(digest_of(&[]), digest_of(&[0]));
        assert_ne!(digest_of(&[0]), digest_of(&[0, 0]));
    }

    #[test]
    fn all_nans_are_equal_and_so_are_the_zeros() {
        let of = |value: f64| {
            let mut digest = Digest::new();
            digest.add_f64(value);
            digest
        };
        assert_eq!(of(f64::NAN), of(-f64::NAN));
        assert_eq!(of(0.0), of(-0.0));
        assert_ne!(of(1.0), of(-1.0));
    }

    #[test]
    fn text_is_split_where_it_is_split() {
        let of = |parts: &[&str]| {
            let mut digest = Digest::new();
            parts.iter().for_each(|part| digest.add_str(part));
            digest
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["coffee\0"]), of(&["coffee"]));
        assert_eq!(of(&["coffee and sugar"]), of(&["coffee and sugar"]));
    }

    #[test]
    fn a_digest_survives_its_text_and_goes_on_from_there() {
        let mut digest = digest_of(&[3, 5, 7]);
        let mut read = Digest::from_hex(&digest.hex()).unwrap();
        assert_eq!(read, digest);
        digest.add_u64(11);
        read.add_u64(11);
        assert_eq!(read, digest);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(Digest::from_hex("12"), None);
        assert_eq!(Digest::from_hex(&"g".repeat(32)), None);
    }

    #[test]
    fn one_flipped_bit_flips_half_of_the_digest() {
        let mut flipped = 0;
        let mut trials = 0;
        for length in 1..6 {
            for position in 0..length {
                for bit in 0..64 {
                    let mut values = vec![0x0123_4567_89ab_cdef; length];
                    let before = digest_of(&values);
                    values[position] ^= 1 << bit;
                    let after = digest_of(&values);
                    flipped += (before.low ^ after.low).count_ones();
                    trials += 64;
                }
            }
        }
        let share = f64::from(flipped) / f64::from(trials);
        assert!((share - 0.5).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_grid_of_small_inputs_has_no_low_collision() {
        let mut seen = HashSet::new();
        for first in 0..64 {
            for second in 0..64 {
                for third in 0..32 {
                    assert!(seen.insert(digest_of(&[first, second, third]).low64()));
                }
            }
        }
    }

    #[test]
    fn stored_digests_never_change() {
        let mut digest = Digest::new();
        digest.add_str("coffee");
        digest.add_f64(1.5);
        digest.add_u64(42);
        assert_eq!(digest.hex(), "cf49e3e7f642177bec2416188db539e0");
    }
}
