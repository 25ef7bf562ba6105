//! How fast the models fit and simulate, and how fast paths are summarised.
//!
//! `cargo bench -p almanac-forecasters`. Each line is the fastest of many runs on one core, data
//! built outside the timed part.

use std::{hint::black_box, time::Instant};

use almanac_forecasters::{
    Ahead, Digest, Params, Rng, Series, State, Streams, Summariser, catalog,
};

const PATHS: usize = 2_000;
const STEPS: usize = 14;

fn main() {
    let streams = Streams::new(&Digest::new());
    let mut rng = streams.path(1);
    let normals = nanoseconds(|| (0..1_000_000).map(|_| rng.normal()).sum::<f64>());
    println!(
        "normal                               {:>10.2} ns each",
        normals / 1e6
    );

    for length in [250, 2_500] {
        let (dates, values) = walk(&mut rng, length);
        let history = Series {
            dates: &dates,
            values: &values,
            regressors: &[],
        };
        for entry in catalog() {
            let params = Params::parse(entry.params).expect("the catalog holds JSON objects");
            let fit = || {
                entry
                    .family
                    .fit(history, &params, None)
                    .expect("the history is long enough")
            };
            println!(
                "fit {:<18} {length:>6} values {:>10.1} us",
                entry.key,
                nanoseconds(fit) / 1e3
            );
        }
    }

    let (dates, values) = walk(&mut rng, 2_500);
    let history = Series {
        dates: &dates,
        values: &values,
        regressors: &[],
    };
    let next = [dates[dates.len() - 1] + 1];
    let recent = Series {
        dates: &next,
        values: &values[..1],
        regressors: &[],
    };
    let ahead = Ahead {
        steps: STEPS,
        dates: &[],
        regressors: &[],
    };
    for entry in catalog() {
        let params = Params::parse(entry.params).expect("the catalog holds JSON objects");
        let state = entry
            .family
            .fit(history, &params, None)
            .expect("the history is long enough")
            .state;
        let condition = || -> State {
            entry
                .family
                .condition(&state, recent)
                .expect("the observation is newer")
        };
        println!(
            "condition {:<18}           {:>10.2} us",
            entry.key,
            nanoseconds(condition) / 1e3
        );
        let simulate = || {
            entry
                .family
                .simulate(&state, ahead, PATHS, &streams)
                .expect("nothing is missing")
        };
        println!(
            "simulate {:<18} {PATHS} x {STEPS} {:>10.1} us",
            entry.key,
            nanoseconds(simulate) / 1e3
        );
    }

    let mut summariser = Summariser::new();
    let samples: Vec<Vec<f32>> = (0..STEPS)
        .map(|_| {
            (0..PATHS)
                .map(|_| (180.0 + 5.0 * rng.normal()) as f32)
                .collect()
        })
        .collect();
    let summarise = || {
        for sample in &samples {
            black_box(summariser.summarise(sample));
        }
    };
    println!(
        "summarise {PATHS} values             {:>10.2} us",
        nanoseconds(summarise) / 1e3 / STEPS as f64
    );
    let mut digest = Digest::new();
    let add = || values.iter().for_each(|value| digest.add_f64(*value));
    println!(
        "digest                               {:>10.2} ns a value",
        nanoseconds(add) / values.len() as f64
    );
    black_box(digest);
}

/// The fastest of many runs.
fn nanoseconds<T>(mut run: impl FnMut() -> T) -> f64 {
    (0..200)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_nanos() as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn walk(rng: &mut Rng, length: usize) -> (Vec<i32>, Vec<f64>) {
    let mut level = 180.0;
    let values = (0..length)
        .map(|_| {
            level *= 1.0 + 0.015 * rng.normal();
            level
        })
        .collect();
    ((0..length as i32).collect(), values)
}
