use super::*;
use crate::{
    Ahead, Forecaster, Series, State,
    arima::Arima,
    ets::Ets,
    naive::Naive,
    noise::{Noise, student_t},
    outlook::Linear,
};

fn rng(name: &str) -> Rng {
    let mut key = Digest::new();
    key.add_str(name);
    Streams::new(&key).path(1)
}

fn params(text: &str) -> Params {
    Params::parse(text).unwrap()
}

fn dates(length: usize) -> Vec<i32> {
    (0..length as i32).collect()
}

fn part<'a>(dates: &'a [i32], values: &'a [f64], range: std::ops::Range<usize>) -> Series<'a> {
    Series {
        dates: &dates[range.clone()],
        values: &values[range],
        regressors: &[],
    }
}

fn simulate(state: &State, steps: usize, paths: usize, seed: u64) -> Paths {
    let ahead = Ahead {
        steps,
        dates: &[],
        regressors: &[],
    };
    let mut key = Digest::new();
    key.add_u64(seed);
    Naive
        .simulate(state, ahead, paths, &Streams::new(&key))
        .unwrap()
}

/// Whether each value from `first` on lay within the middle 80 % of the paths of the naive model,
/// fitted before and conditioned along the way, so many steps before.
fn inside(values: &[f64], first: usize, ahead: usize, text: &str) -> Vec<bool> {
    let dates = dates(values.len());
    let history = part(&dates, values, 0..first);
    let mut state = Naive.fit(history, &params(text), None).unwrap().state;
    (first..values.len() - ahead)
        .map(|origin| {
            let paths = simulate(&state, ahead, 400, origin as u64);
            let mut drawn = paths.step(ahead - 1).to_vec();
            drawn.sort_unstable_by(f64::total_cmp);
            let actual = values[origin + ahead - 1];
            let recent = part(&dates, values, origin..origin + 1);
            state = Naive.condition(&state, recent).unwrap();
            (drawn[40]..=drawn[359]).contains(&actual)
        })
        .collect()
}

fn share(inside: &[bool]) -> f64 {
    inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
}

/// Prices that are quiet for 150 steps, then wild for 150, and so on.
fn spells(length: usize) -> Vec<f64> {
    let mut rng = rng("spells");
    let mut price = 100.0;
    (0..length)
        .map(|step| {
            let deviation = if step / 150 % 2 == 0 { 0.005 } else { 0.02 };
            price *= exp(deviation * rng.normal());
            price
        })
        .collect()
}

const VOLATILITY: &str = r#"{"calibrate":"volatility"}"#;
const CONFORMAL: &str = r#"{"calibrate":"conformal"}"#;

#[test]
fn widths_follow_spells_where_they_are_asked_to() {
    let values = spells(3_600);
    let share_in = |inside: &[bool], wild: bool| {
        let of_kind = inside.iter().enumerate();
        let of_kind = of_kind.filter(|(step, _)| (step / 150 % 2 == 1) == wild);
        share(&of_kind.map(|(_, inside)| *inside).collect::<Vec<_>>())
    };
    let constant = inside(&values, 2_400, 1, "{}");
    let adaptive = inside(&values, 2_400, 1, VOLATILITY);
    for wild in [false, true] {
        // What remains comes from the first steps of each spell.
        let off = |inside| (share_in(inside, wild) - 0.8).abs();
        assert!(off(&constant) > 0.15, "{wild}: {}", off(&constant));
        assert!(off(&adaptive) < 0.13, "{wild}: {}", off(&adaptive));
    }
    assert!((share(&adaptive) - 0.8).abs() < 0.03);
    for ahead in [5, 12] {
        let share = share(&inside(&values, 2_400, ahead, VOLATILITY));
        assert!((share - 0.8).abs() < 0.06, "{ahead} ahead: {share}");
    }
}

#[test]
fn shapes_and_growths_that_are_wrong_are_put_right() {
    // Heavy tails around a level that returns: Gaussian steps are too wide in the middle, and the
    // distance does not grow as that of a walk does.
    let mut rng = rng("heavy");
    let mut level = 0.0;
    let values: Vec<f64> = (0..4_000)
        .map(|_| {
            level = 0.7 * level + student_t(&mut rng, 3.0);
            level
        })
        .collect();
    for (ahead, least_off, tolerance) in [(1, 0.04, 0.03), (10, 0.1, 0.07)] {
        let as_given = share(&inside(&values, 2_500, ahead, "{}"));
        assert!(as_given - 0.8 > least_off, "{ahead}: {as_given}");
        let calibrated = share(&inside(&values, 2_500, ahead, CONFORMAL));
        assert!(
            (calibrated - 0.8).abs() < tolerance,
            "{ahead}: {calibrated}"
        );
    }
}

#[test]
fn the_measure_is_the_one_that_makes_errors_likelier() {
    let last_price = |length: usize, text: &str| {
        let values = spells(length);
        let dates = dates(length);
        let history = part(&dates, &values, 0..length);
        Naive.fit(history, &params(text), None).unwrap().state
    };
    let auto = r#"{"calibrate":"auto"}"#;
    assert_eq!(last_price(3_600, auto), last_price(3_600, VOLATILITY));
    // One step in ten is ten times as large: what was newest says nothing of what comes.
    let mut rng = rng("season");
    let mut level = 0.0;
    let values: Vec<f64> = (0..2_000)
        .map(|step| {
            level += if step % 10 == 0 { 10.0 } else { 1.0 } * rng.normal();
            level
        })
        .collect();
    let dates = dates(values.len());
    let state = |text: &str| {
        let history = part(&dates, &values, 0..values.len());
        Naive.fit(history, &params(text), None).unwrap().state
    };
    assert_eq!(state(auto), state(CONFORMAL));
    assert_ne!(state(auto), state(VOLATILITY));
}

#[test]
fn a_history_that_is_too_short_leaves_paths_as_they_are() {
    let values = spells(19);
    let dates = dates(19);
    let state = |text: &str| {
        let history = part(&dates, &values, 0..19);
        Naive.fit(history, &params(text), None).unwrap().state
    };
    for calibrate in [CONFORMAL, VOLATILITY, r#"{"calibrate":"auto"}"#] {
        let state = state(calibrate);
        let why = r#""uncalibrated":"there are too few observations""#;
        assert!(state.as_str().contains(why));
    }
    assert!(!state("{}").as_str().contains("calibrat"));
    let paths = |text: &str| simulate(&state(text), 5, 100, 1);
    assert_eq!(paths(CONFORMAL), paths("{}"));
    assert_eq!(window(20, 2), Some(10));
    assert_eq!(window(20, 11), None);
    assert_eq!(window(1_000_000, 2), Some(2_000));
}

#[test]
fn widths_hold_although_nobody_knows_the_covariates_to_come() {
    // A random walk that follows another, of which a forecast knows the first step, and for the others
    // can only take it to stay there.
    let mut rng = rng("covariate");
    let (mut level, mut leader) = (0.0, 0.0);
    let (values, regressor): (Vec<f64>, Vec<f64>) = (0..3_000)
        .map(|_| {
            level += rng.normal();
            let value = level + 2.0 * leader;
            let known = leader;
            leader += rng.normal();
            (value, known)
        })
        .unzip();
    let dates = dates(values.len());
    let known = |range: std::ops::Range<usize>| vec![regressor[range].to_vec()];
    let (before, steps) = (known(0..2_000), 10);
    let history = Series {
        regressors: &before,
        ..part(&dates, &values, 0..2_000)
    };
    let text = r#"{"order":[0,1,0],"calibrate":"auto"}"#;
    let mut state = Arima.fit(history, &params(text), None).unwrap().state;
    let mut inside = [vec![], vec![], vec![]];
    for origin in 2_000..values.len() - steps {
        let ahead = Ahead {
            steps,
            dates: &[],
            regressors: &[vec![regressor[origin]; steps]],
        };
        let paths = Arima.simulate(&state, ahead, 400, &Streams::new(&Digest::new()));
        let paths = paths.unwrap();
        for (inside, step) in inside.iter_mut().zip([0, 1, steps - 1]) {
            let mut drawn = paths.step(step).to_vec();
            drawn.sort_unstable_by(f64::total_cmp);
            inside.push((drawn[40]..=drawn[359]).contains(&values[origin + step]));
        }
        let recent = Series {
            regressors: &known(origin..origin + 1),
            ..part(&dates, &values, origin..origin + 1)
        };
        state = Arima.condition(&state, recent).unwrap();
    }
    // With the covariates that came instead of those expected it was less than half at the last.
    let shares = inside.map(|inside| share(&inside));
    assert!(
        shares.iter().all(|share| (0.7..0.9).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn newer_observations_change_the_width_at_once() {
    let mut values = spells(1_000);
    let last = values[999];
    values.extend((1..=10).map(|step| if step % 2 == 0 { last } else { 1.1 * last }));
    let dates = dates(values.len());
    let fit = |text| {
        let history = part(&dates, &values, 0..1_000);
        Naive.fit(history, &params(text), None).unwrap().state
    };
    let width = |state: &State| crate::moments::deviation(simulate(state, 1, 4_000, 1).step(0));
    for (text, least, most) in [("{}", 0.99, 1.01), (VOLATILITY, 1.5, 10.0)] {
        let state = fit(text);
        let recent = part(&dates, &values, 1_000..1_010);
        let later = Naive.condition(&state, recent).unwrap();
        let ratio = width(&later) / width(&state);
        assert!((least..most).contains(&ratio), "{text}: {ratio}");
    }
}

/// One value where many are stretched together is what it is alone.
fn stretched(stretch: &Stretch, point: f64, value: f64) -> f64 {
    let mut values = [value; LANES + 1];
    stretch.all(point, &mut values);
    assert!(values.iter().all(|found| *found == values[0]));
    values[0]
}

#[test]
fn distances_go_along_straight_lines_between_knots() {
    // Knots at 10 and 20, which go to 10 and 15.
    let stretch = Stretch::along(1.0, [(10.0, -0.5), (20.0, 0.25)]);
    let found = [0.0, 4.0, 10.0, 16.0, 20.0, 40.0].map(|at| stretched(&stretch, 0.0, -at));
    assert_eq!(found, [0.0, -4.0, -10.0, -13.0, -15.0, -30.0]);
    assert_eq!(stretched(&stretch, 100.0, 116.0), 113.0);
    assert_eq!(stretched(&stretch, 100.0, 84.0), 87.0);
    assert_eq!(stretched(&stretch, -3.0, -3.0), -3.0);
    let curve: Curve = serde_json::from_str(r#"{"expected":[1.0,2.0],"found":[1.0,1.5]}"#).unwrap();
    let same = Stretch::new(&curve, 10.0, 1.0);
    assert_eq!((same.slope, same.knots), (stretch.slope, stretch.knots));
}

#[test]
fn what_was_positive_stays_so_in_its_order() {
    let wide = Stretch::along(3.0, []);
    let mut found: Vec<f64> = (1..=100).map(f64::from).collect();
    let alone: Vec<f64> = found
        .iter()
        .map(|value| stretched(&wide, 100.0, *value))
        .collect();
    wide.all(100.0, &mut found);
    assert!(found[0] > 0.0 && found.is_sorted());
    assert_eq!(found, alone);
    assert_eq!(stretched(&wide, 100.0, 90.0), 70.0);
    // A model that draws negative values itself may do so.
    assert_eq!(stretched(&wide, 10.0, -10.0), -50.0);
}

#[test]
fn around_zero_and_below_values_keep_their_order() {
    let narrow = Stretch::along(0.5, [(2.0, 0.25)]);
    assert_eq!(stretched(&narrow, -1.0, 0.5), -0.25);
    for point in [-3.0, 0.0] {
        let mut values: Vec<f64> = (-80..=80).map(|value| f64::from(value) / 10.0).collect();
        narrow.all(point, &mut values);
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{point}");
    }
}

#[test]
fn a_model_that_never_saw_the_newest_level_tells_nothing() {
    // Noise around a level, which the older part says to be constant, and a new level.
    let mut rng = rng("shift");
    let values: Vec<f64> = (0..1_000)
        .map(|step| if step < 700 { 100.0 } else { 200.0 } + rng.normal())
        .collect();
    let dates = dates(values.len());
    let width = |text: &str| {
        let history = part(&dates, &values, 0..values.len());
        let state = Ets.fit(history, &params(text), None).unwrap().state;
        let ahead = Ahead {
            steps: 10,
            dates: &[],
            regressors: &[],
        };
        let paths = Ets.simulate(&state, ahead, 1_000, &Streams::new(&Digest::new()));
        crate::moments::deviation(paths.unwrap().step(9))
    };
    let without = width("{}");
    for text in [CONFORMAL, VOLATILITY, r#"{"calibrate":"auto"}"#] {
        let with = width(text);
        assert!(
            (0.2..5.0).contains(&(with / without)),
            "{text}: {with} {without}"
        );
    }
}

#[test]
fn values_stay_finite() {
    let wide = Stretch::along(3.0, [(1.0, -2.0)]);
    for value in [f64::MAX, f64::MIN] {
        assert_eq!(stretched(&wide, 0.0, value), value);
    }
}

#[test]
fn paths_drawn_together_are_those_drawn_alone_and_longer_ones_go_on() {
    let calibration = Calibration {
        volatility: None,
        curves: vec![
            serde_json::from_str(r#"{"expected":[0.5,2.0],"found":[0.4,2.5]}"#).unwrap(),
            serde_json::from_str(r#"{"expected":[0.5],"found":[0.7]}"#).unwrap(),
        ],
        newer: 0,
    };
    calibration.check().unwrap();
    let calibrated = |steps: usize| {
        let inner = Linear {
            mean: vec![5.0; steps],
            weights: vec![1.0; steps],
            noise: Noise::gaussian(2.0),
        };
        calibration.apply(Box::new(inner), steps)
    };
    let streams = Streams::new(&Digest::new());
    let together = calibrated(9).simulate(9, 37, &streams);
    for path in 0..37 {
        let mut alone = [0.0; 4];
        calibrated(4).draw(&mut streams.path(path as u64 + 1), &mut alone);
        for (step, value) in alone.iter().enumerate() {
            assert_eq!(*value, together.step(step)[path]);
        }
    }
}

#[test]
fn a_fit_near_an_earlier_one_keeps_what_was_learned_until_a_tenth_is_new() {
    let values = spells(1_200);
    let dates = dates(values.len());
    let fit = |length: usize, text: &str, previous: Option<&State>| {
        let history = part(&dates, &values, 0..length);
        Naive.fit(history, &params(text), previous).unwrap().state
    };
    let calibration = |state: &State| {
        let state: serde_json::Value = serde_json::from_str(state.as_str()).unwrap();
        state["body"]["calibration"].clone()
    };
    let earlier = fit(1_000, VOLATILITY, None);
    let recent = part(&dates, &values, 1_000..1_100);
    let conditioned = Naive.condition(&earlier, recent).unwrap();
    let near = fit(1_100, VOLATILITY, Some(&earlier));
    assert_eq!(calibration(&near), calibration(&conditioned));
    assert_ne!(calibration(&near), calibration(&earlier));
    assert_ne!(near, fit(1_100, VOLATILITY, None));
    for (length, text, previous) in [
        (1_200, VOLATILITY, &earlier),
        (1_200, VOLATILITY, &near),
        (1_100, CONFORMAL, &earlier),
    ] {
        assert_eq!(fit(length, text, Some(previous)), fit(length, text, None));
    }
}
