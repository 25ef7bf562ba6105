//! Which seasons a model of several of them is asked for.

use crate::{Parameter, Params, errors::FitError};

/// The lengths of several seasons.
pub(crate) const SEASON_LENGTHS: Parameter = Parameter {
    name: "season_lengths",
    default: "[]",
    help: "steps in each season, up to 1000000; [] is season_length; a day alone brings its week",
};

/// The length of the only season.
pub(crate) const SEASON_LENGTH: Parameter = Parameter {
    name: "season_length",
    default: "1",
    help: "steps in a season, up to 1000000, where season_lengths are not given; 1 is no season",
};

/// The most seasons of a series.
pub(crate) const MOST_SEASONS: usize = 8;

/// No season is longer.
const LONGEST: usize = 1_000_000;

/// The length of the only season, `default` unless given.
pub(crate) fn length(params: &Params, default: usize) -> Result<usize, FitError> {
    let length = params.usize_or("season_length", default)?;
    if (1..=LONGEST).contains(&length) {
        Ok(length)
    } else {
        Err(params.out_of_range("season_length", "from 1 to 1000000"))
    }
}

/// Steps in a day of 60, 30, 20, 15, 10, 5 and 1 minutes.
const DAYS: [usize; 7] = [24, 48, 72, 96, 144, 288, 1440];

/// The lengths asked for, increasing, each at least 2.
pub(crate) fn lengths(params: &Params) -> Result<Vec<usize>, FitError> {
    let only = length(params, 1)?;
    let mut lengths = params.list_usize_or("season_lengths", &[])?;
    let sound = |length: &usize| (1..=LONGEST).contains(length);
    if !lengths.iter().all(sound) || lengths.len() > MOST_SEASONS {
        let needed = format!("at most {MOST_SEASONS} numbers, each from 1 to {LONGEST}");
        return Err(params.out_of_range("season_lengths", &needed));
    }
    if lengths.is_empty() {
        lengths.push(only);
    }
    // A list such as [24, 1] is the day without its week.
    if let [day] = lengths[..]
        && DAYS.contains(&day)
    {
        lengths.push(7 * day);
    }
    lengths.retain(|length| *length > 1);
    lengths.sort_unstable();
    lengths.dedup();
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<usize>, FitError> {
        lengths(&Params::parse(text).unwrap())
    }

    #[test]
    fn a_day_alone_brings_its_week() {
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(read(r#"{"season_length":12}"#), Ok(vec![12]));
        assert_eq!(read(r#"{"season_length":24}"#), Ok(vec![24, 168]));
        assert_eq!(read(r#"{"season_lengths":[48]}"#), Ok(vec![48, 336]));
        assert_eq!(read(r#"{"season_lengths":[24,1]}"#), Ok(vec![24]));
        let listed = r#"{"season_length":12,"season_lengths":[8766,24,24,1]}"#;
        assert_eq!(read(listed), Ok(vec![24, 8766]));
        for refused in [
            r#"{"season_length":0}"#,
            r#"{"season_length":1000001}"#,
            r#"{"season_lengths":[24,6148914691236517206]}"#,
            r#"{"season_lengths":[0]}"#,
            r#"{"season_lengths":[2,3,4,5,6,7,8,9,10]}"#,
        ] {
            assert_eq!(read(refused).unwrap_err().class(), "parameter");
        }
    }
}
