//! A Delta log that knows its own commits.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::Version;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef};
use object_store::ObjectStore;
use serde_json::Value;
use uuid::Uuid;

use super::ATTEMPT_ID;

/// A log in which putting the same attempt twice is putting it once.
///
/// A store may write a commit, lose the reply and send it again: the second put finds the version
/// taken, by the very commit it carries. The log library would take that for another writer's and
/// commit a second time one version later, or report a conflict with itself. Here the entry that
/// is in the way is read, and if it is ours the put has succeeded.
#[derive(Debug)]
pub(crate) struct OwnLog {
    inner: LogStoreRef,
}

impl OwnLog {
    /// Wraps the log of one table.
    pub(crate) fn new(inner: LogStoreRef) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl LogStore for OwnLog {
    // The library decides by this name how commits are put.
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn refresh(&self) -> DeltaResult<()> {
        self.inner.refresh().await
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        let attempt = match &commit_or_bytes {
            CommitOrBytes::LogBytes(bytes) => attempt_of(bytes),
            CommitOrBytes::TmpCommit(_) => None,
        };
        let result = self
            .inner
            .write_commit_entry(version, commit_or_bytes, operation_id)
            .await;
        let (Err(error), Some(attempt)) = (&result, attempt) else {
            return result;
        };
        match self.inner.read_commit_entry(version).await {
            Ok(Some(bytes)) if attempt_of(&bytes).as_ref() == Some(&attempt) => {
                tracing::warn!(version, attempt, %error, "a commit landed although its put failed");
                Ok(())
            }
            _ => result,
        }
    }

    async fn abort_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        operation_id: Uuid,
    ) -> Result<(), TransactionError> {
        self.inner
            .abort_commit_entry(version, commit_or_bytes, operation_id)
            .await
    }

    async fn get_latest_version(&self, start_version: Version) -> DeltaResult<Version> {
        self.inner.get_latest_version(start_version).await
    }

    fn object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.object_store(operation_id)
    }

    fn root_object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.root_object_store(operation_id)
    }

    fn config(&self) -> &LogStoreConfig {
        self.inner.config()
    }
}

/// The attempt that wrote a commit, if it was almanac.
fn attempt_of(commit: &[u8]) -> Option<String> {
    commit.split(|byte| *byte == b'\n').find_map(|line| {
        let action: Value = serde_json::from_slice(line).ok()?;
        Some(
            action
                .get("commitInfo")?
                .get(ATTEMPT_ID)?
                .as_str()?
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempt_is_read_from_commit_info_only() {
        let commit = br#"{"commitInfo":{"operation":"WRITE","almanacAttemptId":"a1"}}
{"add":{"path":"x"}}"#;
        assert_eq!(attempt_of(commit).as_deref(), Some("a1"));
        assert_eq!(attempt_of(br#"{"add":{"almanacAttemptId":"a1"}}"#), None);
        assert_eq!(attempt_of(b"not json"), None);
    }
}
