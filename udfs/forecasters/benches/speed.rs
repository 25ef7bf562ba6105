//! How fast the models fit, catch up and simulate, and how fast paths are summarised.
//!
//! ```text
//! cargo bench -p almanac-forecasters                             # everything: some minutes
//! cargo bench -p almanac-forecasters -- fit/auto_ces             # what has this in its name
//! cargo bench -p almanac-forecasters -- --save-baseline before   # then, after a change:
//! cargo bench -p almanac-forecasters -- --baseline before
//! ```
//!
//! Seeds are fixed, data is built outside the timed part, and everything runs on one core. `cargo test
//! --all-targets` runs each once, to see that it works.

use std::{hint::black_box, time::Duration};

use almanac_forecasters::{
    Ahead, Digest, Entry, Params, Series, State, Streams, Summariser, catalog,
};
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};

const PATHS: usize = 2_000;
const STEPS: usize = 14;
const LENGTHS: [usize; 2] = [250, 2_500];
const SEASON: usize = 12;
const LONG_SEASON: usize = 52;
/// As many observations as a state catches up with at once.
const RECENT: usize = 30;

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = fit, fit_seasonal, refit, condition, advance_seasonal, simulate, summarise, digest,
        normals
}
criterion_main!(kernels);

/// A price of some days.
struct Walk {
    dates: Vec<i32>,
    values: Vec<f64>,
}

impl Walk {
    fn new(length: usize) -> Walk {
        let mut rng = Streams::new(&Digest::new()).path(1);
        let mut level = 180.0;
        let mut step = || {
            level *= 1.0 + 0.015 * rng.normal();
            level
        };
        Walk {
            dates: (0..length as i32).collect(),
            values: (0..length).map(|_| step()).collect(),
        }
    }

    /// The same with a season.
    fn seasonal(length: usize, season: usize) -> Walk {
        let mut walk = Walk::new(length);
        for (index, value) in walk.values.iter_mut().enumerate() {
            let place = (index % season) as f64 / season as f64;
            *value *= 1.0 + 0.2 * libm::sin(std::f64::consts::TAU * place);
        }
        walk
    }

    fn part(&self, range: std::ops::Range<usize>) -> Series<'_> {
        Series {
            dates: &self.dates[range.clone()],
            values: &self.values[range],
            regressors: &[],
        }
    }

    fn series(&self) -> Series<'_> {
        self.part(0..self.dates.len())
    }
}

fn params(entry: &Entry) -> Params {
    Params::parse(entry.params).expect("the catalog holds JSON objects")
}

/// The state of an entry, all but the newest observations of the walk known.
fn fitted(entry: &Entry, params: &Params, walk: &Walk) -> State {
    let known = walk.dates.len() - RECENT;
    entry
        .family
        .fit(walk.part(0..known), params, None)
        .expect("the history is long enough")
        .state
}

fn fit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fit");
    for length in LENGTHS {
        let walk = Walk::new(length);
        for entry in catalog() {
            time_fit(&mut group, entry, &walk, &params(entry));
        }
    }
}

/// The models that know seasons, given one.
fn fit_seasonal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fit_seasonal");
    let walk = Walk::seasonal(LENGTHS[0], SEASON);
    for (entry, params) in seasonal(SEASON) {
        time_fit(&mut group, entry, &walk, &params);
    }
}

/// The entries that know seasons, with the parameters of one.
fn seasonal(season: usize) -> impl Iterator<Item = (&'static Entry, Params)> {
    let knows = |entry: &&Entry| {
        let mut parameters = entry.family.parameters().into_iter();
        parameters.any(|parameter| parameter.name == "season_length")
    };
    catalog().iter().filter(knows).map(move |entry| {
        let mut values = params(entry).values().clone();
        values.insert("season_length".to_owned(), season.into());
        (entry, Params::from(values))
    })
}

/// Fits that begin from the state of a history without its newest observations.
fn refit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refit");
    let walk = Walk::new(LENGTHS[1]);
    for entry in catalog() {
        let params = params(entry);
        group.bench_function(BenchmarkId::new(entry.key, LENGTHS[1]), |bencher| {
            let state = fitted(entry, &params, &walk);
            bencher.iter(|| {
                entry
                    .family
                    .fit(walk.series(), &params, Some(&state))
                    .expect("the history is long enough")
            });
        });
    }
}

fn time_fit(group: &mut BenchmarkGroup<'_, WallTime>, entry: &Entry, walk: &Walk, params: &Params) {
    let id = BenchmarkId::new(entry.key, walk.dates.len());
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            entry
                .family
                .fit(walk.series(), params, None)
                .expect("the history is long enough")
        });
    });
}

/// Into a state as it is stored, and back.
fn condition(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("condition");
    let walk = Walk::new(LENGTHS[1]);
    let recent = walk.part(LENGTHS[1] - RECENT..LENGTHS[1]);
    for entry in catalog() {
        group.bench_function(BenchmarkId::new(entry.key, RECENT), |bencher| {
            let state = fitted(entry, &params(entry), &walk);
            bencher.iter(|| {
                entry
                    .family
                    .condition(&state, recent)
                    .expect("the observations are newer")
            });
        });
    }
}

/// Into a state that was decoded before, as a forecast holds it from day to day, with a long season.
fn advance_seasonal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("advance_seasonal");
    let walk = Walk::seasonal(LENGTHS[1] + 1, LONG_SEASON);
    let newest = walk.dates.len();
    // The day before decodes what a state decodes only when it is needed.
    let (before, recent) = (newest - RECENT - 1, newest - RECENT);
    for (entry, params) in seasonal(LONG_SEASON) {
        group.bench_function(BenchmarkId::new(entry.key, RECENT), |bencher| {
            let fitted = entry.family.fit(walk.part(0..before), &params, None);
            let state = fitted.expect("the history is long enough").state;
            let mut running = entry.family.resume(&state).expect("it was just written");
            let day = running.advance(walk.part(before..recent), &mut |_| {});
            day.expect("the observation is newer");
            let recent = walk.part(recent..newest);
            bencher.iter_batched_ref(
                || running.copy(),
                |running| {
                    let advanced = running.advance(recent, &mut |_| {});
                    advanced.expect("the observations are newer");
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn simulate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate");
    let walk = Walk::new(LENGTHS[1]);
    let streams = Streams::new(&Digest::new());
    let newest = walk.dates[LENGTHS[1] - RECENT - 1];
    let dates: Vec<i32> = (1..=STEPS as i32).map(|step| newest + step).collect();
    let ahead = Ahead {
        steps: STEPS,
        dates: &dates,
        regressors: &[],
    };
    for entry in catalog() {
        let id = BenchmarkId::new(entry.key, format!("{PATHS}x{STEPS}"));
        group.bench_function(id, |bencher| {
            let state = fitted(entry, &params(entry), &walk);
            bencher.iter(|| {
                entry
                    .family
                    .simulate(&state, ahead, PATHS, &streams)
                    .expect("nothing is missing")
            });
        });
    }
}

fn summarise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("summarise");
    let mut rng = Streams::new(&Digest::new()).path(1);
    let sample: Vec<f32> = (0..PATHS)
        .map(|_| (180.0 + 5.0 * rng.normal()) as f32)
        .collect();
    let mut summariser = Summariser::new();
    group.throughput(Throughput::Elements(PATHS as u64));
    group.bench_function(BenchmarkId::from_parameter(PATHS), |bencher| {
        bencher.iter(|| summariser.summarise(black_box(&sample)));
    });
}

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    let walk = Walk::new(LENGTHS[1]);
    group.throughput(Throughput::Elements(LENGTHS[1] as u64));
    group.bench_function(BenchmarkId::from_parameter(LENGTHS[1]), |bencher| {
        bencher.iter(|| {
            let mut digest = Digest::new();
            black_box(&walk)
                .values
                .iter()
                .for_each(|value| digest.add_f64(*value));
            digest
        });
    });
}

fn normals(criterion: &mut Criterion) {
    const COUNT: u64 = 100_000;
    let mut group = criterion.benchmark_group("normals");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function(BenchmarkId::from_parameter(COUNT), |bencher| {
        let mut rng = Streams::new(&Digest::new()).path(1);
        bencher.iter(|| (0..COUNT).map(|_| rng.normal()).sum::<f64>());
    });
}
