//! Which trainings a chunk owes, and on which days a failed one is tried again.
//!
//! A model is due on a day when its period has none yet, and its periods are counted from its first
//! training. A training that fails is therefore due again the next day, until one succeeds or the
//! next period begins. Daily runs do this day by day; a range tries the days that follow a failure
//! together, twice as many each time, and keeps the first that succeeds: it chooses the same models.

use std::collections::{BTreeMap, BTreeSet};

use almanac_delta::TableSnapshot;
use almanac_delta::manifest::{UnitFailure, UnitKey};
use almanac_delta::tables::job_failures::STAGE_TRAIN;
use almanac_planner::schedule::{WantedTraining, due_trainings};
use almanac_udfs::forecasters::{Day, Frequency};

use super::made::Made;
use super::{Anchors, Only, Production};
use crate::context::{Context, Rows};
use crate::error::JobError;

/// Trainings tried again at the same time, at most; each holds its whole history.
const TRIED_AGAIN: usize = 4096;

/// What a run has tried so far.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Trainings that failed.
    pub failed: BTreeSet<UnitKey>,
    /// Trainings that are committed.
    pub trained: BTreeSet<UnitKey>,
}

/// A commodity and a catalog key.
type Pair = (String, String);

/// What is due in a chunk.
#[derive(Debug, Default)]
pub struct Due {
    /// Periods without a model, in the order of their pairs and days.
    pub open: Vec<Open>,
    /// Periods of each pair that had their model already. Pairs whose cadence is still to be
    /// founded are not among them.
    pub skipped: BTreeMap<Pair, u64>,
}

/// A period without a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Days to try next, in order; never empty.
    pub days: Vec<UnitKey>,
    /// Whether there are days left after these.
    more: bool,
    /// Whether its model is the first of its cadence.
    founding: Founding,
}

/// What a training is to its cadence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Founding {
    /// The cadence is there: its periods are known.
    No,
    /// The first, wanted on the first day of the range. Later periods are planned with it, as if it
    /// could not fail.
    Planned,
    /// The first, after it failed on the first day. It decides all later periods.
    Late,
}

/// What counts of what was tried.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// For each period the first day that succeeded.
    pub keys: BTreeSet<UnitKey>,
    /// Failures of the days before.
    pub failures: Vec<UnitFailure>,
    /// Pairs whose periods are not what was planned: nothing else of them counts.
    unfounded: BTreeSet<Pair>,
    /// Whether something is left to try.
    pub again: bool,
}

impl Due {
    /// All days to try.
    pub fn days(&self) -> Vec<UnitKey> {
        let days = self.open.iter().flat_map(|open| &open.days);
        days.cloned().collect()
    }

    /// What counts of what was made of the days.
    pub fn kept(&self, made: &Made) -> Kept {
        let failures: BTreeMap<&UnitKey, &UnitFailure> = made
            .failures()
            .map(|failure| (&failure.key, failure))
            .collect();
        let made = made.keys();
        let succeeded = |open: &Open| open.days.iter().position(|day| made.contains(day));
        let mut kept = Kept::default();
        for open in &self.open {
            let founded = match open.founding {
                Founding::No => true,
                Founding::Planned => succeeded(open).is_some(),
                Founding::Late => false,
            };
            if !founded {
                kept.unfounded.insert(pair(&open.days[0]));
                // The periods that follow a late first training are still to be planned.
                kept.again |= succeeded(open).is_some();
            }
        }
        for open in &self.open {
            let planned_on_it = open.founding == Founding::No;
            if planned_on_it && kept.unfounded.contains(&pair(&open.days[0])) {
                continue;
            }
            let found = succeeded(open);
            let before = &open.days[..found.unwrap_or(open.days.len())];
            let failed = before.iter().filter_map(|day| failures.get(day));
            kept.failures
                .extend(failed.map(|failure| (*failure).clone()));
            kept.keys
                .extend(found.map(|index| open.days[index].clone()));
            kept.again |= found.is_none() && open.more;
        }
        kept
    }

    /// The periods that had their model already, of pairs whose periods are known.
    pub fn skipped<'a>(&'a self, kept: &'a Kept) -> impl Iterator<Item = (&'a Pair, u64)> {
        let known = |(pair, _): &(&Pair, &u64)| !kept.unfounded.contains(*pair);
        let skipped = self.skipped.iter().filter(known);
        skipped.map(|(pair, count)| (pair, *count))
    }
}

/// What the cadence asks for in a chunk and is not there.
pub async fn due(
    context: &Context,
    production: &Production,
    chunk: (Day, Day),
    anchors: &Anchors,
    only: &Only,
    models: &TableSnapshot,
    attempts: &Attempts,
) -> Result<Due, JobError> {
    let frequency = production.frequency()?;
    let mut spans = vec![];
    for commodity in &production.commodities {
        for model_name in production.models.keys() {
            let model = Model {
                commodity,
                model_name,
                model_version: &production.model_version,
                attempts,
            };
            let stored = anchors.get(&(commodity.clone(), model_name.clone()));
            let range = (production.start, chunk.0, chunk.1);
            for span in model.spans(frequency, stored.copied(), range) {
                spans.push((model, span));
            }
        }
    }
    let failing = spans.iter().filter(|(_, span)| span.failed > 0).count();
    let most = (TRIED_AGAIN / failing.max(1)).max(1);
    let mut wanted = vec![];
    for (model, span) in &spans {
        let mut days = (span.first..=span.last)
            .map(|day| model.key(day))
            .filter(|key| !attempts.failed.contains(key) && only.means(STAGE_TRAIN, key));
        let next = days.by_ref().take(span.failed.clamp(1, most)).collect();
        wanted.push(Open {
            days: next,
            more: days.next().is_some(),
            founding: span.founding,
        });
    }
    let relation: Vec<WantedTraining> = spans
        .iter()
        .zip(&wanted)
        .flat_map(|((_, span), open)| {
            open.days.iter().map(|day| WantedTraining {
                commodity: day.commodity.clone(),
                model_name: day.model_name.clone(),
                period: span.begin,
                date: day.date,
            })
        })
        .collect();
    let missing = missing(context, production, chunk, &relation, models).await?;
    let mut due = Due::default();
    for ((model, span), mut open) in spans.iter().zip(wanted) {
        // A model that is there serves the rest of its period.
        open.days.retain(|day| missing.contains(day));
        if !open.days.is_empty() {
            due.open.push(open);
        } else if span.own && span.founding != Founding::Late {
            let pair = (model.commodity.to_owned(), model.model_name.to_owned());
            let there = !attempts.trained.iter().any(|key| span.holds(model, key));
            *due.skipped.entry(pair).or_default() += u64::from(there);
        }
    }
    Ok(due)
}

/// Days of the relation whose period has no model up to them.
async fn missing(
    context: &Context,
    production: &Production,
    (start, end): (Day, Day),
    wanted: &[WantedTraining],
    models: &TableSnapshot,
) -> Result<BTreeSet<UnitKey>, JobError> {
    let mut missing = BTreeSet::new();
    if wanted.is_empty() {
        return Ok(missing);
    }
    let range = production.range(start, end);
    let plan = due_trainings(wanted, &context.source(models), &range)?;
    for batch in context.query(plan).await? {
        let rows = Rows(&batch);
        for row in 0..rows.len() {
            missing.insert(rows.key(&production.model_version, "due", row)?);
        }
    }
    Ok(missing)
}

fn pair(key: &UnitKey) -> Pair {
    (key.commodity.clone(), key.model_name.clone())
}

/// One model of a series, and what has been tried of it.
#[derive(Clone, Copy)]
struct Model<'a> {
    commodity: &'a str,
    model_name: &'a str,
    model_version: &'a str,
    attempts: &'a Attempts,
}

/// The days of a chunk on which one and the same training is due.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    /// A model trained from this day on serves it.
    begin: Day,
    first: Day,
    last: Day,
    founding: Founding,
    /// Whether it is counted in this chunk: a period that began in an earlier one was counted there.
    own: bool,
    /// Its days that were tried and failed.
    failed: usize,
}

impl Span {
    fn holds(&self, model: &Model<'_>, key: &UnitKey) -> bool {
        (self.first..=self.last).contains(&key.date) && *key == model.key(key.date)
    }
}

impl Model<'_> {
    fn key(&self, date: Day) -> UnitKey {
        UnitKey {
            commodity: self.commodity.to_owned(),
            model_name: self.model_name.to_owned(),
            model_version: self.model_version.to_owned(),
            date,
        }
    }

    fn failed(&self, from: Day, until: Day) -> usize {
        if self.attempts.failed.is_empty() || from > until {
            return 0;
        }
        let days = self.key(from)..=self.key(until);
        self.attempts.failed.range(days).count()
    }

    /// The spans of the chunk `first ..= last` of a range that begins on `start`, with `stored` the
    /// first training there is.
    fn spans(
        &self,
        frequency: Frequency,
        stored: Option<Day>,
        (start, first, last): (Day, Day, Day),
    ) -> Vec<Span> {
        // A first training after the start founds the cadence only if the days before it failed:
        // else the range reaches back behind it, and has a cadence of its own.
        let founded = stored.filter(|day| *day <= start || self.failed(day - 1, day - 1) > 0);
        if founded.is_none() && self.failed(start, start) > 0 {
            return vec![Span {
                begin: start,
                first,
                last,
                founding: Founding::Late,
                own: true,
                failed: self.failed(start, last),
            }];
        }
        let anchor = founded.unwrap_or(start);
        let periods = frequency.periods(anchor, first, last).into_iter();
        let spans = periods.map(|(begin, day)| {
            let founds = founded.is_none() && day == start;
            let end = frequency.next(anchor, day) - 1;
            Span {
                begin,
                first: day,
                last: if founds { last } else { end.min(last) },
                founding: if founds {
                    Founding::Planned
                } else {
                    Founding::No
                },
                own: first == start || begin >= first,
                failed: self.failed(begin, end),
            }
        });
        spans.filter(|span| span.own || span.failed > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use almanac_delta::manifest::Manifest;
    use almanac_udfs::forecasters::date;

    use super::*;

    fn day(text: &str) -> Day {
        date::parse(text).unwrap()
    }

    fn key(model_name: &str, date: &str) -> UnitKey {
        UnitKey {
            commodity: "coffee".to_owned(),
            model_name: model_name.to_owned(),
            model_version: "v1".to_owned(),
            date: day(date),
        }
    }

    fn failed(days: &[&str]) -> Attempts {
        Attempts {
            failed: days.iter().map(|day| key("naive", day)).collect(),
            trained: BTreeSet::new(),
        }
    }

    /// First and last day of each span, its founding, and whether it is counted.
    fn spans(
        attempts: &Attempts,
        stored: Option<&str>,
        range: [&str; 3],
    ) -> Vec<(String, String, Founding, bool)> {
        let model = Model {
            commodity: "coffee",
            model_name: "naive",
            model_version: "v1",
            attempts,
        };
        let [start, first, last] = range.map(day);
        let text = |day: Day| date::format(day)[5..].to_owned();
        let spans = model.spans(Frequency::Weekly, stored.map(day), (start, first, last));
        let shown = spans
            .iter()
            .map(|span| (text(span.first), text(span.last), span.founding, span.own));
        shown.collect()
    }

    fn span(first: &str, last: &str, founding: Founding) -> (String, String, Founding, bool) {
        (first.to_owned(), last.to_owned(), founding, true)
    }

    const YEAR: [&str; 3] = ["2021-03-01", "2021-03-01", "2021-03-17"];

    #[test]
    fn a_new_cadence_is_planned_from_the_start_as_if_nothing_failed() {
        let found = spans(&Attempts::default(), None, YEAR);
        let wanted = [
            span("03-01", "03-17", Founding::Planned),
            span("03-08", "03-14", Founding::No),
            span("03-15", "03-17", Founding::No),
        ];
        assert_eq!(found, wanted);
        // So is one behind which the range reaches back.
        assert_eq!(
            spans(&Attempts::default(), Some("2021-03-04"), YEAR),
            wanted
        );
    }

    #[test]
    fn a_cadence_whose_first_days_fail_is_searched_for_and_begins_where_one_succeeds() {
        let tried = failed(&["2021-03-01", "2021-03-02"]);
        let search = [span("03-01", "03-17", Founding::Late)];
        assert_eq!(spans(&tried, None, YEAR), search);
        assert_eq!(spans(&tried, Some("2021-03-05"), YEAR), search);
        let begun = [
            span("03-03", "03-09", Founding::No),
            span("03-10", "03-16", Founding::No),
            span("03-17", "03-17", Founding::No),
        ];
        assert_eq!(spans(&tried, Some("2021-03-03"), YEAR), begun);
        // In the next chunk the search goes on.
        let next = ["2021-03-01", "2021-03-18", "2021-03-20"];
        let search = [span("03-18", "03-20", Founding::Late)];
        assert_eq!(spans(&tried, None, next), search);
    }

    #[test]
    fn a_period_is_counted_where_it_began_and_tried_on_where_it_failed() {
        let stored = Some("2021-02-22");
        let next = ["2021-03-01", "2021-03-10", "2021-03-16"];
        let own = span("03-15", "03-16", Founding::No);
        assert_eq!(
            spans(&Attempts::default(), stored, next),
            std::slice::from_ref(&own)
        );
        let carried = ("03-10".to_owned(), "03-14".to_owned(), Founding::No, false);
        assert_eq!(
            spans(&failed(&["2021-03-09"]), stored, next),
            [carried, own]
        );
    }

    fn open(founding: Founding, more: bool, days: &[UnitKey]) -> Open {
        Open {
            days: days.to_vec(),
            more,
            founding,
        }
    }

    /// What comes out when these days succeed and all others fail.
    fn kept(open: Vec<Open>, succeed: &[&UnitKey]) -> Kept {
        let due = Due {
            open,
            skipped: BTreeMap::new(),
        };
        let mut manifest = Manifest::new("slice", "attempt", 0);
        for day in due.days() {
            if succeed.contains(&&day) {
                manifest.keys.push((day, 1));
            } else {
                manifest.failures.push(UnitFailure {
                    key: day,
                    error_class: "panic".to_owned(),
                    message: "why".to_owned(),
                });
            }
        }
        due.kept(&Made {
            manifests: vec![manifest],
            ..Made::default()
        })
    }

    fn failures(kept: &Kept) -> Vec<&UnitKey> {
        kept.failures.iter().map(|failure| &failure.key).collect()
    }

    #[test]
    fn of_the_days_of_a_period_the_first_that_succeeds_counts_and_the_failures_before() {
        let days =
            ["2021-03-02", "2021-03-03", "2021-03-04", "2021-03-05"].map(|date| key("naive", date));
        let period = vec![open(Founding::No, true, &days)];
        let found = kept(period.clone(), &[&days[1], &days[3]]);
        assert_eq!(found.keys, BTreeSet::from([days[1].clone()]));
        assert_eq!(failures(&found), [&days[0]]);
        assert!(!found.again);

        let found = kept(period, &[]);
        assert_eq!((found.keys.len(), failures(&found).len()), (0, 4));
        assert!(found.again, "there are days left");
        assert!(!kept(vec![open(Founding::No, false, &days)], &[]).again);
    }

    #[test]
    fn what_was_planned_on_a_first_training_that_failed_does_not_count() {
        let [first, second, other] = [
            ("naive", "2021-03-01"),
            ("naive", "2021-03-08"),
            ("mean", "2021-03-08"),
        ]
        .map(|(model, date)| key(model, date));
        let planned = vec![
            open(Founding::Planned, true, std::slice::from_ref(&first)),
            open(Founding::No, true, std::slice::from_ref(&second)),
            open(Founding::No, true, std::slice::from_ref(&other)),
        ];
        let found = kept(planned.clone(), &[&second, &other]);
        assert_eq!(found.keys, BTreeSet::from([other.clone()]));
        assert_eq!(failures(&found), [&first]);
        assert!(found.again);

        let found = kept(planned, &[&first, &second, &other]);
        assert_eq!(found.keys.len(), 3);
        assert!(!found.again);

        // A late one decides periods that are still to be planned.
        let late = vec![open(Founding::Late, false, std::slice::from_ref(&first))];
        assert!(kept(late, &[&first]).again);
    }
}
