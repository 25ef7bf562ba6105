//! The rows that a query has left on executors, fetched through the scheduler: a client need not
//! reach executors.

use std::sync::Arc;

use arrow::array::RecordBatch;
use ballista_core::client::BallistaClient;
use ballista_core::error::BallistaError;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::serde::protobuf::PartitionLocation;
use futures::TryStreamExt;

use super::ClusterAddress;
use super::failure;
use super::session::MESSAGE_BYTES;
use super::tls::Transport;
use crate::error::EngineError;

/// How often a fetch is tried, and the pause between in milliseconds.
const TRIES: (u8, u64) = (2, 100);

/// All rows, partition after partition.
pub(crate) async fn fetch(
    locations: Vec<PartitionLocation>,
    scheduler: &ClusterAddress,
    transport: &Transport,
) -> Result<Vec<RecordBatch>, EngineError> {
    if locations.is_empty() {
        return Ok(vec![]);
    }
    let told = |error: BallistaError| failure::found_in(&error.to_string());
    let hook = Arc::new(BallistaConfigGrpcEndpoint::new(transport.hook()));
    let mut client = BallistaClient::try_new(
        &scheduler.host,
        scheduler.port,
        MESSAGE_BYTES,
        transport.is_encrypted(),
        Some(hook),
        TRIES.0,
        TRIES.1,
        0,
        0,
    )
    .await
    .map_err(told)?;
    let mut rows = vec![];
    for location in locations {
        let layout = location.layout();
        let (Some(executor), Some(partition)) = (location.executor_meta, location.partition_id)
        else {
            return Err(EngineError::Task("results without a place".to_owned()));
        };
        let Ok(port) = u16::try_from(executor.port) else {
            return Err(EngineError::Task(format!(
                "an executor at port {}",
                executor.port
            )));
        };
        let flight = true;
        let part = client
            .fetch_partition_proxied(
                &executor.id,
                &partition.into(),
                location.file_id,
                layout,
                &executor.host,
                port,
                flight,
            )
            .await
            .map_err(told)?;
        let part: Vec<RecordBatch> = part
            .try_collect()
            .await
            .map_err(|error| failure::found_in(&error.to_string()))?;
        rows.extend(part);
    }
    Ok(rows)
}
