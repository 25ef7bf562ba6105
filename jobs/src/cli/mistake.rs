//! What a command line that makes no sense is answered.

use std::process::ExitCode;

/// Help and version are results; a mistaken command line is the user's to mend.
pub(super) fn answer(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines
        .next()
        .unwrap_or("error: the command line makes no sense");
    let rest: Vec<&str> = lines.collect();
    let detail: Vec<&str> = rest
        .iter()
        .copied()
        .take_while(|line| !line.starts_with("Usage"))
        .collect();
    let tip = detail.iter().find_map(|line| line.strip_prefix("tip: "));
    let listed: Vec<&str> = detail
        .iter()
        .copied()
        .filter(|line| !line.starts_with("tip: "))
        .collect();
    eprintln!("{}", [first, &listed.join(", ")].join(" ").trim_end());
    eprintln!(
        "hint: {}",
        tip.unwrap_or("`almanac --help` and `almanac COMMAND --help` show what there is")
    );
    ExitCode::from(1)
}
