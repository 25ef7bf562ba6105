//! What a process is: its code, its functions, its settings. Processes of one cluster must agree.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::execution::SessionState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::session;

/// What must be equal in the processes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The code's version: a release and a hash of its sources.
    pub code: String,
    /// Names of all functions.
    pub functions: BTreeSet<String>,
    /// Settings that plans and messages depend on.
    pub settings: BTreeMap<String, String>,
}

impl Identity {
    /// The identity of this process.
    pub(crate) fn new(code: &str, state: &SessionState) -> Self {
        let functions = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .cloned()
            .collect();
        Self {
            code: code.to_owned(),
            functions,
            settings: session::agreed(),
        }
    }

    /// What requests carry of it.
    pub(crate) fn agent(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.code.as_bytes());
        for name in &self.functions {
            hash.update([0]);
            hash.update(name.as_bytes());
        }
        for (key, value) in &self.settings {
            hash.update([1]);
            hash.update(key.as_bytes());
            hash.update([2]);
            hash.update(value.as_bytes());
        }
        let hash: String = hash.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("almanac/{hash}")
    }

    /// The first difference from another process, as a sentence; `None` when they agree.
    pub(crate) fn difference(
        &self,
        own_name: &str,
        other: &Self,
        other_name: &str,
    ) -> Option<String> {
        if self.code != other.code {
            return Some(format!(
                "{other_name} runs almanac {}, {own_name} {}",
                other.code, self.code
            ));
        }
        for (here, there, place) in [
            (&self.functions, &other.functions, other_name),
            (&other.functions, &self.functions, own_name),
        ] {
            if let Some(name) = here.difference(there).next() {
                return Some(format!("{place} does not have the function `{name}`"));
            }
        }
        let keys: BTreeSet<&String> = self.settings.keys().chain(other.settings.keys()).collect();
        keys.into_iter().find_map(|key| {
            let value = |of: &Self| {
                of.settings
                    .get(key)
                    .cloned()
                    .unwrap_or("nothing".to_owned())
            };
            let (own, theirs) = (value(self), value(other));
            (own != theirs).then(|| {
                format!("the setting `{key}` is {theirs} in {other_name} and {own} in {own_name}")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            code: "1.0+a".to_owned(),
            functions: ["train", "forecast"].map(str::to_owned).into(),
            settings: [("batch".to_owned(), "8192".to_owned())].into(),
        }
    }

    #[test]
    fn what_differs_is_named_with_both_sides_and_changes_the_agent() {
        let own = identity();
        assert_eq!(own.difference("this", &own.clone(), "the scheduler"), None);
        let mut code = identity();
        code.code = "1.0+b".to_owned();
        let mut fewer = identity();
        fewer.functions.remove("train");
        let mut more = identity();
        more.functions.insert("draw".to_owned());
        let mut other = identity();
        other.settings.insert("batch".to_owned(), "1".to_owned());
        for (changed, said) in [
            (code, "the scheduler runs almanac 1.0+b, this 1.0+a"),
            (fewer, "the scheduler does not have the function `train`"),
            (more, "this does not have the function `draw`"),
            (
                other,
                "the setting `batch` is 1 in the scheduler and 8192 in this",
            ),
        ] {
            let found = own.difference("this", &changed, "the scheduler");
            assert_eq!(found.as_deref(), Some(said));
            assert_ne!(own.agent(), changed.agent());
        }
    }
}
