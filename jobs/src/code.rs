//! Which code this is.

/// The code's version: the release, and a hash of all sources and dependencies that it is built
/// from. Two builds share it exactly when they are of the same code, on whatever machine.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("ALMANAC_CODE"));

/// The program, as rows and logs name it.
pub const PROGRAM: &str = concat!(
    "almanac ",
    env!("CARGO_PKG_VERSION"),
    "+",
    env!("ALMANAC_CODE")
);

#[cfg(test)]
#[path = "../build/sources.rs"]
mod sources;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn identity(root: &Path) -> String {
        sources::of_workspace(root).unwrap().identity
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    /// A workspace of a crate and a crate inside it.
    const WORKSPACE: [(&str, &str); 6] = [
        ("Cargo.toml", "members"),
        ("Cargo.lock", "versions"),
        ("outer/Cargo.toml", "outer"),
        ("outer/src/lib.rs", "pub mod part;"),
        ("outer/inner/Cargo.toml", "inner"),
        ("outer/inner/src/lib.rs", ""),
    ];

    #[test]
    fn the_binary_is_built_from_these_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(identity(root), env!("ALMANAC_CODE"));
        assert!(PROGRAM.ends_with(VERSION) && VERSION.ends_with(&identity(root)));
        let files = sources::of_workspace(root).unwrap().files;
        for source in [
            "Cargo.lock",
            "delta/src/lib.rs",
            "jobs/build/sources.rs",
            "udfs/forecasters/src/lib.rs",
        ] {
            assert!(files.contains(&source.into()), "{source} in {files:?}");
        }
    }

    #[test]
    fn every_change_of_a_source_changes_the_identity_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, &WORKSPACE);
        let first = identity(root);
        let mut seen = BTreeSet::from([first.clone()]);
        for change in [
            ("Cargo.lock", "other versions"),
            ("Cargo.toml", "other members"),
            ("outer/inner/Cargo.toml", "other features"),
            ("outer/inner/src/lib.rs", "fn a() {}"),
            ("outer/src/deep/part.rs", ""),
            ("outer/build/main.rs", "fn main() {}"),
            ("new/Cargo.toml", ""),
        ] {
            write(root, &[change]);
            assert!(seen.insert(identity(root)), "{change:?}");
        }
        fs::rename(root.join("outer/src/deep"), root.join("outer/src/other")).unwrap();
        assert!(seen.insert(identity(root)), "a source that is moved");

        let now = identity(root);
        write(
            root,
            &[
                ("README.md", "words"),
                ("docs/a.md", "words"),
                ("tests/main.rs", "mod a;"),
                ("outer/tests/a.rs", "words"),
                ("outer/src/.lib.rs.pending-snap", "words"),
                ("outer/benches/a.rs", "words"),
                ("target/release/src/lib.rs", "words"),
                (".git/HEAD", "words"),
            ],
        );
        assert_eq!(identity(root), now);
    }

    #[test]
    fn a_copy_has_the_same_identity() {
        let [a, b] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        write(a.path(), &WORKSPACE);
        let mut other_order = WORKSPACE;
        other_order.reverse();
        write(b.path(), &other_order);
        assert_eq!(identity(a.path()), identity(b.path()));
    }
}
