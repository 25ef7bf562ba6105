//! What a command line that makes no sense is answered.

use std::process::ExitCode;

/// What is wrong with a command line, and what to do, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Without the leading `error: `.
    pub message: String,
    /// What the parser suggests.
    pub hint: Option<String>,
}

impl From<&clap::Error> for Mistake {
    fn from(error: &clap::Error) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or("the command line makes no sense");
        let first = first.strip_prefix("error: ").unwrap_or(first);
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
        Self {
            message: [first, &listed.join(", ")].join(" ").trim_end().to_owned(),
            hint: tip.map(str::to_owned),
        }
    }
}

/// Help and version are results; a mistaken command line is the user's to mend.
pub(super) fn answer(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mistake = Mistake::from(error);
    eprintln!("error: {}", mistake.message);
    eprintln!(
        "hint: {}",
        mistake
            .hint
            .as_deref()
            .unwrap_or("`almanac --help` and `almanac COMMAND --help` show what there is")
    );
    ExitCode::from(1)
}
