//! Help: every command explains itself with an example.

use crate::lake::TestLake;

const COMMANDS: [&str; 22] = [
    "quickstart",
    "init",
    "ingest",
    "models",
    "models show",
    "train",
    "forecast",
    "backfill",
    "daily",
    "status",
    "sql",
    "optimize",
    "vacuum",
    "history",
    "holidays",
    "delete",
    "submit",
    "jobs",
    "jobs show",
    "jobs cancel",
    "run",
    "score",
];

#[test]
fn every_command_has_help_with_an_example() {
    let lake = TestLake::missing();
    for command in COMMANDS {
        let output = lake.run(&format!("{command} --help")).expect(0);
        let (_, example) = output
            .stdout
            .split_once("Example")
            .unwrap_or_else(|| panic!("no example\n{output}"));
        let name = command.split(' ').next().unwrap();
        assert!(
            example.contains("almanac ") && example.contains(name),
            "{output}"
        );
        assert!(output.stderr.is_empty(), "{output}");
    }
}

#[test]
fn the_help_lists_every_command() {
    let lake = TestLake::missing();
    let output = lake.run("--help").expect(0);
    let (_, listed) = output
        .stdout
        .split_once("Commands:")
        .unwrap_or_else(|| panic!("{output}"));
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for command in COMMANDS.iter().filter(|command| !command.contains(' ')) {
        assert!(
            names.contains(command),
            "`{command}` is not listed\n{output}"
        );
    }
}

#[test]
fn the_examples_are_command_lines_that_are_understood() {
    // An example that cannot be parsed would be a lie; that it then finds no lake, or no cluster,
    // is fine.
    let lake = TestLake::missing();
    for command in COMMANDS
        .iter()
        .filter(|command| !["quickstart", "sql"].contains(command))
    {
        let help = lake.run(&format!("{command} --help")).expect(0).stdout;
        let (_, example) = help.split_once("Example").unwrap();
        let example = example.replace("\\\n", " ");
        let line = example
            .lines()
            .find_map(|line| line.trim().strip_prefix("almanac "))
            .expect("a command line");
        let line = line.replace("--lake ./lake ", "");
        let output = lake.run(&line);
        let no_cluster = output.stderr.starts_with("error: no scheduler answers at");
        let understood = matches!(output.code, Some(0 | 1)) || output.code == Some(2) && no_cluster;
        assert!(understood, "{output}");
        assert!(!output.stderr.contains("Usage:"), "{output}");
    }
}

#[test]
fn a_misspelt_command_or_flag_is_answered_with_the_nearest() {
    let lake = TestLake::missing();
    for (line, nearest) in [
        ("bakfill", "backfill"),
        ("backfill --comodity Coffee", "--commodity"),
    ] {
        let output = lake.run(line);
        assert!(matches!(output.code, Some(1 | 2)), "{output}");
        assert!(output.stderr.contains(nearest), "{output}");
    }
}
