//! Exponentials, logarithms and trigonometry that give the same bits on every machine.
//!
//! The standard library's own go to the platform's mathematics library, which picks its code by
//! the processor it finds: two machines of one cluster could disagree in the last bit of a stored
//! forecast. clippy.toml keeps the standard ones out of this crate.

pub(crate) use libm::{cos, exp, expm1, lgamma, log as ln, log1p, pow, sin, tanh};
