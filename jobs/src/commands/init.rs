//! `init`: a new lake.

use almanac_delta::{DeltaError, Lake, LakeSettings, Layout, TableName};
use almanac_udfs::forecasters::{Calendar, nearest};
use serde_json::json;

use crate::cli::InitArgs;
use crate::error::JobError;
use crate::holidays;
use crate::report::{print, print_json};
use crate::runs::Status;
use crate::settings::Settings;

/// Makes a lake, or completes one whose making was cut short.
pub async fn init(settings: Settings, args: InitArgs) -> Result<Status, JobError> {
    let calendar: Calendar = args.calendar.parse().map_err(|_| {
        let known = Calendar::ALL.map(Calendar::name);
        let hint = nearest(&args.calendar, known.into_iter()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        JobError::user(format!("no calendar `{}`", args.calendar), hint)
    })?;
    if args.buckets == Some(0) {
        return Err(JobError::user(
            "--buckets 0 leaves no bucket to put a series in",
            "about one bucket per 200 series",
        ));
    }
    let lake_settings = LakeSettings {
        layout: args.buckets.map_or(Layout::Commodity, Layout::Buckets),
        calendar: calendar.name().to_owned(),
        seed: args.seed,
        minimum_history_days: args.minimum_history_days,
        stale_after_days: args.stale_after_days,
        ..LakeSettings::default()
    };
    // Read before anything is made: a file that cannot be used leaves no lake behind.
    let overrides = match &args.holidays {
        Some(path) => holidays::read_file(path, &lake_settings.holidays).await?,
        None => vec![],
    };
    let run_id = uuid::Uuid::new_v4().to_string();
    let lake = match Lake::create(&settings.lake, lake_settings.clone()).await {
        // An init that died before it stored the calendar is completed.
        Err(DeltaError::AlreadyALake { uri }) => {
            let lake = Lake::open(&settings.lake).await?;
            let calendar = lake.table(TableName::Calendar).await?;
            if *lake.settings() != lake_settings || !calendar.files().is_empty() {
                return Err(DeltaError::AlreadyALake { uri }.into());
            }
            lake
        }
        outcome => outcome?,
    };
    holidays::store_builtin(&lake, overrides, &run_id).await?;
    if settings.json {
        print_json(&json!({"lake": settings.lake.uri, "settings": lake.settings()}))?;
    } else {
        print(&format!(
            "created a lake at {}\nnext: almanac --lake {} ingest FILE",
            settings.lake.uri, settings.lake.uri
        ))?;
    }
    Ok(Status::Succeeded)
}
