//! The thirty forms, how they are named, and which of them a search looks at.

use serde::{Deserialize, Serialize};

/// How a component enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Not at all.
    None,
    /// It is added.
    Additive,
    /// It is a factor.
    Multiplicative,
}

/// A form: error, trend and season.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Form {
    /// Whether errors are shares of the prediction.
    pub(crate) relative: bool,
    /// The trend.
    pub(crate) trend: Kind,
    /// Whether the trend fades.
    pub(crate) damped: bool,
    /// The season.
    pub(crate) season: Kind,
}

impl Form {
    /// All thirty, simplest first.
    pub(crate) fn all() -> impl Iterator<Item = Form> {
        use Kind::{Additive, Multiplicative, None};
        let trends = [
            (None, false),
            (Additive, false),
            (Additive, true),
            (Multiplicative, false),
            (Multiplicative, true),
        ];
        [None, Additive, Multiplicative]
            .into_iter()
            .flat_map(move |season| {
                trends.into_iter().flat_map(move |(trend, damped)| {
                    [false, true].into_iter().map(move |relative| Form {
                        relative,
                        trend,
                        damped,
                        season,
                    })
                })
            })
    }

    /// Whether some component is a factor, so that the form needs positive values.
    pub(crate) fn positive(self) -> bool {
        self.relative || self.trend == Kind::Multiplicative || self.season == Kind::Multiplicative
    }

    /// Whether every component is added: the forms with a formula for every moment.
    pub(crate) fn linear(self) -> bool {
        !self.positive()
    }

    /// Whether the form is left out of a search because its recursions divide by components that
    /// come near zero, or because its variance is infinite (Hyndman and Athanasopoulos, section
    /// 8.6; Hyndman, Koehler, Ord and Snyder, section 2.5).
    pub(crate) fn unstable(self) -> bool {
        let factor = self.trend == Kind::Multiplicative || self.season == Kind::Multiplicative;
        let mixed = self.trend == Kind::Multiplicative && self.season == Kind::Additive;
        !self.relative && factor || mixed
    }

    /// The parameters that are estimated, the error variance included. `season_length` counts only
    /// with a season, whose initial states sum to a fixed number.
    pub(crate) fn parameters(self, season_length: usize) -> usize {
        Layout::of(self, season_length).length + 1
    }

    /// How many of error, trend (damping included) and season differ.
    pub(crate) fn distance(self, other: Form) -> usize {
        usize::from(self.relative != other.relative)
            + usize::from((self.trend, self.damped) != (other.trend, other.damped))
            + usize::from(self.season != other.season)
    }
}

/// Where the parameters of a form lie in the vector that is searched: alpha, level, then as far as
/// the form has them beta and growth, phi, gamma, and all but one of the seasonal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where beta is; growth follows.
    pub(crate) beta: Option<usize>,
    /// Where phi is.
    pub(crate) phi: Option<usize>,
    /// Where gamma is; the seasonal states follow.
    pub(crate) gamma: Option<usize>,
    /// The length of the vector.
    pub(crate) length: usize,
}

/// Where alpha is.
pub(crate) const ALPHA: usize = 0;
/// Where the level is.
pub(crate) const LEVEL: usize = 1;

impl Layout {
    /// The layout of a form.
    pub(crate) fn of(form: Form, season_length: usize) -> Layout {
        let mut length = 2;
        let mut place = |there: bool, size: usize| {
            let first = length;
            length += if there { size } else { 0 };
            there.then_some(first)
        };
        let beta = place(form.trend != Kind::None, 2);
        let phi = place(form.damped, 1);
        let gamma = place(form.season != Kind::None, season_length);
        Layout {
            beta,
            phi,
            gamma,
            length,
        }
    }

    /// How many parameters are neither seasonal states nor absent.
    pub(crate) fn without_season(self) -> usize {
        self.gamma.map_or(self.length, |gamma| gamma + 1)
    }
}

impl From<Form> for String {
    fn from(form: Form) -> String {
        let letter = |kind| match kind {
            Kind::None => 'N',
            Kind::Additive => 'A',
            Kind::Multiplicative => 'M',
        };
        let mut name = String::from(if form.relative { "M" } else { "A" });
        name.push(letter(form.trend));
        if form.damped {
            name.push('d');
        }
        name.push(letter(form.season));
        name
    }
}

impl TryFrom<String> for Form {
    type Error = String;

    fn try_from(name: String) -> Result<Form, String> {
        Form::all()
            .find(|form| String::from(*form) == name)
            .ok_or_else(|| format!("there is no form `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirty_forms_and_nineteen_are_stable() {
        let names: Vec<String> = Form::all().map(String::from).collect();
        assert_eq!(names.len(), 30);
        for (index, form) in Form::all().enumerate() {
            assert_eq!(Form::try_from(names[index].clone()), Ok(form));
        }
        assert!(Form::try_from("AXN".to_owned()).is_err());
        let stable: Vec<String> = Form::all()
            .filter(|form| !form.unstable())
            .map(String::from)
            .collect();
        assert_eq!(stable.len(), 19);
        assert!(stable.contains(&"MAdM".to_owned()) && !stable.contains(&"ANM".to_owned()));
        assert!(!stable.contains(&"MMA".to_owned()) && stable.contains(&"MMM".to_owned()));
    }

    #[test]
    fn parameters_are_counted_with_their_initial_states_and_the_variance() {
        let count =
            |name: &str, season| Form::try_from(name.to_owned()).unwrap().parameters(season);
        assert_eq!(
            (count("ANN", 1), count("AAN", 1), count("MAdN", 1)),
            (3, 5, 6)
        );
        assert_eq!((count("ANA", 12), count("MAdM", 12)), (15, 18));
    }
}
