//! What the code is built from: the sources of every crate of the workspace, and the versions of
//! all others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Hex digits of an identity: with fewer, two states of the code could share one.
const DIGITS: usize = 16;

/// Files of the workspace that decide what is compiled.
const OF_WORKSPACE: [&str; 2] = ["Cargo.lock", "Cargo.toml"];
/// Files and folders of a crate that do.
const OF_CRATE: [&str; 3] = ["Cargo.toml", "build", "src"];

/// Sources, by what they hold.
pub struct Sources {
    /// A hash of every source's place and content.
    pub identity: String,
    /// The sources, from the workspace's root, sorted.
    pub files: Vec<PathBuf>,
}

/// The sources of the workspace in `root`. Neither a version control system nor a clock is asked:
/// a copy of the files has the same identity.
///
/// # Errors
/// When a file or folder cannot be read.
pub fn of_workspace(root: &Path) -> io::Result<Sources> {
    let mut files = vec![];
    for file in OF_WORKSPACE {
        files_of(root, Path::new(file), &mut files)?;
    }
    for folder in crates_below(root, Path::new(""))? {
        for part in OF_CRATE.map(|part| folder.join(part)) {
            if root.join(&part).exists() {
                files_of(root, &part, &mut files)?;
            }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        let content = fs::read(root.join(file))?;
        for part in [file.to_string_lossy().as_bytes(), &content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Sources {
        identity: hex[..DIGITS].to_owned(),
        files,
    })
}

/// Folders with a crate of the workspace, crates inside crates included.
fn crates_below(root: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut crates = vec![];
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let inner = folder.join(entry.file_name());
        if entry.path().join("Cargo.toml").is_file() {
            crates.extend(crates_below(root, &inner)?);
            crates.push(inner);
        }
    }
    crates.sort();
    Ok(crates)
}

/// The files of a place, itself or below it. Hidden ones are what tools leave behind.
fn files_of(root: &Path, place: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !root.join(place).is_dir() {
        files.push(place.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root.join(place))? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            files_of(root, &place.join(name), files)?;
        }
    }
    Ok(())
}
