//! The first command of the README.

use std::process::Command;

use crate::lake::{BINARY, TestLake, finish};
use crate::market::Market;
use crate::tables::HORIZON;

#[test]
fn quickstart_makes_a_lake_with_forecasts_and_says_what_to_try_next() {
    let lake = TestLake::missing();
    let text = lake.run("quickstart").expect(0).stdout;
    assert!(
        text.lines()
            .filter(|line| line.contains("almanac "))
            .count()
            >= 2,
        "commands to try next: {text}"
    );
    let paths = lake.paths();
    let commodities: std::collections::BTreeSet<_> =
        paths.keys().map(|key| key.commodity.clone()).collect();
    assert_eq!(commodities.len(), 2);
    crate::whole::assert_whole(&lake, &paths.keys().cloned().collect(), 2000);
    assert_eq!(
        lake.points().values().map(Vec::len).sum::<usize>(),
        paths.len() * HORIZON
    );

    // What it suggests works, as it stands there.
    let binaries = std::path::Path::new(BINARY).parent().unwrap();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("almanac "))
    {
        let output = finish(
            Command::new("sh")
                .args(["-c", line])
                .current_dir(lake.folder())
                .env("PATH", format!("{}:/usr/bin:/bin", binaries.display())),
        );
        assert!(
            matches!(output.code, Some(0 | 3)),
            "suggested, but fails: {output}"
        );
    }
}

#[test]
fn a_second_quickstart_skips_everything() {
    let lake = TestLake::missing();
    let first = lake.run("--json quickstart").expect(0).json();
    assert!(first.is_object(), "{first}");
    let (made, failed) = (
        first["forecasts"].as_u64().unwrap(),
        first["forecast_failed"].as_u64().unwrap(),
    );
    assert!(made > 0 && failed == 0, "{first}");
    let versions = lake.data_versions();
    let second = lake.run("--json quickstart").expect(0).json();
    assert_eq!(
        (
            second["forecasts"].as_u64(),
            second["forecast_skipped"].as_u64()
        ),
        (Some(0), Some(made)),
        "{second}"
    );
    assert_eq!(second["trained"].as_u64(), Some(0), "{second}");
    assert_eq!(lake.data_versions(), versions);
}

#[test]
fn quickstart_is_the_same_everywhere() {
    let [one, other] = ["--threads 1", "--threads 4"].map(|flags| {
        let lake = TestLake::missing();
        lake.run(&format!("{flags} quickstart")).expect(0);
        lake
    });
    crate::tables::assert_same(
        &crate::tables::bits(&one.paths()),
        &crate::tables::bits(&other.paths()),
        "paths of two quickstarts",
    );
}

#[test]
fn a_lake_that_quickstart_did_not_make_is_left_alone() {
    let own = Market::usual("Coffee", 191).and(Market::usual("Sugar", 192));
    for lake in [TestLake::of(&own), TestLake::new()] {
        let versions = lake.versions();
        let (error, hint) = lake.run("quickstart").refusal();
        assert!(error.contains("not made by quickstart"), "{error}");
        assert!(hint.contains("--lake"), "{hint}");
        assert_eq!(lake.versions(), versions);
    }
}
