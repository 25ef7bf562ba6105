//! Drivers are real processes here: a script that does what its `--commodity` says.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// Told by its arguments how to end; leaves `pid` in its folder, which is a job's.
const SCRIPT: &str = r#"#!/usr/bin/env -S --default-signal=INT sh
for argument in "$@"; do
    case "$argument" in --commodity=*) how="${argument#--commodity=}" ;; esac
    echo "$argument" >> arguments
done
echo "$$" > pid.new && mv pid.new pid
case "$how" in
succeeds) echo "at work" >&2; echo '{"trained": 2, "forecasts": 7, "run_id": "a"}' ;;
partly) echo '{"forecasts": 6, "forecast_failed": 1}'; exit 3 ;;
refused) echo "error: there is no lake" >&2; echo "hint: make one" >&2; exit 1 ;;
dies) echo "dying" >&2; kill -9 $$ ;;
dies-once) if [ -e been ]; then echo '{}'; else touch been; kill -9 $$; fi ;;
waits) while [ ! -e ../open ]; do sleep 0.01; done; echo '{}' ;;
stubborn) trap '' INT; while :; do sleep 0.01; done ;;
ends-well) trap 'echo "{}"; exit 0' INT; touch ready; while :; do sleep 0.01; done ;;
esac
"#;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("driver");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn settings(&self, at_once: usize) -> DriverSettings {
        DriverSettings {
            work_dir: self.folder.path().to_owned(),
            binary: self.folder.path().join("driver"),
            at_once,
            patience: Patience {
                grace: Duration::from_millis(500),
                backoff: Duration::from_millis(10),
            },
        }
    }

    async fn open(&self, at_once: usize) -> Arc<Drivers> {
        let drivers = Drivers::open(self.settings(at_once)).await.unwrap();
        drivers.begin(vec!["--cluster".into(), "df://here:1".into()]);
        drivers
    }

    fn job(&self, id: &JobId, file: &str) -> PathBuf {
        self.folder
            .path()
            .join("jobs")
            .join(id.to_string())
            .join(file)
    }

    /// Lets the drivers that wait end.
    fn release(&self) {
        fs::write(self.folder.path().join("jobs").join("open"), "").unwrap();
    }
}

fn submission(how: &str) -> Submission {
    let arguments = [
        "daily",
        &format!("--commodity={how}"),
        "--models=naive",
        "--date=2024-02-29",
    ];
    Submission {
        arguments: arguments.map(str::to_owned).to_vec(),
        lake: "/lake".to_owned(),
        slices: Some(3),
        models: BTreeMap::new(),
    }
}

async fn until(drivers: &Drivers, id: &JobId, wanted: impl Fn(&Job) -> bool) -> Job {
    let entry = drivers.entry(&id.to_string()).unwrap();
    let mut watching = entry.record.subscribe();
    let job = timeout(
        Duration::from_secs(60),
        watching.wait_for(|job| wanted(job)),
    )
    .await;
    job.expect("it comes to that").unwrap().clone()
}

async fn ended(drivers: &Drivers, id: &JobId) -> Job {
    until(drivers, id, |job| job.state.is_final()).await
}

async fn there(path: &Path) {
    let found = async {
        while !path.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), found)
        .await
        .expect("the file comes");
}

#[tokio::test]
async fn a_driver_that_leaves_by_itself_decides_how_its_job_ended() {
    let place = Place::new();
    let drivers = place.open(2).await;
    for (how, state, code, reason) in [
        ("succeeds", State::Succeeded, 0, None),
        ("partly", State::Partly, 3, None),
        ("refused", State::Failed, 1, Some("there is no lake")),
    ] {
        let job = drivers.submit(&submission(how)).unwrap();
        let job = ended(&drivers, &job.id).await;
        assert_eq!((job.state, job.exit_code), (state, Some(code)), "{how}");
        assert_eq!(job.reason.as_deref(), reason);
        assert_eq!((job.attempts, job.deaths, job.process), (1, 0, None));
        assert!(job.started_at.is_some() && job.finished_at.is_some());
        assert_eq!(Job::read(place.job(&job.id, ".").as_path()).unwrap(), job);
    }
    let jobs = drivers.list();
    let counts: Vec<Option<&u64>> = jobs.iter().map(|job| job.counts.get("forecasts")).collect();
    assert_eq!(counts, [None, Some(&6), Some(&7)], "the newest first");

    let succeeded = &jobs[2];
    let id = succeeded.id.to_string();
    assert_eq!(drivers.log(&id, 0).unwrap().text, "at work\n");
    assert_eq!(drivers.log(&id, 3).unwrap().text, "work\n");
    assert_eq!(drivers.log(&id, 8).unwrap().text, "");
    assert_eq!(drivers.result(&id).unwrap().unwrap()["trained"], 2);
    let told = fs::read_to_string(place.job(&succeeded.id, "arguments")).unwrap();
    let told: Vec<&str> = told.lines().collect();
    let config = place.job(&succeeded.id, SETTINGS);
    let run_id = succeeded.run_id.as_deref().unwrap();
    assert_eq!(
        told,
        [
            "--cluster",
            "df://here:1",
            "--json",
            "--verbose",
            "--run-id",
            run_id,
            "--lake",
            "/lake",
            "--config",
            config.to_str().unwrap(),
            "--slices",
            "3",
            "daily",
            "--commodity=succeeds",
            "--models=naive",
            "--date=2024-02-29",
        ]
    );
}

#[tokio::test]
async fn a_driver_that_dies_is_started_again_and_given_up_after_the_third() {
    let place = Place::new();
    let drivers = place.open(2).await;
    let once = drivers.submit(&submission("dies-once")).unwrap();
    let always = drivers.submit(&submission("dies")).unwrap();
    let once = ended(&drivers, &once.id).await;
    assert_eq!(
        (once.state, once.attempts, once.deaths),
        (State::Succeeded, 2, 1)
    );
    let always = ended(&drivers, &always.id).await;
    assert_eq!(
        (always.state, always.attempts, always.deaths),
        (State::Failed, 3, 3)
    );
    assert_eq!(always.exit_code, None);
    let reason = always.reason.unwrap();
    assert!(
        reason.contains("3 of its drivers died") && reason.contains("signal 9"),
        "{reason}"
    );
    let log = drivers.log(&always.id.to_string(), 0).unwrap().text;
    assert_eq!(log.matches("dying").count(), 3, "{log}");
    assert!(
        log.contains(&format!("driver 3 of job {}", always.id)),
        "{log}"
    );
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_its_job() {
    let place = Place::new();
    let drivers = place.open(1).await;
    fs::remove_file(place.folder.path().join("driver")).unwrap();
    let job = drivers.submit(&submission("succeeds")).unwrap();
    let job = ended(&drivers, &job.id).await;
    assert_eq!((job.state, job.deaths), (State::Failed, 3));
    assert!(job.reason.unwrap().contains("could not be started"));
}

#[tokio::test]
async fn no_more_run_at_the_same_time_than_may_and_the_first_submitted_is_the_first() {
    let place = Place::new();
    let drivers = place.open(2).await;
    let ids: Vec<JobId> = (0..4)
        .map(|_| drivers.submit(&submission("waits")).unwrap().id)
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    for id in &ids[..2] {
        there(&place.job(id, "pid")).await;
    }
    let states = |drivers: &Drivers| {
        drivers
            .list()
            .iter()
            .rev()
            .map(|job| job.state)
            .collect::<Vec<_>>()
    };
    use State::{Cancelled, Queued, Running, Succeeded};
    assert_eq!(states(&drivers), [Running, Running, Queued, Queued]);
    // One that waits never begins.
    let cancelled = drivers.cancel(&ids[2].to_string()).unwrap();
    assert_eq!((cancelled.state, cancelled.attempts), (Cancelled, 0));
    assert!(!place.job(&ids[2], "pid").exists());
    place.release();
    for id in &ids {
        ended(&drivers, id).await;
    }
    assert_eq!(
        states(&drivers),
        [Succeeded, Succeeded, Cancelled, Succeeded]
    );
    assert_eq!(
        drivers.cancel(&ids[0].to_string()).unwrap().state,
        Succeeded
    );
}

#[tokio::test]
async fn a_cancelled_driver_is_asked_to_end_and_killed_when_it_does_not() {
    let place = Place::new();
    let drivers = place.open(3).await;
    for (how, state, code) in [
        ("waits", State::Cancelled, None),
        ("stubborn", State::Cancelled, None),
        // It had just done its work.
        ("ends-well", State::Succeeded, Some(0)),
    ] {
        let id = drivers.submit(&submission(how)).unwrap().id;
        let sign = if how == "ends-well" { "ready" } else { "pid" };
        there(&place.job(&id, sign)).await;
        let process = until(&drivers, &id, |job| job.process.is_some())
            .await
            .process
            .unwrap();
        assert!(drivers.cancel(&id.to_string()).unwrap().cancel_requested);
        let job = ended(&drivers, &id).await;
        assert_eq!((job.state, job.exit_code), (state, code), "{how}");
        assert!(!process.is_running().unwrap(), "{how}");
    }
}

#[tokio::test]
async fn a_scheduler_that_ends_ends_its_drivers_and_the_next_one_goes_on() {
    let place = Place::new();
    let drivers = place.open(1).await;
    let ids: Vec<JobId> = (0..2)
        .map(|_| drivers.submit(&submission("waits")).unwrap().id)
        .collect();
    there(&place.job(&ids[0], "pid")).await;
    let process = until(&drivers, &ids[0], |job| job.process.is_some())
        .await
        .process
        .unwrap();
    drivers.stop().await;
    assert!(!process.is_running().unwrap());
    assert!(matches!(
        drivers.submit(&submission("waits")),
        Err(DriversError::Stopping)
    ));
    drop(drivers);

    let first = Job::read(place.job(&ids[0], ".").as_path()).unwrap();
    assert_eq!(
        (first.state, first.attempts, first.deaths),
        (State::Queued, 1, 0)
    );
    place.release();
    let drivers = place.open(1).await;
    let first = ended(&drivers, &ids[0]).await;
    assert_eq!((first.state, first.attempts), (State::Succeeded, 2));
    let second = ended(&drivers, &ids[1]).await;
    assert_eq!((second.state, second.attempts), (State::Succeeded, 1));
}

/// What a killed scheduler leaves: a record that says running, and its driver, or none.
fn left_behind(place: &Place, id: &JobId, alive: bool) -> Option<std::process::Child> {
    use std::os::unix::process::CommandExt;
    let folder = place.job(id, ".");
    let mut job = Job::read(&folder).unwrap();
    job.state = State::Running;
    job.attempts = 1;
    job.write(&folder).unwrap();
    // The folder as drivers are told it.
    let folder = place.folder.path().join("jobs").join(id.to_string());
    alive.then(|| {
        let left = std::process::Command::new("sleep")
            .arg("600")
            .env(MARK, &folder)
            .process_group(0)
            .spawn()
            .unwrap();
        while marked(MARK, &folder).unwrap().is_empty() {}
        left
    })
}

#[tokio::test]
async fn drivers_that_a_killed_scheduler_left_are_killed_before_their_jobs_go_on() {
    let place = Place::new();
    let drivers = Drivers::open(place.settings(1)).await.unwrap();
    let [alive, dead, cancelled] =
        [(); 3].map(|()| drivers.submit(&submission("succeeds")).unwrap().id);
    drop(drivers);
    let mut left = left_behind(&place, &alive, true).unwrap();
    left_behind(&place, &dead, false);
    left_behind(&place, &cancelled, false);
    let folder = place.job(&cancelled, ".");
    let mut record = Job::read(&folder).unwrap();
    record.cancel_requested = true;
    record.write(&folder).unwrap();

    // It is this process's child, and so a zombie until it is waited for.
    let waited = tokio::task::spawn_blocking(move || left.wait().unwrap());
    let drivers = place.open(1).await;
    assert_eq!(waited.await.unwrap().signal(), Some(9));
    let alive = ended(&drivers, &alive).await;
    assert_eq!(
        (alive.state, alive.attempts, alive.deaths),
        (State::Succeeded, 2, 0)
    );
    let dead = ended(&drivers, &dead).await;
    assert_eq!(
        (dead.state, dead.attempts, dead.deaths),
        (State::Succeeded, 2, 1)
    );
    let cancelled = ended(&drivers, &cancelled).await;
    assert_eq!((cancelled.state, cancelled.attempts), (State::Cancelled, 1));
}

#[tokio::test]
async fn two_schedulers_do_not_work_in_one_folder() {
    let place = Place::new();
    let first = Drivers::open(place.settings(1)).await.unwrap();
    let refused = Drivers::open(place.settings(1))
        .await
        .err()
        .expect("it is taken");
    assert!(
        refused.to_string().contains("another scheduler"),
        "{refused}"
    );
    drop(first);
    Drivers::open(place.settings(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_a_submission_cut_short_is_no_job_and_odd_folders_are_left_alone() {
    let place = Place::new();
    let drivers = Drivers::open(place.settings(1)).await.unwrap();
    let [cut, odd] = [(); 2].map(|()| drivers.submit(&submission("succeeds")).unwrap().id);
    drop(drivers);
    fs::remove_file(place.job(&cut, "job.json")).unwrap();
    fs::write(place.job(&odd, "job.json"), "{").unwrap();
    fs::create_dir(place.folder.path().join("jobs").join("notes")).unwrap();
    let drivers = place.open(1).await;
    assert!(drivers.list().is_empty());
    assert!(!place.job(&cut, ".").exists() && place.job(&odd, ".").exists());
    assert!(place.folder.path().join("jobs").join("notes").exists());
}

#[tokio::test]
async fn jobs_that_ended_long_ago_are_forgotten() {
    let place = Place::new();
    let drivers = place.open(1).await;
    let [old, young] = [(); 2].map(|()| drivers.submit(&submission("succeeds")).unwrap().id);
    for id in [&old, &young] {
        ended(&drivers, id).await;
    }
    drivers.stop().await;
    drop(drivers);
    let folder = place.job(&old, ".");
    let mut record = Job::read(&folder).unwrap();
    let long_ago = Utc::now() - chrono::Duration::days(KEPT_DAYS + 1);
    record.finished_at = Some(long_ago.to_rfc3339());
    record.write(&folder).unwrap();
    let drivers = place.open(1).await;
    let left: Vec<JobId> = drivers.list().into_iter().map(|job| job.id).collect();
    assert_eq!(left, [young]);
    assert!(!folder.exists());
}
