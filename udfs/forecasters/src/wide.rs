//! Loops over many numbers, compiled for wider vectors as well.
//!
//! Programs are built for the oldest processor of their kind, whose vectors hold two doubles; most
//! machines have vectors of four. Both give the same bits: the numbers of a vector do not see each
//! other, and the compiler fuses no product with a sum of its own accord.

/// Does some work, with the wider vectors where this processor has them. What the work calls has to
/// be inlined to gain from that.
#[inline(always)]
pub(crate) fn wide<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the processor has just been asked")]
        // SAFETY: it has the instructions that the function is compiled for.
        return unsafe { with_avx2(work) };
    }
    alone(work)
}

// Compiled alone, loops over lanes become vectors; within others they do not.
#[inline(never)]
fn alone<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Streams};

    #[test]
    fn wider_vectors_give_the_same_bits() {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let values: Vec<[f64; 16]> = (0..200).map(|_| [(); 16].map(|()| rng.normal())).collect();
        let work = || {
            let mut sums = [1.0; 16];
            for values in &values {
                for lane in 0..16 {
                    sums[lane] += values[lane] * sums[lane] * 0.1 - values[lane].abs() / 3.0;
                }
            }
            sums.map(f64::to_bits)
        };
        assert_eq!(wide(work), alone(work));
    }
}
