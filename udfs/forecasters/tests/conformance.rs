//! What every model in the catalog promises, checked for all of them.

use almanac_forecasters::{
    Ahead, Day, Digest, Entry, FitError, Forecaster, Params, Paths, Rng, Series, State, StateError,
    Streams, Summariser, catalog, families, family, nearest,
};

const STEPS: usize = 20;
const NOTHING: Series<'_> = Series {
    dates: &[],
    values: &[],
    regressors: &[],
};

/// A history with two covariates, one of them missing now and then.
struct Sample {
    dates: Vec<Day>,
    values: Vec<f64>,
    regressors: Vec<Vec<f64>>,
}

impl Sample {
    fn walk(length: usize, scale: f64) -> Sample {
        let mut rng = streams("sample").path(1);
        let mut level = 100.0;
        let mut sample = Sample::constant(length, 0.0);
        for index in 0..length {
            let weather = rng.normal();
            level += 0.05 + rng.normal() + 0.5 * weather;
            sample.values[index] = level * scale;
            sample.regressors[0][index] = weather;
            sample.regressors[1][index] = if index % 17 == 3 {
                f64::NAN
            } else {
                rng.normal()
            };
        }
        sample
    }

    fn constant(length: usize, value: f64) -> Sample {
        Sample {
            dates: (0..length as Day)
                .map(|index| 19_000 + index + index / 5 * 2)
                .collect(),
            values: vec![value; length],
            regressors: vec![vec![1.0; length]; 2],
        }
    }

    fn series(&self) -> Series<'_> {
        Series {
            dates: &self.dates,
            values: &self.values,
            regressors: &self.regressors,
        }
    }

    /// The observations of a range, covariates copied.
    fn part(&self, range: std::ops::Range<usize>) -> Sample {
        let cut = |column: &Vec<f64>| column[range.clone()].to_vec();
        Sample {
            dates: self.dates[range.clone()].to_vec(),
            values: self.values[range.clone()].to_vec(),
            regressors: self.regressors.iter().map(cut).collect(),
        }
    }
}

fn streams(name: &str) -> Streams {
    let mut key = Digest::new();
    key.add_str(name);
    Streams::new(&key)
}

fn params(entry: &Entry) -> Params {
    Params::parse(entry.params).unwrap()
}

fn fit(entry: &Entry, history: Series<'_>) -> State {
    entry
        .family
        .fit(history, &params(entry), None)
        .unwrap_or_else(|error| panic!("{}: {error}", entry.key))
        .state
}

fn simulate(family: &dyn Forecaster, state: &State, steps: usize, paths: usize) -> Paths {
    let regressors = vec![vec![0.3; steps]; 2];
    let ahead = Ahead {
        steps,
        dates: &[],
        regressors: &regressors,
    };
    family
        .simulate(state, ahead, paths, &streams("paths"))
        .unwrap()
}

fn assert_finite(paths: &Paths, key: &str) {
    assert!(paths.values.iter().all(|value| value.is_finite()), "{key}");
}

#[test]
fn a_state_survives_its_text_byte_for_byte() {
    let sample = Sample::walk(200, 1.0 / 3.0);
    for entry in catalog() {
        let state = fit(entry, sample.series());
        let read = State::from_text(state.as_str().to_owned()).unwrap();
        assert_eq!(read.model(), entry.family.name());
        let written = entry.family.condition(&read, NOTHING).unwrap();
        assert_eq!(written.as_str(), state.as_str(), "{}", entry.key);
        let (before, after) = (
            simulate(entry.family, &state, STEPS, 9),
            simulate(entry.family, &read, STEPS, 9),
        );
        assert_eq!(before, after, "{}", entry.key);
    }
}

#[test]
fn conditioning_in_pieces_equals_conditioning_at_once() {
    let sample = Sample::walk(260, 1.0);
    let (history, first, second, both) = (
        sample.part(0..150),
        sample.part(150..157),
        sample.part(157..260),
        sample.part(150..260),
    );
    for entry in catalog() {
        let state = fit(entry, history.series());
        let family = entry.family;
        let once = family.condition(&state, both.series()).unwrap();
        let halfway = family.condition(&state, first.series()).unwrap();
        let twice = family.condition(&halfway, second.series()).unwrap();
        assert_eq!(once.as_str(), twice.as_str(), "{}", entry.key);
        assert_ne!(once.as_str(), state.as_str(), "{}", entry.key);
    }
}

#[test]
fn conditioning_never_looks_at_what_is_already_known() {
    let sample = Sample::walk(100, 1.0);
    let overlapping = sample.part(99..100);
    for entry in catalog() {
        let state = fit(entry, sample.series());
        let error = entry
            .family
            .condition(&state, overlapping.series())
            .unwrap_err();
        assert_eq!(error.class(), "duplicate_date", "{}", entry.key);
    }
}

#[test]
fn the_same_streams_give_the_same_paths_and_others_give_others() {
    let sample = Sample::walk(200, 1.0);
    for entry in catalog() {
        let state = fit(entry, sample.series());
        let paths = simulate(entry.family, &state, STEPS, 30);
        assert_eq!(
            paths,
            simulate(entry.family, &state, STEPS, 30),
            "{}",
            entry.key
        );
        let regressors = vec![vec![0.3; STEPS]; 2];
        let ahead = Ahead {
            steps: STEPS,
            dates: &[],
            regressors: &regressors,
        };
        let others = entry
            .family
            .simulate(&state, ahead, 30, &streams("others"))
            .unwrap();
        assert_ne!(paths, others, "{}", entry.key);
    }
}

#[test]
fn a_path_depends_neither_on_the_count_nor_on_the_horizon() {
    let sample = Sample::walk(200, 1.0);
    for entry in catalog() {
        let state = fit(entry, sample.series());
        let many = simulate(entry.family, &state, STEPS, 50);
        let few = simulate(entry.family, &state, STEPS - 13, 7);
        assert_eq!(
            (few.steps, few.count, few.values.len()),
            (STEPS - 13, 7, 7 * (STEPS - 13))
        );
        for step in 0..few.steps {
            assert_eq!(few.step(step), &many.step(step)[..7], "{}", entry.key);
        }
        assert!(simulate(entry.family, &state, 0, 5).values.is_empty());
        assert!(simulate(entry.family, &state, 5, 0).values.is_empty());
    }
}

#[test]
fn quantiles_are_ordered_and_enclose_the_mean() {
    let sample = Sample::walk(300, 1.0);
    let mut summariser = Summariser::new();
    for entry in catalog() {
        let paths = simulate(entry.family, &fit(entry, sample.series()), STEPS, 2_000);
        for step in 0..STEPS {
            let stored: Vec<f32> = paths.step(step).iter().map(|value| *value as f32).collect();
            let summary = summariser.summarise(&stored).unwrap();
            assert!(summary.quantiles.is_sorted(), "{}", entry.key);
            assert!(summary.quantiles[0] < summary.mean && summary.mean < summary.quantiles[10]);
            assert!(summary.std > 0.0);
        }
    }
}

#[test]
fn a_constant_series_forecasts_itself_exactly() {
    for value in [4.2, 0.0, -37.63, 0.1, 1e12, 1e-12] {
        let sample = Sample::constant(200, value);
        for entry in catalog() {
            let fitted = entry
                .family
                .fit(sample.series(), &params(entry), None)
                .unwrap();
            let paths = simulate(entry.family, &fitted.state, STEPS, 10);
            assert!(
                paths.values.iter().all(|drawn| *drawn == value),
                "{} {value}",
                entry.key
            );
            assert_eq!(fitted.loss, Some(0.0), "{}", entry.key);
        }
    }
}

fn takes_gaps(entry: &Entry) -> bool {
    ["arima", "auto_arima"].contains(&entry.family.name())
}

#[test]
fn models_that_take_gaps_forecast_across_them() {
    let whole = Sample::walk(200, 1.0);
    let holed = |missing: &dyn Fn(usize) -> bool| {
        let mut sample = whole.part(0..200);
        for (day, value) in sample.values.iter_mut().enumerate() {
            if missing(day) {
                *value = f64::NAN;
            }
        }
        sample
    };
    let kinds: [&dyn Fn(usize) -> bool; 4] = [
        &|day| day == 0,
        &|day| day == 199,
        &|day| day % 5 == 2,
        &|day| (60..120).contains(&day),
    ];
    for entry in catalog().iter().filter(|entry| takes_gaps(entry)) {
        for missing in kinds {
            let sample = holed(missing);
            let state = fit(entry, sample.series());
            let paths = simulate(entry.family, &state, STEPS, 50);
            assert_finite(&paths, entry.key);
            // Taken in later, missing values make the same of the state as those of a history.
            let before = fit(entry, sample.part(0..150).series());
            let recent = sample.part(150..200);
            let at_once = entry.family.condition(&before, recent.series()).unwrap();
            let mut running = entry.family.resume(&before).unwrap();
            for day in 150..200 {
                let one = sample.part(day..day + 1);
                running.advance(one.series(), &mut |_| {}).unwrap();
            }
            let [at_once, one_by_one] =
                [at_once, running.state()].map(|state| simulate(entry.family, &state, STEPS, 50));
            for (found, expected) in one_by_one.values.iter().zip(&at_once.values) {
                assert!(
                    (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                    "{}",
                    entry.key
                );
            }
        }
        let nothing = holed(&|_| true);
        let refused = entry.family.fit(nothing.series(), &params(entry), None);
        assert_eq!(refused.unwrap_err().class(), "too_short", "{}", entry.key);
    }
}

#[test]
fn widths_hold_where_values_are_missing() {
    let mut rng = Streams::new(&Digest::new()).path(7);
    let mut level = 1_000.0;
    let mut step = || {
        level += rng.normal();
        level
    };
    let known: [fn(usize) -> bool; 3] = [|_| true, |day| day % 7 < 5, |day| day.is_multiple_of(3)];
    let dates: Vec<i32> = (0..1_501).collect();
    let walk: Vec<f64> = dates.iter().map(|_| step()).collect();
    let arima = family("arima").unwrap();
    // The last has no error of one step.
    for (known, error) in known.into_iter().zip([1.0, 1.0, 3.0f64.sqrt()]) {
        let value = |day: usize| if known(day) { walk[day] } else { f64::NAN };
        let values: Vec<f64> = (0..dates.len()).map(value).collect();
        let history = Series {
            dates: &dates,
            values: &values,
            regressors: &[],
        };
        for calibrate in ["none", "conformal", "auto"] {
            let text = format!(r#"{{"order":[0,1,0],"calibrate":"{calibrate}"}}"#);
            let fitted = arima
                .fit(history, &Params::parse(&text).unwrap(), None)
                .unwrap();
            let loss = fitted.loss.unwrap();
            assert!((loss / error - 1.0).abs() < 0.1, "{loss}");
            let ahead = Ahead {
                steps: STEPS,
                dates: &[],
                regressors: &[],
            };
            let streams = Streams::new(&Digest::new());
            let paths = arima
                .simulate(&fitted.state, ahead, 2_000, &streams)
                .unwrap();
            for step in [1, 7, STEPS] {
                let point: f64 = paths.step(step - 1).iter().sum::<f64>() / 2_000.0;
                let square = |value: &f64| (value - point) * (value - point);
                let variance = paths.step(step - 1).iter().map(square).sum::<f64>() / 2_000.0;
                let ratio = (variance / step as f64).sqrt();
                assert!(
                    (0.8..1.25).contains(&ratio),
                    "{calibrate}, step {step}: {ratio}"
                );
            }
        }
    }
}

#[test]
fn non_finite_and_repeated_observations_are_named() {
    let sound = Sample::walk(200, 1.0);
    let state = |entry: &Entry| fit(entry, sound.series());
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut spoiled = Sample::walk(210, 1.0);
        spoiled.values[205] = value;
        let recent = spoiled.part(200..210);
        let refusing = |entry: &&Entry| !(value.is_nan() && takes_gaps(entry));
        for entry in catalog().iter().filter(refusing) {
            let error = entry
                .family
                .fit(spoiled.series(), &params(entry), None)
                .unwrap_err();
            assert_eq!(
                error,
                FitError::NotFinite {
                    date: spoiled.dates[205]
                },
                "{}",
                entry.key
            );
            let error = entry
                .family
                .condition(&state(entry), recent.series())
                .unwrap_err();
            let expected = FitError::NotFinite {
                date: spoiled.dates[205],
            };
            assert_eq!(error, StateError::Observations(expected), "{}", entry.key);
        }
    }
    let mut repeated = Sample::walk(200, 1.0);
    repeated.dates[9] = repeated.dates[8];
    for entry in catalog() {
        let error = entry
            .family
            .fit(repeated.series(), &params(entry), None)
            .unwrap_err();
        assert_eq!(
            error,
            FitError::Unordered {
                date: repeated.dates[9]
            },
            "{}",
            entry.key
        );
    }
}

#[test]
fn very_small_and_very_large_prices_give_the_same_forecast_in_their_unit() {
    let unit = Sample::walk(200, 1.0);
    for scale in [1e-12, 1e12] {
        let large_or_small = Sample::walk(200, scale);
        for entry in catalog() {
            // A search for parameters ends where rounding lets it: what a path moved by may differ a
            // little, and more where a series without spells makes a likelihood nearly flat, or where
            // the errors of a second search are compared.
            let shares = [
                (
                    r#"{"calibrate":"none"}"#,
                    if entry.family.name() == "garch" {
                        3e-3
                    } else {
                        1e-5
                    },
                ),
                ("{}", 3e-3),
            ];
            for (own, share) in shares {
                let params = params_under(entry, own);
                let drawn = |sample: &Sample| {
                    let fitted = entry.family.fit(sample.series(), &params, None);
                    simulate(entry.family, &fitted.unwrap().state, STEPS, 20)
                };
                let (paths, scaled) = (drawn(&unit), drawn(&large_or_small));
                assert_finite(&scaled, entry.key);
                let moves = paths.values.iter().map(|value| value - unit.values[199]);
                let moved = moves.fold(0.0, |most: f64, moved| most.max(moved.abs()));
                for (value, scaled) in paths.values.iter().zip(&scaled.values) {
                    let off = (scaled / scale - value).abs();
                    let tolerance = 1e-9 * value.abs() + share * moved;
                    assert!(off < tolerance, "{} {own}: {off} of {moved}", entry.key);
                }
            }
        }
    }
}

#[test]
fn numbers_beyond_a_double_are_a_named_error_or_a_finite_forecast() {
    let mut sample = Sample::walk(200, 1.0);
    for (index, value) in sample.values.iter_mut().enumerate() {
        *value = if index % 2 == 0 { 1.7e308 } else { -1.7e308 };
    }
    for entry in catalog() {
        match entry.family.fit(sample.series(), &params(entry), None) {
            Ok(fitted) => {
                assert!(State::from_text(fitted.state.as_str().to_owned()).is_ok());
                assert_finite(&simulate(entry.family, &fitted.state, 1, 5), entry.key);
            }
            Err(error) => assert_eq!(error.class(), "overflow", "{}", entry.key),
        }
    }
}

#[test]
fn short_histories_give_a_forecast_or_say_how_many_are_needed() {
    for entry in catalog() {
        let needed = entry.family.minimum_observations(&params(entry)).unwrap();
        for length in 0..needed + 3 {
            let mut sample = Sample::walk(length, 1.0);
            sample.regressors.clear();
            match entry.family.fit(sample.series(), &params(entry), None) {
                Ok(fitted) => {
                    assert!(length >= needed, "{} fitted {length} values", entry.key);
                    assert_finite(&simulate_bare(entry.family, &fitted.state), entry.key);
                }
                Err(error) => {
                    assert!(length < needed, "{} refused {length} values", entry.key);
                    assert_eq!(
                        error,
                        FitError::TooShort {
                            needed,
                            found: length
                        },
                        "{}",
                        entry.key
                    );
                }
            }
        }
    }
}

fn simulate_bare(family: &dyn Forecaster, state: &State) -> Paths {
    let ahead = Ahead {
        steps: STEPS,
        dates: &[],
        regressors: &[],
    };
    family.simulate(state, ahead, 5, &streams("paths")).unwrap()
}

/// A walk to which something happens.
fn wild(name: &str) -> Sample {
    let mut sample = Sample::walk(240, 1.0);
    let values = &mut sample.values;
    match name {
        "one value far above" => values[200] = 1e15,
        "one value far below" => values[200] = -1e15,
        "a huge newest value" => values[239] = 1e300,
        "a tiny value" => values[100] = 1e-300,
        "another scale" => values[150..].iter_mut().for_each(|value| *value *= 1e6),
        "a new level" => values[150..].iter_mut().for_each(|value| *value += 100.0),
        "another sign" => values[150..].iter_mut().for_each(|value| *value -= 1e6),
        "mostly zero" => {
            for (index, value) in values.iter_mut().enumerate() {
                *value *= f64::from(u8::from(index % 5 == 0));
            }
        }
        "at rest, then not" => values[..200].fill(5.0),
        "at rest at last" => values[100..].fill(5.0),
        "around zero" => values.iter_mut().for_each(|value| *value -= 100.0),
        "steps" => {
            for (index, value) in values.iter_mut().enumerate() {
                *value = (index / 40) as f64;
            }
        }
        _ => panic!("{name}"),
    }
    sample
}

#[test]
fn wild_histories_give_finite_forecasts_or_a_named_error() {
    let names = [
        "one value far above",
        "one value far below",
        "a huge newest value",
        "a tiny value",
        "another scale",
        "a new level",
        "another sign",
        "mostly zero",
        "at rest, then not",
        "at rest at last",
        "around zero",
        "steps",
    ];
    let mut forecasts = 0;
    for name in names {
        let sample = wild(name);
        for entry in catalog() {
            for calibration in [r#"{"calibrate":"none"}"#, r#"{"calibrate":"auto"}"#] {
                let params = params_under(entry, calibration);
                let Ok(fitted) = entry.family.fit(sample.series(), &params, None) else {
                    continue;
                };
                forecasts += 1;
                let key = format!("{} {name} {calibration}", entry.key);
                let ahead = Ahead {
                    steps: 20,
                    dates: &[],
                    regressors: &[vec![0.3; 20], vec![0.3; 20]],
                };
                let outlook = entry.family.outlook(&fitted.state, ahead).unwrap();
                let point = outlook.point();
                assert!(point.iter().all(|value| value.is_finite()), "{key}");
                let paths = outlook.simulate(20, 50, &streams("paths"));
                assert_finite(&paths, &key);
                let mut alone = [0.0; 20];
                outlook.draw(&mut streams("paths").path(7), &mut alone);
                for (step, value) in alone.iter().enumerate() {
                    assert_eq!(*value, paths.step(step)[6], "{key}");
                }
            }
        }
    }
    // Most models take most of them.
    assert!(
        forecasts > names.len() * catalog().len() * 2 * 9 / 10,
        "{forecasts}"
    );
}

#[test]
fn a_new_level_does_not_make_the_paths_of_the_catalog_absurd() {
    let sample = wild("a new level");
    for entry in catalog() {
        let width = |calibration: &str| {
            let params = params_under(entry, calibration);
            let state = entry.family.fit(sample.series(), &params, None);
            let paths = simulate(entry.family, &state.unwrap().state, 10, 1_000);
            [0, 9].map(|step| {
                let mut values = paths.step(step).to_vec();
                values.sort_unstable_by(f64::total_cmp);
                values[899] - values[100]
            })
        };
        let without = width(r#"{"calibrate":"none"}"#);
        let with = width("{}");
        for (with, without) in with.iter().zip(without) {
            assert!(*with < 5.0 * without, "{}: {with} of {without}", entry.key);
        }
    }
}

#[test]
fn losses_are_measured_within_the_history_and_beyond_it() {
    let sample = Sample::walk(300, 1.0);
    for entry in catalog() {
        let params = params(entry);
        let fitted = entry.family.fit(sample.series(), &params, None).unwrap();
        let loss = fitted.loss.unwrap();
        let validation_loss = entry
            .family
            .validation_loss(sample.series(), &params, &fitted.state)
            .unwrap();
        assert!((0.5..8.0).contains(&loss), "{} {loss}", entry.key);
        assert!(
            (0.5..8.0).contains(&validation_loss),
            "{} {validation_loss}",
            entry.key
        );
    }
}

#[test]
fn damaged_states_are_refused_without_a_panic() {
    let sample = Sample::walk(120, 1.0);
    let mut rng = streams("damage").path(1);
    for entry in catalog() {
        let text = fit(entry, sample.series()).as_str().to_owned();
        for end in 0..text.len() {
            assert!(
                State::from_text(text[..end].to_owned()).map_or(true, |state| {
                    let ahead = Ahead {
                        steps: 1,
                        dates: &[],
                        regressors: &[],
                    };
                    entry
                        .family
                        .simulate(&state, ahead, 1, &streams("paths"))
                        .is_err()
                })
            );
        }
        for _ in 0..2_000 {
            let mut bytes = text.clone().into_bytes();
            let place = random_index(&mut rng, bytes.len());
            bytes[place] = b"0123456789-.e,[]{}\"x"[random_index(&mut rng, 20)];
            let Ok(state) = State::from_text(String::from_utf8(bytes).unwrap()) else {
                continue;
            };
            let regressors = vec![vec![0.3; 2]; 2];
            let ahead = Ahead {
                steps: 2,
                dates: &[],
                regressors: &regressors,
            };
            let _ = entry.family.simulate(&state, ahead, 2, &streams("paths"));
            let _ = entry.family.condition(&state, NOTHING);
        }
    }
}

fn random_index(rng: &mut Rng, length: usize) -> usize {
    (rng.next_u64() % length as u64) as usize
}

#[test]
fn a_state_is_refused_by_every_other_family() {
    let sample = Sample::walk(120, 1.0);
    for entry in catalog() {
        let state = fit(entry, sample.series());
        for other in families().filter(|other| other.name() != entry.family.name()) {
            assert_eq!(
                other.condition(&state, NOTHING).unwrap_err().class(),
                "state_model"
            );
        }
    }
}

#[test]
fn defaults_given_in_full_change_nothing() {
    let sample = Sample::walk(200, 1.0);
    for family in families() {
        let defaults: Vec<String> = family
            .parameters()
            .iter()
            .map(|parameter| format!("\"{}\":{}", parameter.name, parameter.default))
            .collect();
        let given = Params::parse(&format!("{{{}}}", defaults.join(","))).unwrap();
        let state = |params: &Params| family.fit(sample.series(), params, None).unwrap().state;
        assert_eq!(
            state(&given),
            state(&Params::default()),
            "{}",
            family.name()
        );
    }
}

#[test]
fn unknown_parameters_are_refused_by_every_family() {
    let unknown = Params::parse(r#"{"no_such_parameter":1}"#).unwrap();
    for family in families() {
        assert_eq!(family.validate(&unknown).unwrap_err().class(), "parameter");
        let sample = Sample::walk(200, 1.0);
        assert_eq!(
            family
                .fit(sample.series(), &unknown, None)
                .unwrap_err()
                .class(),
            "parameter"
        );
    }
}

#[test]
fn absurd_parameters_are_refused_or_need_a_longer_history() {
    let sample = Sample::walk(200, 1.0);
    for family in families() {
        for parameter in family.parameters() {
            for value in [
                "0",
                "1",
                "-1",
                "18446744073709551615",
                "6148914691236517206",
                "[]",
                "[0]",
                "[18446744073709551615]",
                "[6148914691236517206]",
                "null",
                "\"x\"",
            ] {
                let params = Params::parse(&format!("{{\"{}\":{value}}}", parameter.name)).unwrap();
                if let Err(error) = family.fit(sample.series(), &params, None) {
                    assert!(
                        ["parameter", "too_short"].contains(&error.class()),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[test]
fn observations_too_large_to_compute_with_are_an_error_or_leave_a_sound_state() {
    let sample = Sample::walk(200, 1.0);
    let newest = sample.dates[199];
    let dates: Vec<i32> = (1..=40).map(|day| newest + day).collect();
    for entry in catalog() {
        let state = entry
            .family
            .fit(sample.series(), &params(entry), None)
            .unwrap()
            .state;
        for huge in [1e300, 1.7e308] {
            let values: Vec<f64> = (0..40)
                .map(|day| if day % 2 == 0 { huge } else { -huge })
                .collect();
            let recent = Series {
                dates: &dates,
                values: &values,
                regressors: &[vec![0.3; 40], vec![0.3; 40]],
            };
            match entry.family.condition(&state, recent) {
                Err(error) => assert!(
                    ["overflow", "domain"].contains(&error.class()),
                    "{}: {error}",
                    entry.key
                ),
                Ok(later) => assert!(entry.family.resume(&later).is_ok(), "{}", entry.key),
            }
        }
    }
}

#[test]
fn the_catalog_is_sound() {
    for (index, entry) in catalog().iter().enumerate() {
        assert!(
            catalog()[..index]
                .iter()
                .all(|other| other.key != entry.key)
        );
        entry.family.validate(&params(entry)).unwrap();
        assert!(!entry.summary.is_empty() && !entry.family.summary().is_empty());
        assert_eq!(
            family(entry.family.name()).unwrap().name(),
            entry.family.name()
        );
    }
    assert!(catalog().iter().all(|entry| entry.family.name() != "drill"));
    assert!(family("drill").is_some() && family("oracle").is_none());
    let keys = || catalog().iter().map(|entry| entry.key);
    assert_eq!(
        nearest("seasonal_niave", keys()).as_deref(),
        Some("seasonal_naive")
    );
}

/// Every transform a family can be fitted under.
const TRANSFORMS: [&str; 5] = [
    r#"{"transform":"log"}"#,
    r#"{"transform":"box_cox"}"#,
    r#"{"transform":"box_cox","lambda":0.4}"#,
    r#"{"transform":"difference"}"#,
    r#"{"transform":"robust"}"#,
];

fn params_under(entry: &Entry, transform: &str) -> Params {
    let mut values = params(entry).values().clone();
    values.extend(Params::parse(transform).unwrap().values().clone());
    Params::from(values)
}

#[test]
fn every_model_works_under_every_transform() {
    let sample = Sample::walk(260, 1.0);
    let history = sample.part(0..200);
    let (first, second, both) = (
        sample.part(200..207),
        sample.part(207..260),
        sample.part(200..260),
    );
    for entry in catalog() {
        for transform in TRANSFORMS {
            let (family, key) = (entry.family, format!("{} {transform}", entry.key));
            let params = params_under(entry, transform);
            family.validate(&params).unwrap();
            let fitted = family.fit(history.series(), &params, None).unwrap();
            assert_eq!(fitted.predictions.len(), 200, "{key}");
            assert!((0.5..8.0).contains(&fitted.loss.unwrap()), "{key}");
            let validation_loss = family
                .validation_loss(history.series(), &params, &fitted.state)
                .unwrap();
            assert!((0.5..8.0).contains(&validation_loss), "{key}");
            let warm = family
                .fit(sample.series(), &params, Some(&fitted.state))
                .unwrap();
            assert_finite(&simulate(family, &warm.state, STEPS, 5), &key);

            let read = State::from_text(fitted.state.as_str().to_owned()).unwrap();
            let unchanged = family.condition(&read, NOTHING).unwrap();
            assert_eq!(unchanged.as_str(), fitted.state.as_str(), "{key}");
            let once = family.condition(&read, both.series()).unwrap();
            let halfway = family.condition(&read, first.series()).unwrap();
            let twice = family.condition(&halfway, second.series()).unwrap();
            assert_eq!(once.as_str(), twice.as_str(), "{key}");

            let many = simulate(family, &once, STEPS, 50);
            let few = simulate(family, &once, STEPS - 13, 7);
            assert_finite(&many, &key);
            for step in 0..few.steps {
                assert_eq!(few.step(step), &many.step(step)[..7], "{key}");
            }
            // Near the last value, that is: turned back.
            let last = sample.values[259];
            let mut next = many.step(0).iter();
            let near = next.all(|value| (value / last - 1.0).abs() < 0.3);
            assert!(near, "{key}");
        }
    }
}

#[test]
fn a_point_forecast_lies_in_the_middle_of_the_paths_under_every_transform() {
    let sample = Sample::walk(200, 1.0);
    for entry in catalog() {
        for transform in TRANSFORMS {
            let fitted = entry
                .family
                .fit(sample.series(), &params_under(entry, transform), None)
                .unwrap();
            let regressors = vec![vec![0.3; 5]; 2];
            let ahead = Ahead {
                steps: 5,
                dates: &[],
                regressors: &regressors,
            };
            let outlook = entry.family.outlook(&fitted.state, ahead).unwrap();
            let paths = outlook.simulate(5, 2_000, &streams("middle"));
            for (step, point) in outlook.point().iter().enumerate() {
                let below = paths
                    .step(step)
                    .iter()
                    .filter(|value| *value < point)
                    .count();
                assert!(
                    (600..1_400).contains(&below),
                    "{} {transform} {below}",
                    entry.key
                );
            }
        }
    }
}

#[test]
fn short_histories_under_a_transform_give_a_forecast_or_say_how_many_are_needed() {
    for entry in catalog() {
        for transform in TRANSFORMS {
            let params = params_under(entry, transform);
            let needed = entry.family.minimum_observations(&params).unwrap();
            for length in needed.saturating_sub(2)..needed + 3 {
                let mut sample = Sample::walk(length, 1.0);
                sample.regressors.clear();
                match entry.family.fit(sample.series(), &params, None) {
                    Ok(fitted) => {
                        assert!(length >= needed, "{} {transform} {length}", entry.key);
                        assert_finite(&simulate_bare(entry.family, &fitted.state), entry.key);
                    }
                    Err(error) => {
                        assert!(length < needed, "{} {transform} {length}", entry.key);
                        let found = length;
                        assert_eq!(error, FitError::TooShort { needed, found });
                    }
                }
            }
        }
    }
}

#[test]
fn a_constant_series_forecasts_itself_under_every_transform() {
    for value in [4.2, 0.1, 1e12, 1e-12] {
        let sample = Sample::constant(200, value);
        for entry in catalog() {
            for transform in TRANSFORMS {
                let params = params_under(entry, transform);
                let fitted = entry.family.fit(sample.series(), &params, None).unwrap();
                let paths = simulate(entry.family, &fitted.state, STEPS, 10);
                // What a small value becomes under a power is close to the power's end.
                let tolerance = if transform.contains("box_cox") {
                    1e-3
                } else {
                    1e-12
                };
                for drawn in &paths.values {
                    let off = (drawn / value - 1.0).abs();
                    assert!(off < tolerance, "{} {transform} {value} {drawn}", entry.key);
                }
            }
        }
    }
}

#[test]
fn values_outside_a_domain_are_named_by_every_model() {
    let sample = Sample::walk(210, 1.0);
    let history = sample.part(0..200);
    let mut fallen = sample.part(200..210);
    fallen.values[5] = -37.63;
    for entry in catalog() {
        for transform in [r#"{"transform":"log"}"#, r#"{"transform":"box_cox"}"#] {
            let params = params_under(entry, transform);
            let family = entry.family;
            let state = family.fit(history.series(), &params, None).unwrap().state;
            let error = family.condition(&state, fallen.series()).unwrap_err();
            assert_eq!(error.class(), "domain", "{}", entry.key);
            let error = family.fit(fallen.series(), &params, None);
            if family.minimum_observations(&params).unwrap() <= 10 {
                assert_eq!(error.unwrap_err().class(), "domain", "{}", entry.key);
            }
        }
    }
}

#[test]
fn damaged_states_of_transformed_series_are_refused_without_a_panic() {
    let sample = Sample::walk(120, 1.0);
    let mut rng = streams("damage").path(2);
    for entry in catalog() {
        for transform in TRANSFORMS {
            let params = params_under(entry, transform);
            let fitted = entry.family.fit(sample.series(), &params, None).unwrap();
            let text = fitted.state.as_str().to_owned();
            let place_of = text.find("\"transform\"").unwrap();
            for _ in 0..300 {
                let mut bytes = text.clone().into_bytes();
                let place = place_of + random_index(&mut rng, 120.min(text.len() - place_of));
                bytes[place] = b"0123456789-.e,[]{}\"x"[random_index(&mut rng, 20)];
                let Ok(state) = State::from_text(String::from_utf8(bytes).unwrap()) else {
                    continue;
                };
                let regressors = vec![vec![0.3; 2]; 2];
                let ahead = Ahead {
                    steps: 2,
                    dates: &[],
                    regressors: &regressors,
                };
                let _ = entry.family.simulate(&state, ahead, 2, &streams("paths"));
                let _ = entry.family.condition(&state, NOTHING);
            }
        }
    }
}

#[test]
fn parameters_have_names_of_their_own() {
    for family in families() {
        let parameters = family.parameters();
        for (index, parameter) in parameters.iter().enumerate() {
            assert!(
                parameters[..index]
                    .iter()
                    .all(|other| other.name != parameter.name),
                "{} {}",
                family.name(),
                parameter.name
            );
        }
        let universal = ["transform", "lambda", "calibrate"];
        for name in universal {
            assert!(parameters.iter().any(|parameter| parameter.name == name));
        }
    }
}

/// Ways to stretch paths.
const CALIBRATIONS: [&str; 4] = [
    r#"{"calibrate":"conformal"}"#,
    r#"{"calibrate":"volatility"}"#,
    r#"{"calibrate":"auto"}"#,
    r#"{"calibrate":"auto","transform":"log"}"#,
];

#[test]
fn every_model_keeps_its_promises_when_it_is_calibrated() {
    let sample = Sample::walk(300, 1.0);
    let (history, first, second) = (
        sample.part(0..260),
        sample.part(260..267),
        sample.part(267..300),
    );
    let recent = sample.part(260..300);
    for entry in catalog() {
        for calibration in CALIBRATIONS {
            let (family, key) = (entry.family, format!("{} {calibration}", entry.key));
            let params = params_under(entry, calibration);
            let state = family.fit(history.series(), &params, None).unwrap().state;
            assert!(state.as_str().contains("\"calibration\""), "{key}");
            let read = State::from_text(state.as_str().to_owned()).unwrap();
            let written = family.condition(&read, NOTHING).unwrap();
            assert_eq!(written.as_str(), state.as_str(), "{key}");
            let once = family.condition(&state, recent.series()).unwrap();
            let halfway = family.condition(&state, first.series()).unwrap();
            let twice = family.condition(&halfway, second.series()).unwrap();
            assert_eq!(once.as_str(), twice.as_str(), "{key}");

            let many = simulate(family, &once, STEPS, 50);
            let few = simulate(family, &once, STEPS - 13, 7);
            for step in 0..few.steps {
                assert_eq!(few.step(step), &many.step(step)[..7], "{key}");
            }
            assert_finite(&many, &key);
            assert!(simulate(family, &once, 0, 5).values.is_empty());
        }
    }
}

#[test]
fn deviations_by_formula_are_those_of_paths() {
    let sample = Sample::walk(260, 1.0);
    let transforms = [
        "{}",
        r#"{"transform":"log"}"#,
        r#"{"transform":"box_cox"}"#,
        r#"{"transform":"robust"}"#,
    ];
    let mut known = 0;
    for entry in catalog() {
        for transform in transforms {
            let mut values = params_under(entry, transform).values().clone();
            values.insert("calibrate".to_owned(), "none".into());
            let fitted = entry
                .family
                .fit(sample.series(), &Params::from(values), None);
            let state = fitted.unwrap().state;
            let ahead = Ahead {
                steps: 10,
                dates: &[],
                regressors: &[vec![0.3; 10], vec![0.3; 10]],
            };
            let outlook = entry.family.outlook(&state, ahead).unwrap();
            let Some(deviations) = outlook.deviations() else {
                continue;
            };
            known += 1;
            let point = outlook.point();
            let paths = outlook.simulate(10, 20_000, &streams("deviations"));
            for step in [0, 4, 9] {
                let squares = paths.step(step).iter();
                let squares = squares.map(|value| (value - point[step]) * (value - point[step]));
                let found = (squares.sum::<f64>() / 20_000.0).sqrt();
                let ratio = deviations[step] / found;
                assert!(
                    (0.97..1.03).contains(&ratio),
                    "{} {transform} {step}: {ratio}",
                    entry.key
                );
            }
        }
    }
    // Those of GARCH and of trends that may change have none.
    assert!(known > 3 * catalog().len(), "{known}");
}

#[test]
fn a_constant_series_forecasts_itself_when_it_is_calibrated() {
    for value in [4.2, 1e12, 1e-12] {
        let sample = Sample::constant(200, value);
        for entry in catalog() {
            for calibration in &CALIBRATIONS[..3] {
                let params = params_under(entry, calibration);
                let fitted = entry.family.fit(sample.series(), &params, None).unwrap();
                let paths = simulate(entry.family, &fitted.state, STEPS, 10);
                assert!(
                    paths.values.iter().all(|drawn| *drawn == value),
                    "{} {calibration} {value}",
                    entry.key
                );
            }
        }
    }
}

#[test]
fn damaged_calibrations_are_refused_without_a_panic() {
    let sample = Sample::walk(200, 1.0);
    let mut rng = streams("damaged calibrations").path(1);
    for calibration in CALIBRATIONS {
        let entry = &catalog()[0];
        let params = params_under(entry, calibration);
        let state = entry.family.fit(sample.series(), &params, None);
        let state = state.unwrap().state;
        let text = state.as_str();
        let from = text.find("\"calibration\"").unwrap();
        let to = text.find("\"fitted\"").unwrap();
        for _ in 0..3_000 {
            let mut bytes = text.as_bytes().to_vec();
            let place = from + random_index(&mut rng, to - from);
            bytes[place] = b"0123456789-.e,[]{}\"x"[random_index(&mut rng, 20)];
            let Ok(state) = State::from_text(String::from_utf8(bytes).unwrap()) else {
                continue;
            };
            let ahead = Ahead {
                steps: 20,
                dates: &[],
                regressors: &[],
            };
            let _ = entry.family.simulate(&state, ahead, 2, &streams("paths"));
            let _ = entry.family.condition(&state, NOTHING);
        }
    }
}
