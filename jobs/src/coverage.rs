//! Coverage: which days each model has forecasts for, and which it should have.

use std::collections::BTreeMap;

use almanac_delta::TableName;
use almanac_planner::coverage::{FIRST_DATE, LAST_DATE, LIVE, failed_stretches, present_stretches};
use almanac_udfs::forecasters::{Day, date};
use datafusion::logical_expr::LogicalPlan;
use serde_json::{Value, json};

use crate::context::{Context, Rows, today};
use crate::error::JobError;

/// The first and the last of consecutive days.
type Stretch = (Day, Day);

/// What is known of a commodity, model and version.
#[derive(Debug, Default)]
struct Model {
    /// Days with a forecast, in order.
    present: Vec<Stretch>,
    /// Days on which one was tried and failed, in order.
    failed: Vec<Stretch>,
    /// Whether any was made on its own day.
    live: bool,
}

/// Coverage of a commodity, model and version.
#[derive(Debug, PartialEq, Eq)]
struct Coverage {
    present: i64,
    wanted: i64,
    /// Wanted days without a forecast, in order.
    gaps: Vec<Stretch>,
}

impl Model {
    /// Wanted are all days from the first forecast to the last, to `today` where the model is live,
    /// and every day on which a forecast was tried.
    fn coverage(&self, today: Day) -> Coverage {
        let ends = self.present.first().zip(self.present.last());
        let span = ends.map(|(first, last)| {
            let until = if self.live { last.1.max(today) } else { last.1 };
            (first.0, until)
        });
        let wanted = joined(
            span.into_iter()
                .chain(self.failed.iter().copied())
                .collect(),
        );
        Coverage {
            present: days(&self.present),
            wanted: days(&wanted),
            gaps: without(&wanted, &self.present),
        }
    }
}

/// One object for each commodity, model and version that has forecasts, or should have.
pub async fn coverage(context: &Context) -> Result<Vec<Value>, JobError> {
    let mut models: BTreeMap<[String; 3], Model> = BTreeMap::new();
    let table = context.lake.table(TableName::Distributions).await?;
    let plan = present_stretches(&context.source(&table))?;
    for (model, stretch, live) in stretches(context, plan).await? {
        let model = models.entry(model).or_default();
        model.present.push(stretch);
        model.live |= live;
    }
    let table = context.lake.table(TableName::JobFailures).await?;
    let plan = failed_stretches(&context.source(&table))?;
    for (model, stretch, _) in stretches(context, plan).await? {
        models.entry(model).or_default().failed.push(stretch);
    }
    let today = today();
    Ok(models
        .iter()
        .map(|(name, model)| shown(name, model, today))
        .collect())
}

fn shown([commodity, model_name, model_version]: &[String; 3], model: &Model, today: Day) -> Value {
    let Coverage {
        present,
        wanted,
        gaps,
    } = model.coverage(today);
    let gaps: Vec<Value> = gaps
        .iter()
        .map(|(first, last)| json!({FIRST_DATE: date::format(*first), LAST_DATE: date::format(*last)}))
        .collect();
    json!({
        "commodity": commodity,
        "model_name": model_name,
        "model_version": model_version,
        "present": present,
        "wanted": wanted,
        FIRST_DATE: model.present.first().map(|stretch| date::format(stretch.0)),
        LAST_DATE: model.present.last().map(|stretch| date::format(stretch.1)),
        LIVE: model.live,
        "gaps": gaps,
    })
}

/// The gaps of a model in one line, the newest first.
pub fn gaps_in_words(coverage: &Value) -> String {
    const SHOWN: usize = 3;
    let gaps = coverage["gaps"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |gap: &Value, name: &str| gap[name].as_str().unwrap_or_default().to_owned();
    let mut words: Vec<String> = gaps
        .iter()
        .rev()
        .take(SHOWN)
        .map(|gap| match (text(gap, FIRST_DATE), text(gap, LAST_DATE)) {
            (first, last) if first == last => first,
            (first, last) => format!("{first} … {last}"),
        })
        .collect();
    if gaps.len() > SHOWN {
        words.push(format!("{} more before", gaps.len() - SHOWN));
    }
    words.join(", ")
}

async fn stretches(
    context: &Context,
    plan: LogicalPlan,
) -> Result<Vec<([String; 3], Stretch, bool)>, JobError> {
    let mut stretches = vec![];
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            let model = [
                rows.text("commodity", row)?,
                rows.text("model_name", row)?,
                rows.text("model_version", row)?,
            ];
            let stretch = (rows.day(FIRST_DATE, row)?, rows.day(LAST_DATE, row)?);
            stretches.push((model, stretch, rows.flag(LIVE, row)?));
        }
    }
    Ok(stretches)
}

/// The same days as stretches in order that do not touch.
fn joined(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_unstable();
    let mut joined: Vec<Stretch> = vec![];
    for (first, last) in stretches {
        match joined.last_mut() {
            Some(open) if first <= open.1 + 1 => open.1 = open.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The days of `all` that are none of `some`; both in order.
fn without(all: &[Stretch], some: &[Stretch]) -> Vec<Stretch> {
    let mut rest = vec![];
    for (first, last) in all {
        let mut next = *first;
        for (start, end) in some
            .iter()
            .filter(|(start, end)| end >= first && start <= last)
        {
            if *start > next {
                rest.push((next, start - 1));
            }
            next = next.max(end + 1);
        }
        if next <= *last {
            rest.push((next, *last));
        }
    }
    rest
}

fn days(stretches: &[Stretch]) -> i64 {
    let lengths = stretches.iter();
    lengths
        .map(|(first, last)| i64::from(last - first + 1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(present: &[Stretch], failed: &[Stretch], live: bool, today: Day) -> Coverage {
        let model = Model {
            present: present.to_vec(),
            failed: failed.to_vec(),
            live,
        };
        model.coverage(today)
    }

    fn of(present: i64, wanted: i64, gaps: &[Stretch]) -> Coverage {
        Coverage {
            present,
            wanted,
            gaps: gaps.to_vec(),
        }
    }

    #[test]
    fn days_between_the_first_and_the_last_are_wanted() {
        assert_eq!(coverage(&[(3, 5)], &[], false, 99), of(3, 3, &[]));
        assert_eq!(
            coverage(&[(3, 5), (8, 8), (10, 12)], &[], false, 99),
            of(7, 10, &[(6, 7), (9, 9)])
        );
    }

    #[test]
    fn a_live_model_is_wanted_up_to_today() {
        assert_eq!(coverage(&[(3, 5)], &[], true, 5), of(3, 3, &[]));
        assert_eq!(coverage(&[(3, 5)], &[], true, 7), of(3, 5, &[(6, 7)]));
        // A forecast for tomorrow is no reason to want less.
        assert_eq!(coverage(&[(3, 9)], &[], true, 7), of(7, 7, &[]));
    }

    #[test]
    fn days_that_were_tried_are_wanted_wherever_they_are() {
        assert_eq!(coverage(&[], &[(3, 5)], false, 99), of(0, 3, &[(3, 5)]));
        // One before, one among the present, one between, one that touches the end.
        let failed = [(1, 1), (5, 5), (8, 8), (12, 13)];
        assert_eq!(
            coverage(&[(4, 7), (9, 11)], &failed, false, 99),
            of(7, 11, &[(1, 1), (8, 8), (12, 13)])
        );
    }

    #[test]
    fn gaps_are_told_newest_first() {
        let told = |gaps: &[Stretch]| {
            let model = Model {
                present: without(&[(0, 100)], gaps),
                ..Model::default()
            };
            let names = ["coffee", "naive", "v1"].map(str::to_owned);
            gaps_in_words(&shown(&names, &model, 0))
        };
        assert_eq!(told(&[]), "");
        assert_eq!(
            told(&[(3, 3), (5, 7)]),
            "1970-01-06 … 1970-01-08, 1970-01-04"
        );
        assert_eq!(
            told(&[(1, 1), (3, 3), (5, 5), (7, 7), (9, 9)]),
            "1970-01-10, 1970-01-08, 1970-01-06, 2 more before"
        );
    }
}
