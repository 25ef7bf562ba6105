//! Ingests into real lakes.

use std::sync::Arc;

use almanac_delta::rows::read_files;
use almanac_delta::{LakeSettings, Layout, StoreLocation};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Date32Type, Float64Type};
use parquet::arrow::ArrowWriter;

use super::*;

/// A folder with a lake in it, and files to ingest.
async fn ingest(lake: &Lake, request: &IngestRequest) -> Result<IngestReport, IngestError> {
    store(lake, read(lake, request).await?, "run").await
}

struct Place {
    folder: tempfile::TempDir,
    lake: Lake,
}

impl Place {
    async fn new(layout: Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::new(folder.path().join("lake").to_str().unwrap());
        let lake = Lake::create(
            &location,
            LakeSettings {
                layout,
                ..LakeSettings::default()
            },
        )
        .await
        .unwrap();
        Self { folder, lake }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, name: &str) -> IngestRequest {
        IngestRequest {
            files: vec![self.path(name)],
            rejects: Some(self.path("rejects.csv")),
            ..IngestRequest::default()
        }
    }

    fn csv(&self, text: impl AsRef<[u8]>) -> IngestRequest {
        std::fs::write(self.path("in.csv"), text).unwrap();
        self.request("in.csv")
    }

    fn parquet(&self, columns: Vec<(&str, ArrayRef)>) -> IngestRequest {
        let rows = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let file = File::create(self.path("in.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        self.request("in.parquet")
    }

    async fn take(&self, text: impl AsRef<[u8]>) -> IngestReport {
        ingest(&self.lake, &self.csv(text)).await.unwrap()
    }

    async fn refuse(&self, request: &IngestRequest) -> IngestError {
        let before = self.version().await;
        let error = ingest(&self.lake, request).await.unwrap_err();
        assert_eq!(self.version().await, before, "{error:?} changed something");
        assert!(error.is_user_fixable(), "{error:?}");
        assert!(error.hint().is_some(), "{error:?} has no hint");
        error
    }

    async fn version(&self) -> u64 {
        self.lake
            .table(TableName::UnifiedData)
            .await
            .unwrap()
            .version()
    }

    async fn table(&self) -> RecordBatch {
        let snapshot = self.lake.table(TableName::UnifiedData).await.unwrap();
        read_files(&self.lake, snapshot.def(), snapshot.files())
            .await
            .unwrap()
    }

    /// `commodity region date value` for every row, sorted.
    async fn column(&self, name: &str) -> Vec<String> {
        let rows = self.table().await;
        let texts = |name: &str| {
            rows.column_by_name(name)
                .unwrap()
                .as_string::<i32>()
                .clone()
        };
        let (commodities, regions) = (texts("commodity"), texts("region"));
        let dates = rows
            .column_by_name("date")
            .unwrap()
            .as_primitive::<Date32Type>();
        let values = rows.column_by_name(name).unwrap();
        let format = arrow::util::display::FormatOptions::default().with_null("-");
        let values = arrow::util::display::ArrayFormatter::try_new(values, &format).unwrap();
        let mut lines: Vec<String> = (0..rows.num_rows())
            .map(|row| {
                let day = almanac_udfs::forecasters::date::format(dates.value(row));
                format!(
                    "{} {} {day} {}",
                    commodities.value(row),
                    regions.value(row),
                    values.value(row)
                )
            })
            .collect();
        lines.sort();
        lines
    }
}

const COFFEE: &str =
    "date,commodity,close,vix\n2024-01-02,Coffee,150,13\n2024-01-03,Coffee,151.5,14\n";

fn counts(report: &IngestReport) -> [u64; 4] {
    [
        report.added,
        report.changed,
        report.unchanged,
        report.rejected,
    ]
}

#[tokio::test]
async fn a_second_identical_ingest_changes_and_commits_nothing() {
    for layout in [Layout::Commodity, Layout::Buckets(4)] {
        let place = Place::new(layout).await;
        let first = place.take(COFFEE).await;
        assert_eq!((counts(&first), first.version), ([2, 0, 0, 0], Some(1)));
        let second = place.take(COFFEE).await;
        assert_eq!((counts(&second), second.version), ([0, 0, 2, 0], None));
        assert_eq!(place.version().await, 1);
        assert_eq!(
            place.column("close").await,
            ["Coffee ALL 2024-01-02 150.0", "Coffee ALL 2024-01-03 151.5"]
        );
    }
}

#[tokio::test]
async fn an_upsert_merges_by_key_and_leaves_absent_columns_alone() {
    for layout in [Layout::Commodity, Layout::Buckets(1)] {
        let place = Place::new(layout).await;
        place.take(COFFEE).await;
        place
            .take("date,commodity,close\n2024-01-02,Sugar,20\n")
            .await;
        let report = place
            .take("date,commodity,close\n2024-01-01,Coffee,149\n2024-01-03,Coffee,152\n2024-01-04,Coffee,153\n")
            .await;
        assert_eq!(counts(&report), [2, 1, 0, 0]);
        let key = |date: &str| ChangedKey {
            commodity: "Coffee".into(),
            region: "ALL".into(),
            date: date.into(),
        };
        assert_eq!(report.changed_keys, [key("2024-01-03")]);
        assert_eq!(
            place.column("close").await,
            [
                "Coffee ALL 2024-01-01 149.0",
                "Coffee ALL 2024-01-02 150.0",
                "Coffee ALL 2024-01-03 152.0",
                "Coffee ALL 2024-01-04 153.0",
                "Sugar ALL 2024-01-02 20.0",
            ]
        );
        assert_eq!(
            place.column("vix").await,
            [
                "Coffee ALL 2024-01-01 -",
                "Coffee ALL 2024-01-02 13.0",
                "Coffee ALL 2024-01-03 14.0",
                "Coffee ALL 2024-01-04 -",
                "Sugar ALL 2024-01-02 -",
            ]
        );
    }
}

#[tokio::test]
async fn covariates_alone_erase_no_close_and_a_missing_value_takes_one_back() {
    let place = Place::new(Layout::Commodity).await;
    place.take(COFFEE).await;
    let report = place
        .take("date,commodity,vix\n2024-01-02,Coffee,20\n2024-01-03,Coffee,\n")
        .await;
    assert_eq!(counts(&report), [0, 2, 0, 0]);
    assert_eq!(
        place.column("vix").await,
        ["Coffee ALL 2024-01-02 20.0", "Coffee ALL 2024-01-03 -"]
    );
    assert_eq!(
        place.column("close").await,
        ["Coffee ALL 2024-01-02 150.0", "Coffee ALL 2024-01-03 151.5"]
    );
    place
        .take("date,commodity,close\n2024-01-02,Coffee,NA\n")
        .await;
    assert_eq!(
        place.column("close").await,
        ["Coffee ALL 2024-01-02 -", "Coffee ALL 2024-01-03 151.5"]
    );
}

#[tokio::test]
async fn only_files_of_the_same_days_are_rewritten() {
    let place = Place::new(Layout::Commodity).await;
    place
        .take("date,commodity,close\n2023-01-02,Coffee,1\n2023-01-03,Coffee,2\n")
        .await;
    place
        .take("date,commodity,close\n2024-01-02,Coffee,3\n")
        .await;
    let before = place.lake.table(TableName::UnifiedData).await.unwrap();
    place
        .take("date,commodity,close\n2024-01-02,Coffee,4\n")
        .await;
    let after = place.lake.table(TableName::UnifiedData).await.unwrap();
    assert_eq!(after.files().len(), 2);
    assert_eq!(
        after
            .files()
            .iter()
            .filter(|file| before.files().contains(file))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_new_covariate_arrives_with_its_rows_and_keeps_the_protocol() {
    let place = Place::new(Layout::Buckets(2)).await;
    place.take(COFFEE).await;
    let report = place
        .take("date,commodity,close,eur_usd,note\n2024-01-03,Coffee,151.5,1.1,\n")
        .await;
    assert_eq!(
        (counts(&report), report.new_columns),
        ([0, 1, 0, 0], vec!["eur_usd".to_owned()])
    );
    assert_eq!(place.version().await, 2);
    assert_eq!(
        place.column("eur_usd").await,
        ["Coffee ALL 2024-01-02 -", "Coffee ALL 2024-01-03 1.1"]
    );
    // Opening checks the protocol; the log shows that none was written after version 0.
    let log = place.path("lake/silver/unified_data/_delta_log/00000000000000000002.json");
    assert!(
        !std::fs::read_to_string(log)
            .unwrap()
            .contains("\"protocol\"")
    );
    let again = place
        .take("date,commodity,close,eur_usd\n2024-01-04,Coffee,152,1.2\n")
        .await;
    assert!(again.new_columns.is_empty());
}

#[tokio::test]
async fn rejected_rows_stop_a_strict_ingest_and_are_listed() {
    let place = Place::new(Layout::Commodity).await;
    let text = "date,commodity,close,vix\n\
        2024-01-02,Coffee,150,13\n\
        2024-13-01,Coffee,150,13\n\
        2024-01-03,,150,13\n\
        2024-01-04,Coffee,abc,13\n\
        2024-01-05,Coffee,inf,13\n\
        1899-12-31,Coffee,1,13\n\
        2999-01-01,Coffee,1,13\n\
        2024-01-02,Coffee,\"1,5\",13\n\
        2024-01-02, Coffee ,151,13\n\
        2024-01-08,Coffee,1\n";
    let mut request = place.csv(text);
    let error = place.refuse(&request).await;
    let IngestError::Rejected {
        count: 9,
        total: 10,
        first_reason,
        file: Some(file),
    } = &error
    else {
        panic!("{error:?}");
    };
    assert!(
        first_reason.contains("row 2 of") && first_reason.contains("`date` is `2024-13-01`"),
        "{first_reason}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("load the other 1 rows with --allow-rejects")
    );
    let list = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "file,row,reason,date,commodity,close,vix");
    assert_eq!(lines.len(), 10);
    assert!(
        lines[1].ends_with(",2024-13-01,Coffee,150,13"),
        "{}",
        lines[1]
    );
    assert!(lines[7].contains("\"1,5\""), "{}", lines[7]);
    assert!(
        lines[8].contains("row 1 of") && lines[8].contains("same date"),
        "{}",
        lines[8]
    );
    assert!(
        lines[9].contains("3 fields, the header has 4"),
        "{}",
        lines[9]
    );

    request.allow_rejects = true;
    let report = ingest(&place.lake, &request).await.unwrap();
    assert_eq!((report.rows_read, counts(&report)), (10, [1, 0, 0, 9]));
    assert_eq!(report.rejects_file.as_ref(), Some(file));
    assert_eq!(place.column("close").await, ["Coffee ALL 2024-01-02 150.0"]);
}

#[tokio::test]
async fn rejects_never_replace_an_input() {
    let place = Place::new(Layout::Commodity).await;
    let mut request = place.csv("date,commodity,close\n2024-01-02,Coffee,x\n2024-01-03,Coffee,1\n");
    request.rejects = Some(request.files[0].clone());
    assert!(matches!(
        place.refuse(&request).await,
        IngestError::RejectsFile { .. }
    ));
    assert!(
        std::fs::read_to_string(&request.files[0])
            .unwrap()
            .starts_with("date,commodity")
    );
}

#[tokio::test]
async fn duplicates_are_found_across_files() {
    let place = Place::new(Layout::Commodity).await;
    std::fs::write(
        place.path("more.csv"),
        "date,commodity,close\n2024-01-03,Coffee,1\n2024-01-05,Coffee,2\n",
    )
    .unwrap();
    let mut request = place.csv(COFFEE);
    request.files.push(place.path("more.csv"));
    let error = place.refuse(&request).await;
    assert!(
        error.to_string().contains("row 1 of `") && error.to_string().contains("row 2 of `"),
        "{error}"
    );
    request.allow_rejects = true;
    let report = ingest(&place.lake, &request).await.unwrap();
    assert_eq!(counts(&report), [3, 0, 0, 1]);
    assert_eq!(
        place.column("close").await[1],
        "Coffee ALL 2024-01-03 151.5"
    );
}

#[tokio::test]
async fn files_may_differ_in_their_columns() {
    let place = Place::new(Layout::Commodity).await;
    place.take(COFFEE).await;
    std::fs::write(
        place.path("more.csv"),
        "date,commodity,vix\n2024-01-03,Coffee,30\n",
    )
    .unwrap();
    let mut request = place.csv("date,commodity,close\n2024-01-02,Coffee,140\n");
    request.files.push(place.path("more.csv"));
    let report = ingest(&place.lake, &request).await.unwrap();
    assert_eq!(counts(&report), [0, 2, 0, 0]);
    assert_eq!(
        place.column("close").await,
        ["Coffee ALL 2024-01-02 140.0", "Coffee ALL 2024-01-03 151.5"]
    );
    assert_eq!(
        place.column("vix").await,
        ["Coffee ALL 2024-01-02 13.0", "Coffee ALL 2024-01-03 30.0"]
    );
}

#[tokio::test]
async fn csv_comes_in_many_dialects() {
    let place = Place::new(Layout::Commodity).await;
    let text = "\u{feff}Date;symbol;Price;is_trading_day;is_roll;unit\r\n\
        2024/01/02; Coffee ;150;1;true;cents/lb\r\n\
        2024-01-06T00:00:00;Coffee;150;0;;\r\n\
        2024-01-08 00:00:00;Coffee;NaN;1;0;NA\r\n";
    let mut request = place.csv(text);
    request.map = vec![
        ("close".into(), "price".into()),
        ("commodity".into(), "symbol".into()),
    ];
    request.region = Some("Brazil".into());
    let report = ingest(&place.lake, &request).await.unwrap();
    assert_eq!(
        (counts(&report), report.new_columns.len()),
        ([3, 0, 0, 0], 0)
    );
    let closes = [
        "Coffee Brazil 2024-01-02 150.0",
        "Coffee Brazil 2024-01-06 -",
        "Coffee Brazil 2024-01-08 -",
    ];
    assert_eq!(place.column("close").await, closes);
    assert_eq!(
        place.column("unit").await[0],
        "Coffee Brazil 2024-01-02 cents/lb"
    );
    let rolls = ["true", "-", "false"].map(str::to_owned);
    let found: Vec<String> = place
        .column("is_roll")
        .await
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(found, rolls);
    assert_eq!(
        counts(&ingest(&place.lake, &request).await.unwrap()),
        [0, 0, 3, 0]
    );
}

#[tokio::test]
async fn files_unfit_as_a_whole_say_why() {
    let place = Place::new(Layout::Commodity).await;
    let kinds: [(&[u8], &str); 8] = [
        (b"", "has no rows"),
        (b"date,commodity,close\n", "has no rows"),
        (b"2024-01-02,Coffee,150\n", "no header"),
        (
            b"date,commodity,price\n2024-01-02,Coffee,150\n",
            "no column `close`",
        ),
        (
            b"day,commodity,close\n2024-01-02,Coffee,150\n",
            "no column `date`",
        ),
        (
            b"date,close,grade\n2024-01-02,150,A\n",
            "no column `commodity`",
        ),
        (
            b"date,commodity,close,grade\n2024-01-02,Coffee,150,A\n2024-01-03,Coffee,1,B\n",
            "text such as `A`",
        ),
        (b"d\0a\0t\0e\0", "zero bytes"),
    ];
    for (content, expected) in kinds {
        let error = place.refuse(&place.csv(content)).await;
        assert!(
            error.to_string().contains(expected),
            "{error}, expected {expected}"
        );
    }
    assert!(matches!(
        place.refuse(&place.request("nowhere.csv")).await,
        IngestError::Open { .. }
    ));
    assert!(matches!(
        place.refuse(&place.request(".")).await,
        IngestError::Open { .. }
    ));
    assert!(matches!(
        place.refuse(&IngestRequest::default()).await,
        IngestError::NoFiles
    ));
    let mut request = place.csv(COFFEE);
    request.map = vec![("close".into(), "clsoe".into())];
    assert!(
        place
            .refuse(&request)
            .await
            .hint()
            .unwrap()
            .contains("--map close=close")
    );
}

#[tokio::test]
async fn a_constant_commodity_serves_files_without_one() {
    let place = Place::new(Layout::Commodity).await;
    let mut request = place.csv("date,close\n2024-01-02,150\n");
    assert!(
        place
            .refuse(&request)
            .await
            .hint()
            .unwrap()
            .contains("--commodity")
    );
    request.commodity = Some(" Coffee ".into());
    ingest(&place.lake, &request).await.unwrap();
    assert_eq!(place.column("close").await, ["Coffee ALL 2024-01-02 150.0"]);
}

#[tokio::test]
async fn odd_names_are_kept() {
    for layout in [Layout::Commodity, Layout::Buckets(2)] {
        let place = Place::new(layout).await;
        let text = "date,commodity,region,close\n\
            2024-01-02,Kaffee/Ü %41=\"x\" #1,São Paulo,150\n2024-01-02,..,ALL,1\n2024-01-02,../x,ALL,2\n";
        assert_eq!(counts(&place.take(text).await), [3, 0, 0, 0]);
        assert_eq!(counts(&place.take(text).await), [0, 0, 3, 0]);
        assert_eq!(
            place.column("close").await[2],
            "Kaffee/Ü %41=\"x\" #1 São Paulo 2024-01-02 150.0"
        );
    }
}

#[tokio::test]
async fn parquet_types_are_taken_as_what_they_mean() {
    let place = Place::new(Layout::Commodity).await;
    let day = 19_724_i64 * 86_400_000_000;
    let midnights =
        TimestampMicrosecondArray::from(vec![Some(day), Some(2 * day - day), Some(day + 1), None]);
    let request = place.parquet(vec![
        ("date", Arc::new(midnights)),
        (
            "commodity",
            Arc::new(StringArray::from(vec![
                "Coffee", "Sugar", "Coffee", "Coffee",
            ])),
        ),
        (
            "close",
            Arc::new(Int32Array::from(vec![Some(150), None, Some(1), Some(1)])),
        ),
        (
            "holiday",
            Arc::new(BooleanArray::from(vec![true, false, true, true])),
        ),
    ]);
    let lenient = IngestRequest {
        allow_rejects: true,
        ..request
    };
    let report = ingest(&place.lake, &lenient).await.unwrap();
    assert_eq!(
        (counts(&report), &report.new_columns[..]),
        ([2, 0, 0, 2], &["holiday".to_owned()][..])
    );
    assert_eq!(
        place.column("close").await,
        ["Coffee ALL 2024-01-02 150.0", "Sugar ALL 2024-01-02 -"]
    );
    assert_eq!(
        place.column("holiday").await[0],
        "Coffee ALL 2024-01-02 1.0"
    );
    let list = std::fs::read_to_string(report.rejects_file.unwrap()).unwrap();
    assert!(
        list.contains("not midnight") && list.contains("it has no date"),
        "{list}"
    );

    let dates: ArrayRef = Arc::new(Date32Array::from(vec![19_724]));
    let name: ArrayRef = Arc::new(StringArray::from(vec!["Coffee"]));
    let close: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let wrong = [
        vec![
            ("date", Arc::clone(&close)),
            ("commodity", Arc::clone(&name)),
            ("close", Arc::clone(&close)),
        ],
        vec![
            ("date", Arc::clone(&dates)),
            ("commodity", Arc::clone(&close)),
            ("close", Arc::clone(&close)),
        ],
        vec![
            ("date", Arc::clone(&dates)),
            ("commodity", Arc::clone(&name)),
            ("close", Arc::clone(&dates)),
        ],
    ];
    for columns in wrong {
        let error = place.refuse(&place.parquet(columns)).await;
        assert!(matches!(error, IngestError::WrongType { .. }), "{error:?}");
    }
    let grade = vec![
        ("date", dates),
        ("commodity", Arc::clone(&name)),
        ("close", close),
        ("grade", name),
    ];
    let error = place.refuse(&place.parquet(grade)).await;
    assert!(error.to_string().contains("`grade`"), "{error}");
}

#[tokio::test]
async fn a_truncated_parquet_file_changes_nothing() {
    let place = Place::new(Layout::Commodity).await;
    let days = Date32Array::from_iter_values(18_000..19_000);
    let closes = Float64Array::from_iter_values((0..1_000).map(|day| f64::from(day).sin() + 2.0));
    let mut request = place.parquet(vec![("date", Arc::new(days)), ("close", Arc::new(closes))]);
    request.commodity = Some("Coffee".into());
    let whole = std::fs::read(&request.files[0]).unwrap();
    for length in [5, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&request.files[0], &whole[..length]).unwrap();
        let error = place.refuse(&request).await;
        assert!(
            matches!(
                error,
                IngestError::Unreadable {
                    format: "Parquet",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    // A hole in the first pages leaves the footer readable.
    let mut holed = whole.clone();
    holed[4..100].fill(0xff);
    std::fs::write(&request.files[0], &holed).unwrap();
    let error = ingest(&place.lake, &request).await.unwrap_err();
    assert!(matches!(error, IngestError::Unreadable { .. }), "{error:?}");
    assert_eq!(place.version().await, 0);
    std::fs::write(&request.files[0], &whole).unwrap();
    assert_eq!(ingest(&place.lake, &request).await.unwrap().added, 1_000);
}

fn rows(days: std::ops::Range<i32>, commodity: &str, close: f64) -> RecordBatch {
    let count = days.len();
    RecordBatch::try_from_iter([
        (
            "date",
            Arc::new(Date32Array::from_iter_values(days)) as ArrayRef,
        ),
        (
            "commodity",
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                commodity, count,
            ))) as ArrayRef,
        ),
        (
            "close",
            Arc::new(Float64Array::from_iter_values(std::iter::repeat_n(
                close, count,
            ))) as ArrayRef,
        ),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_ingests_give_each_key_once() {
    for layout in [Layout::Commodity, Layout::Buckets(2)] {
        let place = Place::new(layout).await;
        let tasks: Vec<_> = (0..6)
            .map(|writer| {
                let lake = place.lake.clone();
                let first = 18_000 + 50 * writer;
                tokio::spawn(async move {
                    let (shared, own) = (
                        rows(first..first + 100, "Coffee", 1.0),
                        format!("own {writer}"),
                    );
                    let one = ingest_rows(&lake, shared, "run").await.unwrap();
                    let two = ingest_rows(&lake, rows(18_000..18_010, &own, 2.0), "run")
                        .await
                        .unwrap();
                    [one, two]
                })
            })
            .collect();
        let mut added = 0;
        for task in tasks {
            added += task
                .await
                .unwrap()
                .iter()
                .map(|report| report.added)
                .sum::<u64>();
        }
        let lines = place.column("close").await;
        let mut distinct = lines.clone();
        distinct.dedup();
        assert_eq!((lines.len(), distinct.len()), (350 + 60, 350 + 60));
        assert_eq!(added, 350 + 60);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_ingests_with_new_columns_keep_both() {
    let place = Place::new(Layout::Commodity).await;
    place.take(COFFEE).await;
    let request = |name: &str| {
        std::fs::write(
            place.path(name),
            format!("date,commodity,close,{name}\n2024-01-03,Coffee,151.5,7\n"),
        )
        .unwrap();
        place.request(name)
    };
    let (one, two) = (request("gold"), request("silver"));
    let (one, two) = tokio::join!(ingest(&place.lake, &one), ingest(&place.lake, &two));
    assert_eq!((one.unwrap().changed, two.unwrap().changed), (1, 1));
    for name in ["gold", "silver"] {
        assert_eq!(place.column(name).await[1], "Coffee ALL 2024-01-03 7.0");
    }
    assert_eq!(place.column("vix").await[1], "Coffee ALL 2024-01-03 14.0");
}

#[tokio::test]
async fn stored_files_are_sorted_and_hold_one_partition() {
    let place = Place::new(Layout::Buckets(3)).await;
    let mut text = "date,commodity,region,close\n".to_owned();
    for day in (1..=9).rev() {
        for commodity in ["b", "c", "a", "d"] {
            for region in ["y", "x"] {
                text.push_str(&format!("2024-01-0{day},{commodity},{region},{day}\n"));
            }
        }
    }
    place.take(&text).await;
    let snapshot = place.lake.table(TableName::UnifiedData).await.unwrap();
    let mut rows_found = 0;
    for file in snapshot.files() {
        let rows = read_files(&place.lake, snapshot.def(), std::slice::from_ref(file))
            .await
            .unwrap();
        let texts = |name: &str| rows.column_by_name(name).unwrap().as_string::<i32>();
        let days = rows
            .column_by_name("date")
            .unwrap()
            .as_primitive::<Date32Type>();
        let keys: Vec<_> = (0..rows.num_rows())
            .map(|row| {
                (
                    texts("commodity").value(row),
                    days.value(row),
                    texts("region").value(row),
                )
            })
            .collect();
        assert!(keys.is_sorted());
        for (commodity, _, _) in &keys {
            let bucket = almanac_delta::tables::series_bucket(commodity, 3).to_string();
            assert_eq!(file.partition_values, [Some(bucket)]);
        }
        rows_found += keys.len();
    }
    assert_eq!(rows_found, 72);
}

#[tokio::test]
async fn the_synthetic_market_is_taken_in_whole() {
    let place = Place::new(Layout::Commodity).await;
    let market = crate::market::Market {
        seed: 1,
        start: 19_000,
        end: 19_364,
    };
    let report = ingest_rows(&place.lake, market.rows().unwrap(), "run")
        .await
        .unwrap();
    assert_eq!(counts(&report), [365 * 5, 0, 0, 0]);
    let closes = place.table().await;
    let closes = closes
        .column_by_name("close")
        .unwrap()
        .as_primitive::<Float64Type>();
    assert!(closes.null_count() > 0 && closes.null_count() < closes.len() / 2);
}

/// 10,000 series of three years from one file, day by day, which is not the order of the table; then
/// the same again, and then with every close changed. Run by hand; prints time and peak memory.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn eleven_million_rows() {
    const SERIES: usize = 10_000;
    const DAYS: i32 = 1_095;
    let place = Place::new(Layout::Buckets(64)).await;
    let names: Vec<String> = (0..SERIES)
        .map(|series| format!("series {series:05}"))
        .collect();
    let write = |name: &str, offset: f64| {
        let mut writer: Option<ArrowWriter<File>> = None;
        for day in 18_000..18_000 + DAYS {
            let noise = |index: usize| (index as f64 * 0.731 + f64::from(day) * 1.37).sin();
            let column = |scale: f64| {
                let values = (0..SERIES).map(|index| offset + scale * noise(index));
                Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
            };
            let batch = RecordBatch::try_from_iter([
                (
                    "date",
                    Arc::new(Date32Array::from_value(day, SERIES)) as ArrayRef,
                ),
                (
                    "commodity",
                    Arc::new(StringArray::from_iter_values(&names)) as ArrayRef,
                ),
                ("close", column(1.0)),
                ("volume", column(3.0)),
                ("vix", column(5.0)),
                ("demand", column(7.0)),
            ])
            .unwrap();
            let writer = writer.get_or_insert_with(|| {
                ArrowWriter::try_new(
                    File::create(place.path(name)).unwrap(),
                    batch.schema(),
                    None,
                )
                .unwrap()
            });
            writer.write(&batch).unwrap();
        }
        writer.unwrap().close().unwrap();
    };
    write("first.parquet", 10.0);
    write("second.parquet", 11.0);
    let rows = 10_950_000;
    for (name, expected) in [
        ("first", [rows, 0, 0, 0]),
        ("first", [0, 0, rows, 0]),
        ("second", [0, rows, 0, 0]),
    ] {
        // Forgets the peak of what came before.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let start = std::time::Instant::now();
        let report = ingest(&place.lake, &place.request(&format!("{name}.parquet")))
            .await
            .unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        eprintln!("{:?} {peak} {:?}", start.elapsed(), counts(&report));
        assert_eq!(counts(&report), expected);
    }
}
