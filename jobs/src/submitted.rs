//! Submitted jobs: jobs whose drivers run beside the cluster's scheduler.
//!
//! A submission is a job's own arguments, a lake and the models of the submitter's settings file that
//! the job names. The scheduler's host checks all of it again, and gives it to a driver: this same
//! program, as a child process. What is known of a job is a record in a folder of its own, and is
//! changed before what it tells of is done, so that a scheduler that is killed finds its jobs again.
//! Running a job twice does no harm (what is committed is skipped), so whatever is in doubt is ended
//! and begun again.

mod client;
mod drivers;
mod record;
mod routes;
mod submission;

pub use client::{Shown, cancel, follow, list, show, submit};
pub use drivers::{DriverSettings, Drivers, Patience};
pub use record::{Job, State, now};
pub use routes::routes;
pub use submission::Submission;
