//! `ingest`: files into `unified_data`.

use almanac_delta::Lake;

use crate::cli::IngestArgs;
use crate::error::JobError;
use crate::ingest::{self, IngestRequest};
use crate::report::{print, print_json};
use crate::runs::Status;
use crate::settings::Settings;

/// Takes files in, and says what changed.
pub async fn ingest_files(settings: Settings, args: IngestArgs) -> Result<Status, JobError> {
    let lake = Lake::open(&settings.lake).await?;
    let request = IngestRequest {
        files: args.files,
        map: args.map,
        commodity: args.commodity,
        region: args.region,
        rejects: args.rejects,
        allow_rejects: args.allow_rejects,
        run_id: uuid::Uuid::new_v4().to_string(),
    };
    let report = ingest::ingest(&lake, &request).await?;
    let result =
        serde_json::to_value(&report).map_err(|error| JobError::ours(error.to_string()))?;
    if settings.json {
        print_json(&result)?;
    } else {
        let count = |name: &str| result[name].to_string();
        print(&format!(
            "rows read {}, added {}, changed {}, unchanged {}, rejected {}",
            count("rows_read"),
            count("added"),
            count("changed"),
            count("unchanged"),
            count("rejected")
        ))?;
        if let Some(file) = result["rejects_file"].as_str() {
            print(&format!("rejected rows are in {file}"))?;
        }
        if report.changed > 0 {
            print(
                "stored values changed; `almanac status --stale` names what rests on the older ones",
            )?;
        }
    }
    Ok(Status::Succeeded)
}
