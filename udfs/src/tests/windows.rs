//! What no unit may see is counted and not kept.

use arrow::array::{Int32Array, Int64Array};
use arrow::compute::concat_batches;

use super::*;
use crate::window::KeepWindow;

/// A batch of a scan, with `date` as the close of each date.
fn scanned(dates: &[Day]) -> RecordBatch {
    let count = dates.len();
    let closes = dates.iter().map(|date| f64::from(*date));
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("slice", Arc::new(Int32Array::from(vec![2; count])), false),
        (
            "commodity",
            Arc::new(StringArray::from(vec!["tea"; count])),
            false,
        ),
        (
            "region",
            Arc::new(StringArray::from(vec!["ALL"; count])),
            false,
        ),
        ("date", Arc::new(Date32Array::from(dates.to_vec())), false),
        (
            "close",
            Arc::new(Float64Array::from_iter_values(closes)),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// (date, close, table rows) of what comes through.
async fn kept(window: KeepWindow, batches: Vec<RecordBatch>) -> Vec<(Day, Option<f64>, i64)> {
    let output = Arc::new(window.output_schema(&batches[0].schema()).unwrap());
    let made = operate(&window, batches, PLENTY).await.unwrap();
    let found: Vec<RecordBatch> = made.into_iter().map(|(batch, _)| batch).collect();
    let found = concat_batches(&output, &found).unwrap();
    let column = |name: &str| found.column_by_name(name).unwrap();
    let counts = column("table_rows")
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap();
    column("date")
        .as_primitive::<Date32Type>()
        .iter()
        .zip(column("close").as_primitive::<Float64Type>())
        .zip(counts)
        .map(|((date, close), count)| (date.unwrap(), close, count.unwrap()))
        .collect()
}

#[tokio::test]
async fn rows_outside_leave_their_number_and_their_newest_date() {
    let window = KeepWindow {
        from: 10,
        until: 12,
    };
    let batches = vec![
        scanned(&[9, 10, 8, 11]),
        scanned(&[10]),
        scanned(&[7, 12, 3]),
        scanned(&[]),
    ];
    assert_eq!(
        kept(window, batches).await,
        [
            (10, Some(10.0), 1),
            (11, Some(11.0), 1),
            (9, None, 2),
            (10, Some(10.0), 1),
            (12, None, 3),
        ]
    );
}

#[tokio::test]
async fn the_widest_window_keeps_every_row() {
    let dates = [Day::MIN, -1, 0, 7, Day::MAX - 1];
    let found = kept(KeepWindow::ALL, vec![scanned(&dates)]).await;
    assert_eq!(
        found.iter().map(|(date, _, _)| *date).collect::<Vec<_>>(),
        dates
    );
    assert!(
        found
            .iter()
            .all(|(_, close, count)| close.is_some() && *count == 1)
    );
}
