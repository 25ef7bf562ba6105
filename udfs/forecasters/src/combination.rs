//! The middle of what several models forecast.
//!
//! The point forecast of each step is the median or the mean of the members' point forecasts, or
//! their robust mean: the mean after forecasts farther from the median than five times the median
//! distance have been moved there, so that a member that runs away cannot take the others with it
//! (Huber 1964, one step with a limit that is seldom reached).
//! Assumes that the members err in different ways: what they have in common stays. The wrong
//! choice where one model is known to be right and the others are not.
//!
//! Petropoulos and Svetunkov (2020), *A simple combination of univariate models*, International
//! Journal of Forecasting 36: the median of exponential smoothing, complex exponential smoothing,
//! ARIMA and the dynamic optimised theta model, "scum", was among the best of the M4 competition.
//! Lichtendahl and Winkler (2020), same volume: why combinations are hard to beat.
//!
//! Paths come from the members in equal shares: the first random number of a path picks the member
//! that draws it. A mixture is as wide as its members plus their disagreement, and for members that
//! are good on their own that is too wide; averaging their quantiles leaves the disagreement out
//! (Lichtendahl, Grushka-Cockayne and Winkler 2013, *Is It Better to Average Probabilities or
//! Quantiles?*, Management Science 59). Paths are therefore moved half of the way from the point
//! forecast of their member to the combined one, step by step. That can take a path below zero
//! which its member would not have.
//!
//! Every member has to be fitted, unless `most_failures` allows for some that are not; those are
//! named in the state with the reason, and the others are combined. The prediction of an
//! observation combines the members that have one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Parameter, Params,
    errors::{FitError, StateError},
    family::{Family, Learned, Start},
    members::{Earlier, Held, Legacy, Member},
    moments::{mean, median},
    noise,
    outlook::Outlook,
    paths::Paths,
    rng::Rng,
    seasons::{self, SEASON_LENGTH, SEASON_LENGTHS},
    series::{Ahead, Series},
    state::corrupt,
};

/// The combination of several models.
pub struct Combination;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    combine: Middle,
    members: Vec<Held>,
    /// The members that could not be fitted.
    failed: Vec<Failed>,
}

/// A member that could not be fitted, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    name: String,
    class: String,
    reason: String,
}

/// What is taken of several forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Middle {
    Median,
    Mean,
    /// The mean, after numbers far from the median have been moved closer to it.
    RobustMean,
}

/// How far from the median a robust mean lets numbers be, in median distances.
const FARTHEST: f64 = 5.0;

impl Middle {
    fn read(params: &Params) -> Result<Middle, FitError> {
        match params.str_or("combine", "median")? {
            "median" => Ok(Middle::Median),
            "mean" => Ok(Middle::Mean),
            "robust_mean" => Ok(Middle::RobustMean),
            _ => Err(params.out_of_range("combine", "median, mean or robust_mean")),
        }
    }

    /// The middle of some numbers, which it may reorder; NaN if there are none.
    fn of(self, numbers: &mut [f64]) -> f64 {
        match self {
            Middle::Mean => mean(numbers),
            Middle::Median => median(numbers),
            Middle::RobustMean => {
                let center = median(numbers);
                let mut distances: Vec<f64> = numbers
                    .iter()
                    .map(|number| (number - center).abs())
                    .collect();
                let reach = FARTHEST * median(&mut distances);
                numbers
                    .iter_mut()
                    .for_each(|number| *number = number.clamp(center - reach, center + reach));
                mean(numbers)
            }
        }
    }

    /// The middle of several forecasts, step by step, of those that have the step.
    fn of_each(self, steps: usize, forecasts: &[Vec<f64>]) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(forecasts.len());
        let middle = |step: usize| {
            numbers.clear();
            let at_step = forecasts.iter().map(|forecast| forecast[step]);
            numbers.extend(at_step.filter(|value| !value.is_nan()));
            self.of(&mut numbers)
        };
        (0..steps).map(middle).collect()
    }
}

/// The share of the way from a member's point forecast to the combined one by which its paths are
/// moved.
const MOVE: f64 = 0.5;

const MEMBERS: &str = r#"["auto_ets","auto_ces","dot"]"#;

impl Combination {
    /// How many members may fail, of `count`.
    fn most_failures(params: &Params, count: usize) -> Result<usize, FitError> {
        match params.usize_or("most_failures", 0)? {
            failures if failures < count => Ok(failures),
            _ => Err(params.out_of_range("most_failures", "fewer than there are members")),
        }
    }
}

impl Family for Combination {
    type Body = Body;
    const NAME: &'static str = "combination";
    const FORMAT: u32 = 1;
    const SUMMARY: &'static str = "the median or mean of several models";
    const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "members",
            default: MEMBERS,
            help: "models, by name or as {\"model\":name,\"params\":{}}",
        },
        Parameter {
            name: "combine",
            default: "\"median\"",
            help: "what is taken of the members' forecasts: median, mean or robust_mean",
        },
        Parameter {
            name: "most_failures",
            default: "0",
            help: "how many members may fail to be fitted without failing all",
        },
        SEASON_LENGTHS,
        SEASON_LENGTH,
        noise::ERRORS,
    ];

    fn members(params: &Params) -> Result<Vec<Member>, FitError> {
        let mut legacy = Legacy::of(params, Self::PARAMETERS, &["season_lengths", "errors"]);
        // Members with one season follow the shortest.
        let lengths = seasons::lengths(params)?;
        legacy = legacy.and("season_length", lengths.first().copied().unwrap_or(1));
        let default: Value = serde_json::from_str(MEMBERS).expect("defaults are JSON");
        let given = params.values().get("members").unwrap_or(&default);
        Member::read_list("members", given, &legacy)
    }

    fn minimum(params: &Params) -> Result<usize, FitError> {
        Middle::read(params)?;
        noise::Kind::read(params)?;
        let members = Combination::members(params)?;
        let failures = Combination::most_failures(params, members.len())?;
        let minima = members.iter().map(Member::minimum);
        let mut minima = minima.collect::<Result<Vec<_>, _>>()?;
        minima.sort_unstable();
        Ok(minima[minima.len() - 1 - failures])
    }

    fn learn(
        history: Series<'_>,
        params: &Params,
        start: Start<'_, Body>,
    ) -> Result<Learned<Body>, FitError> {
        let members = Combination::members(params)?;
        let mut failures = Combination::most_failures(params, members.len())?;
        let mut earlier = start
            .body()
            .map(|body| Earlier::of(&body.members))
            .transpose()?;
        let mut body = Body {
            combine: Middle::read(params)?,
            members: vec![],
            failed: vec![],
        };
        let mut predictions = vec![];
        for member in members {
            let state = earlier.as_mut().and_then(|earlier| earlier.take(&member));
            let from = state
                .as_ref()
                .map_or(Start::Cold, |state| start.with(state));
            match member.fit(history, from) {
                Ok(fitted) => {
                    body.members.push(member.hold(&fitted.state));
                    predictions.push(fitted.predictions);
                }
                Err(error) if failures > 0 => {
                    failures -= 1;
                    body.failed.push(Failed {
                        name: member.name,
                        class: error.class().to_owned(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let predictions = body.combine.of_each(history.len(), &predictions);
        Ok(Learned {
            body,
            predictions,
            aicc: None,
        })
    }

    fn check(body: &Body) -> Result<(), StateError> {
        if body.members.is_empty() {
            return Err(corrupt("there are no members"));
        }
        body.members.iter().try_for_each(Held::check)
    }

    fn advance(
        body: &mut Body,
        recent: Series<'_>,
        predicted: &mut dyn FnMut(f64),
    ) -> Result<(), StateError> {
        let mut predictions = Vec::with_capacity(body.members.len());
        for held in &mut body.members {
            let mut own = Vec::with_capacity(recent.len());
            held.running()?
                .advance(recent, &mut |prediction| own.push(prediction))?;
            predictions.push(own);
        }
        let combined = body.combine.of_each(recent.len(), &predictions);
        combined.into_iter().for_each(predicted);
        Ok(())
    }

    fn expect(body: Body, ahead: Ahead<'_>) -> Result<Box<dyn Outlook>, StateError> {
        let members = body.members.into_iter().map(|held| held.outlook(ahead));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let points: Vec<Vec<f64>> = members.iter().map(|member| member.point()).collect();
        let point = body.combine.of_each(ahead.steps, &points);
        let moves = points.iter().map(|own| {
            let distance = point.iter().zip(own).map(|(point, own)| point - own);
            distance.map(|distance| MOVE * distance).collect()
        });
        Ok(Box::new(Mixture {
            moves: moves.collect(),
            members,
            point,
        }))
    }
}

/// Paths of several outlooks in equal shares.
struct Mixture {
    members: Vec<Box<dyn Outlook>>,
    /// The combined point forecast.
    point: Vec<f64>,
    /// What is added to the paths of each member.
    moves: Vec<Vec<f64>>,
}

impl Mixture {
    /// The member that draws a path.
    fn pick(&self, rng: &mut Rng) -> usize {
        (rng.uniform() * self.members.len() as f64) as usize
    }
}

impl Outlook for Mixture {
    fn point(&self) -> Vec<f64> {
        self.point.clone()
    }

    /// That of a mixture around the combined point forecast.
    fn deviations(&self) -> Option<Vec<f64>> {
        let mut squares = vec![0.0; self.point.len()];
        for (member, moves) in self.members.iter().zip(&self.moves) {
            let (own, deviations) = (member.point(), member.deviations()?);
            for (step, square) in squares.iter_mut().enumerate() {
                let distance = own[step] + moves[step] - self.point[step];
                *square += deviations[step] * deviations[step] + distance * distance;
            }
        }
        let count = self.members.len() as f64;
        Some(squares.iter().map(|sum| (sum / count).sqrt()).collect())
    }

    fn draw(&self, rng: &mut Rng, path: &mut [f64]) {
        let member = self.pick(rng);
        self.members[member].draw(rng, path);
        for (value, way) in path.iter_mut().zip(&self.moves[member]) {
            *value += way;
        }
    }

    fn draw_all(&self, steps: usize, rngs: &[Rng]) -> Paths {
        let count = rngs.len();
        let mut shares = vec![(vec![], vec![]); self.members.len()];
        for (path, mut rng) in rngs.iter().cloned().enumerate() {
            let (paths, rngs) = &mut shares[self.pick(&mut rng)];
            paths.push(path);
            rngs.push(rng);
        }
        let mut values = vec![0.0; steps * count];
        for ((member, moves), (paths, rngs)) in self.members.iter().zip(&self.moves).zip(&shares) {
            let mut drawn = member.draw_all(steps, rngs);
            let rows = values.chunks_exact_mut(count.max(1));
            for ((row, drawn), way) in rows.zip(drawn.rows()).zip(moves) {
                for (path, value) in paths.iter().zip(drawn) {
                    row[*path] = *value + way;
                }
            }
        }
        Paths {
            steps,
            count,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest, Forecaster, Params, State, Streams, naive::Naive, paths::check_moments,
        random_walk::RandomWalk,
    };

    const VALUES: [f64; 8] = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 5.5, 9.0];
    const DATES: [i32; 8] = [1, 2, 3, 4, 5, 8, 9, 10];

    fn history(length: usize) -> Series<'static> {
        Series {
            dates: &DATES[..length],
            values: &VALUES[..length],
            regressors: &[],
        }
    }

    fn ahead(steps: usize) -> Ahead<'static> {
        Ahead {
            steps,
            dates: &[],
            regressors: &[],
        }
    }

    fn params(text: &str) -> Params {
        Params::parse(text).unwrap()
    }

    fn point(text: &str) -> Vec<f64> {
        let fitted = Combination.fit(history(8), &params(text), None).unwrap();
        Combination
            .outlook(&fitted.state, ahead(2))
            .unwrap()
            .point()
    }

    const THREE: &str = r#"{"members":["naive",
        {"model":"window_mean","params":{"window":2}},
        {"model":"window_mean","params":{"window":4}}]}"#;

    #[test]
    fn the_middle_of_three_points_worked_by_hand() {
        // Last value 9; the means of the last two and four are 7.25 and 6.125, and then
        // (9 + 7.25) / 2 = 8.125 and (6 + 5.5 + 9 + 6.125) / 4 = 6.65625.
        assert_eq!(point(THREE), [7.25, 8.125]);
        let mean = point(&THREE.replace("{\"members\"", "{\"combine\":\"mean\",\"members\""));
        assert!((mean[0] - (9.0 + 7.25 + 6.125) / 3.0).abs() < 1e-14);
        let two = r#"{"members":["naive",{"model":"window_mean","params":{"window":2}}]}"#;
        assert_eq!(point(two), [8.125, 8.5625]);
    }

    #[test]
    fn a_robust_mean_moves_what_is_far_away() {
        // Median 3, distances 2, 1, 0, 1 and 97, their median 1: 100 becomes 8.
        let mut numbers = [1.0, 2.0, 100.0, 3.0, 4.0];
        assert_eq!(Middle::RobustMean.of(&mut numbers), 3.6);
        // Median 2, distances 1, 0 and 7, their median 1: 9 becomes 7.
        assert_eq!(Middle::RobustMean.of(&mut [1.0, 2.0, 9.0]), 10.0 / 3.0);
        assert_eq!(Middle::RobustMean.of(&mut [1.0, 2.0]), 1.5);
        assert_eq!(Middle::RobustMean.of(&mut [7.1, 7.1, 7.1]), 7.1);
        assert!(Middle::RobustMean.of(&mut []).is_nan());
    }

    #[test]
    fn predictions_combine_the_members_that_have_one() {
        let fitted = Combination.fit(history(8), &params(THREE), None).unwrap();
        assert!(fitted.predictions[0].is_nan());
        // The last value alone, then with the mean of two: (1 + 3) / 2 and 3.
        assert_eq!(fitted.predictions[1], 1.0);
        assert_eq!(fitted.predictions[2], 2.5);
        // 4, (5 + 4) / 2 and (3 + 2 + 5 + 4) / 4.
        assert_eq!(fitted.predictions[5], 4.0);
    }

    #[test]
    fn conditioning_predicts_as_each_member_does() {
        let before = Combination.fit(history(6), &params(THREE), None).unwrap();
        let mut running = Combination.resume(&before.state).unwrap();
        let recent = Series {
            dates: &DATES[6..],
            values: &VALUES[6..],
            regressors: &[],
        };
        let mut predictions = vec![];
        running
            .advance(recent, &mut |prediction| predictions.push(prediction))
            .unwrap();
        // 6, 5 and 4.25; then 5.5, 5.75 and 5.125.
        assert_eq!(predictions, [5.0, 5.5]);
        let conditioned = Combination.condition(&before.state, recent).unwrap();
        assert_eq!(running.state(), conditioned);
    }

    #[test]
    fn each_path_is_drawn_by_one_member_in_equal_shares() {
        let text = r#"{"members":["naive",{"model":"random_walk","params":{"lookback":3}}]}"#;
        let fitted = Combination.fit(history(8), &params(text), None).unwrap();
        let streams = Streams::new(&Digest::new());
        // As parts, which nothing bends.
        let part = |family: &dyn Forecaster, state: &State| {
            let resumed = family.resume(state).unwrap();
            resumed.outlook(ahead(3)).unwrap()
        };
        let outlook = part(&Combination, &fitted.state);
        let paths = outlook.simulate(3, 4_000, &streams);
        let point = outlook.point();
        let own = |family: &dyn Forecaster, text: &str, path: usize| {
            let fitted = family.fit(history(8), &params(text), None).unwrap();
            let mut rng = streams.path(path as u64 + 1);
            rng.uniform();
            let mut drawn = [0.0; 3];
            let outlook = part(family, &fitted.state);
            outlook.draw(&mut rng, &mut drawn);
            for (step, value) in drawn.iter_mut().enumerate() {
                *value += 0.5 * (point[step] - outlook.point()[step]);
            }
            drawn
        };
        let mut first = 0.0;
        for path in 0..4_000 {
            let drawn: Vec<f64> = (0..3).map(|step| paths.step(step)[path]).collect();
            if drawn == own(&Naive, "{}", path) {
                first += 1.0;
            } else {
                assert_eq!(drawn, own(&RandomWalk, r#"{"lookback":3}"#, path));
            }
        }
        // Five standard errors of half of 4,000.
        assert!(
            (first - 2_000.0f64).abs() < 5.0 * 1_000f64.sqrt(),
            "{first}"
        );
    }

    #[test]
    fn the_moments_are_those_of_the_mixture() {
        let text = r#"{"members":["naive",{"model":"window_mean","params":{"window":2}}]}"#;
        let fitted = Combination.fit(history(8), &params(text), None).unwrap();
        let deviation = |member: &str| {
            let text = format!(r#"{{"members":[{member}]}}"#);
            Combination
                .fit(history(8), &params(&text), None)
                .unwrap()
                .loss
                .unwrap()
        };
        let naive = deviation("\"naive\"");
        let mean = deviation(r#"{"model":"window_mean","params":{"window":2}}"#);
        // Centers 9 and 7.25, half as far from each other.
        let apart = (9.0f64 - 7.25) / 4.0;
        let spread = (0.5 * (naive * naive + mean * mean) + apart * apart).sqrt();
        let streams = Streams::new(&Digest::new());
        let paths = Combination
            .simulate(&fitted.state, ahead(1), 40_000, &streams)
            .unwrap();
        check_moments(&paths, &[8.125], &[spread]);
    }

    #[test]
    fn a_member_that_fails_fails_all_unless_that_is_allowed() {
        // Seven windows do not fit into eight values of which each needs one after it.
        let text = r#"{"members":["naive",{"model":"window_mean","params":{"window":30}}]}"#;
        assert_eq!(
            Combination
                .fit(history(8), &params(text), None)
                .unwrap_err(),
            FitError::TooShort {
                needed: 31,
                found: 8
            }
        );
        let allowed = text.replace("{\"members\"", "{\"most_failures\":1,\"members\"");
        let fitted = Combination
            .fit(history(8), &params(&allowed), None)
            .unwrap();
        assert!(
            fitted.state.as_str().contains("too_short"),
            "{:?}",
            fitted.state
        );
        let points = Combination
            .outlook(&fitted.state, ahead(1))
            .unwrap()
            .point();
        assert_eq!(points, [9.0]);
        let all = text.replace("{\"members\"", "{\"most_failures\":2,\"members\"");
        let error = Combination.validate(&params(&all)).unwrap_err();
        assert_eq!(error.class(), "parameter");
    }

    #[test]
    fn members_are_fitted_anew_from_their_own_earlier_states() {
        let dates: Vec<i32> = (0..90).collect();
        let values: Vec<f64> = (0..90)
            .map(|t| 20.0 + f64::from(t % 6) + f64::from(t * t % 7))
            .collect();
        let part = |length: usize| Series {
            dates: &dates[..length],
            values: &values[..length],
            regressors: &[],
        };
        let autoregression = |difference: &str| {
            format!(
                r#"{{"season_length":6,"members":["naive",{{"model":"seasonal_autoregression",
                "params":{{"difference":"{difference}"}}}}]}}"#
            )
        };
        let (with, without) = (autoregression("longest"), autoregression("none"));
        let fitted = Combination.fit(part(80), &params(&with), None).unwrap();
        // The form stays when only parameters are estimated, and not when it is chosen again.
        let kept = Combination
            .refit(part(90), &params(&without), &fitted.state)
            .unwrap();
        let anew = Combination.fit(part(90), &params(&with), None).unwrap();
        assert_eq!(kept.state, anew.state);
        let chosen = Combination
            .fit(part(90), &params(&without), Some(&fitted.state))
            .unwrap();
        let anew = Combination.fit(part(90), &params(&without), None).unwrap();
        assert_eq!(chosen.state, anew.state);
        // A member that was not there begins from nothing.
        let more = params(r#"{"members":["window_mean","naive"]}"#);
        let first = Combination
            .fit(part(90), &more, Some(&fitted.state))
            .unwrap();
        assert_eq!(
            first.state,
            Combination.fit(part(90), &more, None).unwrap().state
        );
    }

    #[test]
    fn an_automatic_member_warmed_up_forecasts_as_one_from_scratch() {
        let dates: Vec<i32> = (0..160).collect();
        let values: Vec<f64> = (0..160)
            .map(|t| 50.0 + 0.3 * f64::from(t) + 5.0 * f64::from(t % 4) + f64::from(t * t % 13))
            .collect();
        let part = |length: usize| Series {
            dates: &dates[..length],
            values: &values[..length],
            regressors: &[],
        };
        let given = params(r#"{"season_length":4}"#);
        let before = Combination.fit(part(150), &given, None).unwrap();
        let warm = Combination
            .fit(part(160), &given, Some(&before.state))
            .unwrap();
        let cold = Combination.fit(part(160), &given, None).unwrap();
        let point = |state: &State| Combination.outlook(state, ahead(8)).unwrap().point();
        for (warm, cold) in point(&warm.state).iter().zip(point(&cold.state)) {
            assert!((warm / cold - 1.0).abs() < 0.01, "{warm} {cold}");
        }
    }

    #[test]
    fn the_season_and_the_errors_are_handed_down_unless_a_member_has_its_own() {
        let text = r#"{"season_length":3,"errors":"bootstrap","members":["seasonal_naive",
            {"model":"seasonal_naive","params":{"season_length":2,"errors":"gaussian"}}]}"#;
        let members = <Combination as Family>::members(&params(text)).unwrap();
        let given: Vec<String> = members
            .iter()
            .map(|member| serde_json::to_string(member.params.values()).unwrap())
            .collect();
        assert_eq!(
            given,
            [
                r#"{"errors":"bootstrap","season_length":3}"#,
                r#"{"errors":"gaussian","season_length":2}"#
            ]
        );
        assert_eq!(Combination::minimum(&params(text)), Ok(4));
        let several = r#"{"season_lengths":[28,4],"members":["mstl_ets","seasonal_naive"]}"#;
        let members = <Combination as Family>::members(&params(several)).unwrap();
        assert_eq!(
            members[0].params.list_usize_or("season_lengths", &[]),
            Ok(vec![28, 4])
        );
        assert_eq!(members[1].params.usize_or("season_length", 5), Ok(4));
        let under = r#"{"transform":"box_cox","members":["seasonal_autoregression"]}"#;
        let members = <Combination as Family>::members(&params(under)).unwrap();
        assert_eq!(members[0].params.str_or("logarithms", "auto"), Ok("no"));
    }

    #[test]
    fn the_state_of_a_member_is_part_of_the_state_as_it_is() {
        let text = r#"{"members":["naive"]}"#;
        let fitted = Combination.fit(history(8), &params(text), None).unwrap();
        let naive = Naive.fit(history(8), &Params::default(), None).unwrap();
        assert!(fitted.state.as_str().contains(naive.state.as_str()));
        let damaged = fitted
            .state
            .as_str()
            .replace(":\"naive\",\"format\"", ":\"nave\",\"format\"");
        let state = State::from_text(damaged).unwrap();
        let error = Combination.condition(&state, history(0)).unwrap_err();
        assert_eq!(error.class(), "state_corrupt");
    }

    #[test]
    fn members_are_refused_by_name() {
        let refused = |text: &str| {
            let error = Combination.validate(&params(text)).unwrap_err();
            assert_eq!(error.class(), "parameter", "{error}");
            error.to_string()
        };
        let error = refused(r#"{"members":["naiv"]}"#);
        assert!(error.contains("did you mean `naive`"), "{error}");
        let error = refused(r#"{"members":[{"model":"window_mean","params":{"windw":3}}]}"#);
        assert!(
            error.contains("window_mean") && error.contains("did you mean `window`"),
            "{error}"
        );
        refused(r#"{"members":[{"model":"naive","parameters":{}}]}"#);
        refused(r#"{"members":[]}"#);
        refused(r#"{"members":"naive"}"#);
        refused(r#"{"members":["naive"],"combine":"mode"}"#);
    }

    #[test]
    fn members_of_members_have_no_members() {
        let one = r#"{"members":[{"model":"mstl","params":{"model":"naive"}}]}"#;
        Combination.validate(&params(one)).unwrap();
        let inner = r#"{"model":"combination","params":{"members":["naive"]}}"#;
        let two = format!(r#"{{"members":[{{"model":"mstl","params":{{"model":{inner}}}}}]}}"#);
        let error = Combination.validate(&params(&two)).unwrap_err();
        assert!(error.to_string().contains("too deep"), "{error}");

        // Nor does a state hold them.
        let nest = |inner: &State| {
            let inner = inner.as_str();
            let member = format!(r#"{{"name":"combination","state":{inner}}}"#);
            let body = format!(r#"{{"combine":"mean","members":[{member}],"failed":[]}}"#);
            let text = format!(
                r#"{{"model":"combination","format":1,"body":{{"newest_date":"1970-01-11","fitted":{body}}}}}"#
            );
            State::from_text(text).unwrap()
        };
        let naive = params(r#"{"members":["naive"]}"#);
        let first = Combination.fit(history(8), &naive, None).unwrap().state;
        let second = nest(&first);
        Combination.condition(&second, history(0)).unwrap();
        let error = Combination
            .condition(&nest(&second), history(0))
            .unwrap_err();
        assert!(error.to_string().contains("too deep"), "{error}");
    }

    #[test]
    fn awkward_series_give_finite_forecasts() {
        let bumpy = |t: usize| (t % 7) as f64 + 0.3 * ((t * t) % 11) as f64;
        type Shape = fn(usize, f64) -> f64;
        let shapes: [(&str, Shape); 9] = [
            ("plain", |_, value| 10.0 + value),
            ("tiny", |_, value| 1e-12 * (10.0 + value)),
            ("huge", |_, value| 1e12 * (10.0 + value)),
            ("outlier", |t, value| if t == 17 { 1e9 } else { value }),
            ("shift", |t, value| if t > 60 { 1e4 + value } else { value }),
            (
                "almost constant",
                |t, _| if t == 30 { 5.000_001 } else { 5.0 },
            ),
            ("negative", |_, value| -50.0 - value),
            (
                "mostly zero",
                |t, value| if t % 9 == 0 { value } else { 0.0 },
            ),
            ("explosive", |t, value| {
                1.2f64.powi(t as i32) * (1.0 + 0.01 * value)
            }),
        ];
        let models = crate::catalog().iter().filter(|entry| {
            let params = Params::parse(entry.params).unwrap();
            !entry.family.members(&params).unwrap().is_empty()
                || entry.family.name() == "seasonal_autoregression"
        });
        for entry in models {
            for (shape, of) in &shapes {
                for length in [4, 5, 9, 14, 15, 29, 60, 130] {
                    let values: Vec<f64> = (0..length + 5).map(|t| of(t, bumpy(t))).collect();
                    let dates: Vec<i32> = (0..length as i32 + 5).collect();
                    let part = |from: usize, to: usize| Series {
                        dates: &dates[from..to],
                        values: &values[from..to],
                        regressors: &[],
                    };
                    let mut given = Params::parse(entry.params).unwrap().values().clone();
                    given.insert("season_length".to_owned(), 7.into());
                    let given = Params::from(given);
                    let fitted = entry.family.fit(part(0, length), &given, None);
                    let fitted =
                        fitted.unwrap_or_else(|error| panic!("{} {shape}: {error}", entry.key));
                    let state = entry
                        .family
                        .condition(&fitted.state, part(length, length + 5))
                        .unwrap();
                    let outlook = entry.family.outlook(&state, ahead(10)).unwrap();
                    let paths = outlook.simulate(10, 20, &Streams::new(&Digest::new()));
                    let drawn = outlook.point().into_iter().chain(paths.values);
                    let largest = values
                        .iter()
                        .fold(0.0, |most: f64, value| most.max(value.abs()));
                    for value in drawn {
                        let sound = value.abs() <= 1e3 * largest;
                        assert!(sound, "{} {shape} {length}: {value}", entry.key);
                    }
                    let near = entry.family.fit(part(0, length + 5), &given, Some(&state));
                    near.unwrap_or_else(|error| panic!("{} {shape}: {error}", entry.key));
                }
            }
        }
    }
}
