//! A forecast starts from the newest known close, not from the close its model was trained at.

use crate::lake::TestLake;
use crate::market::{Market, day, days, is_weekday};
use crate::tables::{Key, bits, moments};

const REQUEST: &str = "backfill --commodity Coffee --models naive,random_walk,window_mean,seasonal_naive,linear_regression \
    --start 2021-05-24 --end 2021-06-18 --frequency semiannually --model-version v1 --paths 200";

#[test]
fn raising_the_close_of_d_shifts_the_next_trading_day_and_no_byte_of_d() {
    let market = Market::usual("Coffee", 21);
    let d = day("2021-06-09");
    let mut raised = market.clone();
    let close = market.close("Coffee", d);
    raised.set("Coffee", d, "close", close * 1.1);

    let [plain, shifted] = [market, raised].map(|market| {
        let lake = TestLake::of(&market);
        lake.job(REQUEST);
        lake.paths()
    });
    for (key, rows) in bits(&plain).into_iter().filter(|(key, _)| key.date <= d) {
        assert_eq!(bits(&shifted)[&key], rows, "{key:?} knows a later close");
    }
    let next = day("2021-06-10");
    for (key, rows) in plain.iter().filter(|(key, _)| key.date == next) {
        assert_ne!(
            bits(&shifted)[key],
            bits(&plain)[key],
            "{key:?} does not know the close of {d}"
        );
        if matches!(key.model.as_str(), "naive" | "random_walk") {
            let moved = moments(&shifted[key], 1).0 - moments(rows, 1).0;
            assert!(
                (moved / (0.1 * close) - 1.0).abs() < 0.1,
                "{key:?} moved by {moved}, the close by {}",
                0.1 * close
            );
        }
    }
}

#[test]
fn every_trading_day_has_a_forecast_of_its_own_that_follows_the_last_close() {
    let market = Market::usual("Coffee", 22);
    let lake = TestLake::of(&market);
    lake.job(REQUEST);
    assert_eq!(lake.models().len(), 5, "one training serves all dates");
    let paths = lake.paths();
    for model in [
        "naive",
        "random_walk",
        "window_mean",
        "seasonal_naive",
        "linear_regression",
    ] {
        let mut before = None;
        for date in days("2021-05-24", "2021-06-18").filter(|date| is_weekday(*date)) {
            let rows = &paths[&Key::new("Coffee", model, "v1", date)];
            let values: Vec<_> = rows.iter().map(|row| row.days).collect();
            assert_ne!(
                before.as_ref(),
                Some(&values),
                "{model} repeats itself on {date}"
            );
            before = Some(values);
            if model == "naive" {
                let (mean, deviation) = moments(rows, 1);
                let close = market.last_close("Coffee", date);
                assert!(
                    (mean - close).abs() < 0.4 * deviation + 0.001,
                    "{date}: {mean} is not around {close}"
                );
            }
        }
    }
}
