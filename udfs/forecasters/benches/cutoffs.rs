//! What a warm start saves: `auto_arima` fitted at 16 cutoffs half a year apart, from nothing each
//! time, and each from the state of the one before; without the calibration of its paths and with it.
//! `benches/cutoffs.py` runs it on daily prices.
//!
//! ```text
//! cargo bench -p almanac-forecasters --bench cutoffs -- FILE…   # lines of `day close`, days from 1970
//! ```
//!
//! Prints two JSON lines for each file.

use std::time::{Duration, Instant};

use almanac_forecasters::{Forecaster, Params, Series, State, catalog};
use serde_json::json;

const CUTOFFS: usize = 16;
const APART_DAYS: i32 = 182;
/// Each way in turn, so often; the least time of each counts.
const ROUNDS: usize = 3;

fn main() {
    // Cargo adds an argument of its own.
    let files = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let (dates, values): (Vec<i32>, Vec<f64>) = text.lines().map(read).unzip();
        let newest = *dates.last().expect("a file with prices");
        let lengths: Vec<usize> = (0..CUTOFFS as i32)
            .rev()
            .map(|back| newest - back * APART_DAYS)
            .map(|cutoff| dates.partition_point(|date| *date <= cutoff))
            .collect();
        for calibrate in ["none", "auto"] {
            let params = Params::parse(&json!({ "calibrate": calibrate }).to_string());
            let params = params.expect("parameters");
            let fit = |warm: bool| fit_all(&dates, &values, &lengths, &params, warm);
            let (mut cold, mut warm) = (fit(false), fit(true));
            for _ in 1..ROUNDS {
                cold.seconds = cold.seconds.min(fit(false).seconds);
                warm.seconds = warm.seconds.min(fit(true).seconds);
            }
            let line = json!({
                "file": file,
                "calibrate": calibrate,
                "cutoffs": CUTOFFS,
                "shortest": lengths[0],
                "longest": values.len(),
                "cold_seconds": cold.seconds.as_secs_f64(),
                "warm_seconds": warm.seconds.as_secs_f64(),
                "cold_mean_aicc": cold.mean_aicc,
                "warm_mean_aicc": warm.mean_aicc,
            });
            println!("{line}");
        }
    }
}

fn read(line: &str) -> (i32, f64) {
    let (date, close) = line.split_once(' ').expect("a day and a close");
    (
        date.parse().expect("a day"),
        close.parse().expect("a close"),
    )
}

struct Fits {
    seconds: Duration,
    mean_aicc: f64,
}

/// Fits all cutoffs. The first is cold either way; its time counts.
fn fit_all(dates: &[i32], values: &[f64], lengths: &[usize], params: &Params, warm: bool) -> Fits {
    let entry = catalog().iter().find(|entry| entry.key == "auto_arima");
    let family: &dyn Forecaster = entry.expect("a model of the catalog").family;
    let mut previous: Option<State> = None;
    let mut sum = 0.0;
    let start = Instant::now();
    for length in lengths {
        let history = Series {
            dates: &dates[..*length],
            values: &values[..*length],
            regressors: &[],
        };
        let fitted = family
            .fit(history, params, previous.as_ref())
            .expect("prices can be fitted");
        sum += fitted.aicc.expect("ARIMA has a criterion");
        previous = warm.then_some(fitted.state);
    }
    Fits {
        seconds: start.elapsed(),
        mean_aicc: sum / lengths.len() as f64,
    }
}
