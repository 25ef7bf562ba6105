//! Scenarios, run through the built binary on real lakes in temporary folders.
//!
//! Each module is one promise of the design. Nothing is mocked: logs are real Delta logs, processes
//! are really killed, and what is read back is read from the files.
//!
//! Tests that depend on chance repeat a few times; `ALMANAC_ROUNDS=20` makes them repeat as often as
//! the reliability figures ask. Seeds are printed, and shown when a test fails.

mod lake;
mod market;
mod processes;
mod tables;
mod whole;

mod actuals;
mod bad_input;
mod cadence;
mod calendars;
mod cluster;
mod conditioning;
mod covariates;
mod daily;
mod exactly_once;
mod fail_open;
mod help;
mod init;
mod job_files;
mod killed_runs;
mod late_data;
mod long_log;
mod many_units;
mod names;
mod networks;
mod one_result;
mod points_rebuilt;
mod poisoned_future;
mod quickstart;
mod real_data;
mod refusals;
mod s3;
mod score;
mod status_and_sql;
mod submitted;
mod table_care;
mod tls;
