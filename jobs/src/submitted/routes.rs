//! The scheduler's answers about submitted jobs: JSON over the scheduler's own port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::drivers::{Drivers, DriversError};
use super::submission::{LARGEST, Submission};
use crate::error::JobError;

/// The longest that a request for more of a log is held.
const LONGEST_WAIT_SECONDS: u64 = 20;
/// How often a held request looks.
const TICK: Duration = Duration::from_millis(100);

/// The routes below `/almanac/v1/jobs`.
pub fn routes(drivers: Arc<Drivers>) -> Router {
    Router::new()
        .route("/almanac/v1/jobs", post(submit).get(list))
        .route("/almanac/v1/jobs/{id}", get(show))
        .route("/almanac/v1/jobs/{id}/cancel", post(cancel))
        .route("/almanac/v1/jobs/{id}/log", get(log))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(drivers)
}

/// A refusal: its status, and the `error` and `hint` lines that the client prints.
struct Refusal {
    status: StatusCode,
    error: String,
    hint: Option<String>,
}

type Answer = Result<Json<Value>, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "hint": self.hint});
        (self.status, Json(body)).into_response()
    }
}

impl From<DriversError> for Refusal {
    fn from(error: DriversError) -> Self {
        let message = error.to_string();
        let (status, hint) = match error {
            DriversError::Unknown { .. } => (
                StatusCode::NOT_FOUND,
                Some(
                    "`almanac jobs` lists them; one that ended 30 days ago is forgotten".to_owned(),
                ),
            ),
            DriversError::Full => (
                StatusCode::TOO_MANY_REQUESTS,
                Some("submit it again once some have ended, or cancel some".to_owned()),
            ),
            DriversError::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some("submit it again once the scheduler is back".to_owned()),
            ),
            DriversError::Refused(JobError::User { hint, .. }) => (StatusCode::BAD_REQUEST, hint),
            DriversError::Refused(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
            DriversError::Folder { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Some("look at the scheduler's --work-dir: is its disk full?".to_owned()),
            ),
        };
        Self {
            status,
            error: message,
            hint,
        }
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self {
            status: rejection.status(),
            error: format!("the submission cannot be read: {}", rejection.body_text()),
            hint: Some(format!("a submission has at most {} KiB", LARGEST >> 10)),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self {
            status: rejection.status(),
            error: rejection.body_text(),
            hint: None,
        }
    }
}

async fn submit(
    State(drivers): State<Arc<Drivers>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let submission: Submission = serde_json::from_slice(&body?).map_err(|error| Refusal {
        status: StatusCode::BAD_REQUEST,
        error: format!("this is no submission: {error}"),
        hint: Some(
            "client and scheduler should be of one version (`almanac --version`)".to_owned(),
        ),
    })?;
    let job = drivers.submit(&submission)?;
    Ok((StatusCode::CREATED, Json(json!(job))))
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
}

async fn list(
    State(drivers): State<Arc<Drivers>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer {
    let limit = query?.limit.unwrap_or(usize::MAX);
    let jobs: Vec<_> = drivers.list().into_iter().take(limit).collect();
    Ok(Json(json!({"jobs": jobs})))
}

async fn show(State(drivers): State<Arc<Drivers>>, Path(id): Path<String>) -> Answer {
    // The job first: the result of one that has ended is all there.
    let job = drivers.get(&id)?;
    let result = drivers.result(&id)?;
    Ok(Json(json!({"job": job, "result": result})))
}

async fn cancel(State(drivers): State<Arc<Drivers>>, Path(id): Path<String>) -> Answer {
    Ok(Json(json!(drivers.cancel(&id)?)))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    wait: u64,
}

/// The log from a byte on. With `wait`, an answer that would be empty is held that many seconds at
/// most, until there is more or the job has ended.
async fn log(
    State(drivers): State<Arc<Drivers>>,
    Path(id): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let wait = Duration::from_secs(query.wait.min(LONGEST_WAIT_SECONDS));
    let until = Instant::now() + wait;
    loop {
        // The job first: the log of one that has ended is all there.
        let state = drivers.get(&id)?.state;
        let piece = drivers.log(&id, query.from)?;
        // A scheduler that ends waits for its answers.
        let no_longer = Instant::now() >= until || drivers.is_stopping();
        if !piece.text.is_empty() || state.is_final() || no_longer {
            let ended = state.is_final() && piece.text.is_empty();
            return Ok(Json(json!({
                "text": piece.text, "next": piece.next, "state": state, "ended": ended,
            })));
        }
        sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::submitted::{DriverSettings, Patience};

    async fn router() -> (tempfile::TempDir, Router) {
        let folder = tempfile::tempdir().unwrap();
        let settings = DriverSettings {
            work_dir: folder.path().to_owned(),
            binary: "/bin/true".into(),
            at_once: 1,
            patience: Patience::default(),
        };
        // Never begun: jobs stay queued.
        let drivers = Drivers::open(settings).await.unwrap();
        (folder, routes(drivers))
    }

    async fn asked(router: &Router, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/almanac/v1/jobs{path}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn submission(arguments: &[&str]) -> String {
        json!({"arguments": arguments, "lake": "/lake"}).to_string()
    }

    #[tokio::test]
    async fn a_job_is_submitted_listed_shown_and_cancelled() {
        let (_folder, router) = router().await;
        let (status, job) = asked(&router, "POST", "", &submission(&["vacuum"])).await;
        assert_eq!((status, job["state"].as_str()), (201, Some("queued")));
        let id = job["id"].as_str().unwrap();
        let (_, second) = asked(&router, "POST", "", &submission(&["optimize"])).await;
        let (status, listed) = asked(&router, "GET", "?limit=1", "").await;
        assert_eq!((status, &listed["jobs"]), (200, &json!([second])));
        let (status, shown) = asked(&router, "GET", &format!("/{id}"), "").await;
        assert_eq!(
            (status, &shown),
            (200, &json!({"job": job, "result": null}))
        );
        let (status, piece) = asked(&router, "GET", &format!("/{id}/log?from=0"), "").await;
        assert_eq!((status, piece["ended"].as_bool()), (200, Some(false)));
        let (status, job) = asked(&router, "POST", &format!("/{id}/cancel"), "").await;
        assert_eq!((status, job["state"].as_str()), (200, Some("cancelled")));
        // One that has ended is not waited for.
        let (_, piece) = asked(&router, "GET", &format!("/{id}/log?wait=20"), "").await;
        assert_eq!(piece["ended"], true);
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_refused_with_a_hint() {
        let (folder, router) = router().await;
        let large = " ".repeat(LARGEST + 1);
        let odd =
            json!({"arguments": ["vacuum"], "lake": "/lake", "config": "/etc/passwd"}).to_string();
        for (method, path, body, wanted, said) in [
            ("POST", "", "{".to_owned(), 400, "no submission"),
            ("POST", "", odd, 400, "config"),
            ("POST", "", large, 413, "cannot be read"),
            ("POST", "", submission(&[]), 400, ""),
            ("POST", "", submission(&["init"]), 400, "init"),
            (
                "POST",
                "",
                submission(&["vacuum", "--lake=/elsewhere"]),
                400,
                "--lake",
            ),
            (
                "POST",
                "",
                submission(&["vacuum", "--retention-hours=1"]),
                400,
                "168",
            ),
            (
                "GET",
                "/0123456789",
                String::new(),
                404,
                "no job `0123456789`",
            ),
            ("GET", "/..%2f..%2fetc", String::new(), 404, "no job"),
            ("GET", "/012345678/log", String::new(), 404, "no job"),
            ("POST", "/012345678/cancel", String::new(), 404, "no job"),
        ] {
            let (status, refusal) = asked(&router, method, path, &body).await;
            assert_eq!(status, wanted, "{method} {path} {refusal}");
            assert!(
                refusal["error"].as_str().unwrap().contains(said),
                "{refusal}"
            );
            assert!(refusal["hint"].is_string(), "{refusal}");
        }
        let left = std::fs::read_dir(folder.path().join("jobs"))
            .unwrap()
            .count();
        assert_eq!(left, 1, "the lock and no job");
    }
}
