//! Gives the code its identity: a hash of the sources it is built from, in `ALMANAC_CODE`.

mod sources;

use std::path::PathBuf;

fn main() {
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"));
    let root = here.parent().expect("the crate lies in the workspace");
    let found = sources::of_workspace(root).unwrap_or_else(|error| {
        panic!("cannot read the sources below {}: {error}", root.display())
    });
    for file in &found.files {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    println!("cargo::rustc-env=ALMANAC_CODE={}", found.identity);
}
