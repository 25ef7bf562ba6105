use std::collections::VecDeque;
use std::sync::Mutex;

use almanac_delta::manifest::UnitFailure;
use almanac_delta::{LakeSettings, NewFile, StoreLocation, TableName};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlanBuilder;
use object_store::ObjectStoreExt;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const FILE: &str = "forecast/trained_models/a.parquet";

/// What the engine does in one round: which manifests its slices leave, and how it ends.
struct Round {
    leaves: Vec<Manifest>,
    fails: bool,
}

/// Stands for an engine whose tasks get lost. Lake, store and manifests are real.
struct Lossy {
    lake: Lake,
    script: Mutex<VecDeque<Round>>,
    /// The slices that each round was given.
    asked: Mutex<Vec<Vec<i32>>>,
}

#[async_trait]
impl Engine for Lossy {
    fn name(&self) -> String {
        "lossy".to_owned()
    }

    async fn run(
        &self,
        _plan: LogicalPlan,
        slices: usize,
        _progress: &dyn Progress,
    ) -> Result<(), EngineError> {
        let asked = self.asked.lock().unwrap().last().unwrap().len();
        assert_eq!(slices, asked);
        let round = self.script.lock().unwrap().pop_front();
        let Some(round) = round else { return Ok(()) };
        for manifest in round.leaves {
            let store = self.lake.store();
            manifest.put(store.as_ref(), &Path::default()).await?;
        }
        if round.fails {
            return Err(EngineError::Task("a worker was lost".to_owned()));
        }
        Ok(())
    }

    async fn query(&self, _plan: LogicalPlan) -> Result<Vec<RecordBatch>, EngineError> {
        unreachable!("rounds ask nothing")
    }

    fn query_state(&self) -> Result<SessionState, EngineError> {
        unreachable!("rounds ask nothing")
    }

    fn bytes_queried(&self) -> u64 {
        0
    }
}

#[derive(Default)]
struct Count(Mutex<usize>);

impl Progress for Count {
    fn slice_done(&self) {
        *self.0.lock().unwrap() += 1;
    }

    fn waiting(&self, reason: &str) {
        panic!("{reason}");
    }
}

struct Place {
    _folder: tempfile::TempDir,
    engine: Lossy,
    progress: Count,
}

impl Place {
    async fn new(rounds: Vec<Round>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::new(folder.path().to_str().unwrap());
        let lake = Lake::create(&location, LakeSettings::default())
            .await
            .unwrap();
        lake.store()
            .put(&Path::from(FILE), "xyz".into())
            .await
            .unwrap();
        Self {
            _folder: folder,
            engine: Lossy {
                lake,
                script: Mutex::new(rounds.into()),
                asked: Mutex::default(),
            },
            progress: Count::default(),
        }
    }

    async fn left_behind(&self, manifest: &Manifest) {
        let store = self.engine.lake.store();
        manifest
            .put(store.as_ref(), &Path::default())
            .await
            .unwrap();
    }

    async fn run(&self, slices: &[Slice]) -> Result<Vec<Manifest>, EngineError> {
        let plan = |slices: &[&Slice]| {
            let ids = slices.iter().map(|slice| slice.id).collect();
            self.engine.asked.lock().unwrap().push(ids);
            Ok(LogicalPlanBuilder::empty(false).build()?)
        };
        let lake = &self.engine.lake;
        run_to_coverage(&self.engine, lake, slices, HOUR, &self.progress, plan).await
    }

    fn asked(&self) -> Vec<Vec<i32>> {
        self.engine.asked.lock().unwrap().clone()
    }
}

fn unit(slice: i32, date: i32) -> UnitKey {
    UnitKey {
        commodity: format!("commodity {slice}"),
        model_name: "naive".to_owned(),
        model_version: "v1".to_owned(),
        date,
    }
}

/// A slice of two units.
fn slice(id: i32) -> Slice {
    Slice {
        id,
        name: format!("slice-{id}"),
        units: BTreeSet::from([unit(id, 1), unit(id, 2)]),
        rows_per_unit: Some(20),
        input: Some(SliceInput {
            rows: 10,
            newest: Some(5),
        }),
    }
}

/// The manifest that slice `id` leaves when all goes well.
fn whole(id: i32, attempt: &str) -> Manifest {
    let mut manifest = Manifest::new(&slice(id).name, attempt, now_ms());
    manifest.keys = vec![(unit(id, 1), 20)];
    manifest.failures = vec![UnitFailure {
        key: unit(id, 2),
        error_class: "stale".to_owned(),
        message: String::new(),
    }];
    manifest.input = slice(id).input;
    manifest.files.insert(
        TableName::TrainedModels,
        vec![NewFile {
            path: FILE.to_owned(),
            size: 3,
            partition_values: vec![],
            modified_ms: 0,
            stats: "{}".to_owned(),
        }],
    );
    manifest
}

fn round(ids: &[i32], fails: bool) -> Round {
    Round {
        leaves: ids.iter().map(|id| whole(*id, "run")).collect(),
        fails,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_without_a_manifest_go_out_again_and_no_others() {
    let rounds = vec![round(&[2], true), round(&[], false), round(&[1, 3], true)];
    let place = Place::new(rounds).await;
    let found = place.run(&[slice(1), slice(2), slice(3)]).await.unwrap();
    let names: Vec<&str> = found
        .iter()
        .map(|manifest| manifest.slice.as_str())
        .collect();
    assert_eq!(names, ["slice-1", "slice-2", "slice-3"]);
    assert_eq!(place.asked(), [vec![1, 2, 3], vec![1, 3], vec![1, 3]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_loses_all_its_tasks_is_not_the_last() {
    let place = Place::new(vec![
        round(&[], true),
        round(&[1], true),
        round(&[], true),
        round(&[2], false),
    ])
    .await;
    place.run(&[slice(1), slice(2)]).await.unwrap();
    assert_eq!(place.asked().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_in_every_round_ends_with_its_error() {
    let place = Place::new((0..ROUNDS + 1).map(|_| round(&[], true)).collect()).await;
    let error = place.run(&[slice(1)]).await.unwrap_err();
    assert!(matches!(error, EngineError::Task(_)), "{error:?}");
    assert_eq!(place.asked().len(), ROUNDS);
}

#[test]
fn what_would_fail_again_is_final() {
    let lost = EngineError::Task("a worker was lost".to_owned());
    let away = DataFusionError::IoError(std::io::ErrorKind::ConnectionReset.into());
    assert!(!lost.is_final() && !EngineError::Query(away).is_final());
    let wrong = DataFusionError::Execution("two observations on one day".to_owned());
    let wrong = wrong.context("in a slice");
    assert!(EngineError::Query(wrong).is_final());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_end_when_slices_stay_away() {
    let place = Place::new(vec![round(&[1], false)]).await;
    let error = place.run(&[slice(1), slice(2)]).await.unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::Incomplete {
                missing: 1,
                wanted: 2,
                rounds: ROUNDS
            }
        ),
        "{error:?}"
    );
    assert_eq!(place.asked().len(), ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_must_cover_its_slice_exactly() {
    let mut too_few = whole(1, "run");
    too_few.failures.clear();
    let mut too_many = whole(1, "run");
    too_many.keys.push((unit(1, 3), 20));
    let mut foreign = whole(1, "run");
    foreign.keys[0].0 = unit(2, 1);
    for (manifest, first) in [
        (too_few, unit(1, 2)),
        (too_many, unit(1, 3)),
        (foreign, unit(1, 1)),
    ] {
        let round = Round {
            leaves: vec![manifest],
            fails: false,
        };
        let place = Place::new(vec![round]).await;
        match place.run(&[slice(1)]).await.unwrap_err() {
            EngineError::Coverage { first: found, .. } => assert_eq!(found, first),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_with_other_rows_than_it_must_have_is_refused_and_not_found_again() {
    for rows in [0, 19, 21, 40] {
        let mut torn = whole(1, "torn");
        torn.keys[0].1 = rows;
        let leaves = vec![torn.clone()];
        let fails = false;
        let own = Place::new(vec![Round { leaves, fails }, round(&[1], false)]).await;
        match own.run(&[slice(1)]).await.unwrap_err() {
            EngineError::Rows {
                unit: found_unit,
                found,
                wanted,
                ..
            } => assert_eq!((found_unit, found, wanted), (unit(1, 1), rows, 20)),
            other => panic!("{other:?}"),
        }
        // An earlier run's is not believed: the slice runs again at once.
        let earlier = Place::new(vec![round(&[1], false)]).await;
        earlier.left_behind(&torn).await;
        for place in [own, earlier] {
            let found = place.run(&[slice(1)]).await.unwrap();
            assert_eq!(found[0].attempt, "run", "{rows} rows");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_must_have_read_what_the_snapshot_holds() {
    let wanted = slice(1).input.unwrap();
    let doubled = SliceInput { rows: 20, ..wanted };
    let older = SliceInput {
        newest: Some(4),
        ..wanted
    };
    for input in [None, Some(doubled), Some(older)] {
        let mut manifest = whole(1, "run");
        manifest.input = input;
        let round = Round {
            leaves: vec![manifest],
            fails: false,
        };
        let place = Place::new(vec![round]).await;
        match place.run(&[slice(1)]).await.unwrap_err() {
            EngineError::Input { found, wanted, .. } => {
                assert_eq!(found, format!("{input:?}"));
                assert!(wanted.contains("rows: 10"), "{wanted}");
            }
            other => panic!("{other:?}"),
        }
    }
    // What the log does not know cannot be checked.
    let place = Place::new(vec![round(&[1], false)]).await;
    let unknown = Slice {
        input: None,
        ..slice(1)
    };
    place.run(&[unknown]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_manifest_with_its_files_is_not_run_again() {
    let place = Place::new(vec![round(&[2], false)]).await;
    place.left_behind(&whole(1, "killed run")).await;
    let found = place.run(&[slice(1), slice(2)]).await.unwrap();
    assert_eq!(place.asked(), [vec![2]]);
    assert_eq!(found[0].attempt, "killed run");

    let place = Place::new(vec![]).await;
    place.left_behind(&whole(1, "killed run")).await;
    place.run(&[slice(1)]).await.unwrap();
    assert_eq!(place.asked(), Vec::<Vec<i32>>::new());
    assert_eq!(*place.progress.0.lock().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_manifest_or_one_without_its_files_is_run_again() {
    let mut old = whole(1, "killed run");
    old.created_ms -= i64::try_from(HOUR.as_millis()).unwrap() + 1;
    let mut from_the_future = whole(1, "killed run");
    from_the_future.created_ms += 60_000;
    let mut swept = whole(1, "killed run");
    let files = swept.files.get_mut(&TableName::TrainedModels).unwrap();
    files[0].path = "forecast/trained_models/gone.parquet".to_owned();
    let mut cut = whole(1, "killed run");
    cut.files.get_mut(&TableName::TrainedModels).unwrap()[0].size = 4;
    for manifest in [old, from_the_future, swept, cut] {
        let place = Place::new(vec![round(&[1], false)]).await;
        place.left_behind(&manifest).await;
        let found = place.run(&[slice(1)]).await.unwrap();
        assert_eq!(place.asked(), [vec![1]], "{manifest:?}");
        assert_eq!(found[0].attempt, "run");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_left_behind_that_cannot_be_read_is_run_again() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 3] = [
        |_| vec![],
        |body| body[..body.len() / 2].to_vec(),
        |body| body.iter().map(|byte| byte ^ 0x80).collect(),
    ];
    for damage in damages {
        let place = Place::new(vec![round(&[1], false)]).await;
        place.left_behind(&whole(1, "killed run")).await;
        let path = Path::from("_almanac/manifests/slice-1.json");
        let store = place.engine.lake.store();
        let body = store.get(&path).await.unwrap().bytes().await.unwrap();
        store.put(&path, damage(&body).into()).await.unwrap();
        let found = place.run(&[slice(1)]).await.unwrap();
        assert_eq!(place.asked(), [vec![1]]);
        assert_eq!(found[0].attempt, "run");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_left_behind_that_is_not_exact_is_run_again() {
    let mut too_few = whole(1, "killed run");
    too_few.failures.clear();
    let mut misread = whole(1, "killed run");
    misread.input = None;
    for manifest in [too_few, misread] {
        let place = Place::new(vec![round(&[1], false)]).await;
        place.left_behind(&manifest).await;
        let found = place.run(&[slice(1)]).await.unwrap();
        assert_eq!(place.asked(), [vec![1]], "{manifest:?}");
        assert_eq!(found[0].attempt, "run");
    }
}
