//! How our operators travel: a name and a payload. Functions travel by name alone.

use std::sync::Arc;

use almanac_delta::write::{WriteExec, WriteSpec};
use almanac_udfs::assign::AssignUnits;
use almanac_udfs::expand::ExpandPaths;
use almanac_udfs::operator::{OperatorExec, RowOperator};
use almanac_udfs::summarize::SummarizePaths;
use almanac_udfs::window::KeepWindow;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalProtoConverterExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stored_units::StoredUnits;

/// Before the name of an operator of ours; no message of Ballista's begins with it.
const MARK: &[u8] = b"\xffalmanac\0";
const WRITE: &str = "WriteTables";

/// Codes our operators, and hands on Ballista's own.
#[derive(Debug, Default)]
pub(crate) struct OperatorCodec {
    ballista: BallistaPhysicalExtensionCodec,
}

fn payload<T: Serialize>(name: &str, payload: &T, buf: &mut Vec<u8>) -> Result<()> {
    buf.extend_from_slice(MARK);
    buf.extend_from_slice(name.as_bytes());
    buf.push(0);
    serde_json::to_writer(buf, payload).map_err(|error| DataFusionError::External(Box::new(error)))
}

fn read<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        DataFusionError::Execution(format!("the payload of `{name}` cannot be read: {error}"))
    })
}

fn operator<T: RowOperator + DeserializeOwned>(
    body: &[u8],
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let operator: T = read(T::NAME, body)?;
    Ok(Arc::new(OperatorExec::try_new(
        Arc::clone(input),
        operator,
    )?))
}

fn encode_operator<T: RowOperator + Serialize>(
    node: &Arc<dyn ExecutionPlan>,
    buf: &mut Vec<u8>,
) -> Option<Result<()>> {
    let exec = node.downcast_ref::<OperatorExec<T>>()?;
    Some(payload(T::NAME, &exec.operator, buf))
}

impl PhysicalExtensionCodec for OperatorCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(own) = buf.strip_prefix(MARK) else {
            return self.ballista.try_decode(buf, inputs, ctx, converter);
        };
        let Some(end) = own.iter().position(|byte| *byte == 0) else {
            return internal_err!("an operator without a name");
        };
        let (name, body) = (String::from_utf8_lossy(&own[..end]), &own[end + 1..]);
        let [input] = inputs else {
            return internal_err!("`{name}` has {} inputs, needed one", inputs.len());
        };
        match name.as_ref() {
            KeepWindow::NAME => operator::<KeepWindow>(body, input),
            AssignUnits::NAME => operator::<AssignUnits>(body, input),
            ExpandPaths::NAME => operator::<ExpandPaths>(body, input),
            SummarizePaths::NAME => operator::<SummarizePaths>(body, input),
            StoredUnits::NAME => operator::<StoredUnits>(body, input),
            WRITE => {
                let spec: WriteSpec = read(&name, body)?;
                Ok(Arc::new(WriteExec::new(Arc::clone(input), Arc::new(spec))))
            }
            _ => exec_err!("there is no operator `{name}` here"),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let row_operator = encode_operator::<KeepWindow>(&node, buf)
            .or_else(|| encode_operator::<AssignUnits>(&node, buf))
            .or_else(|| encode_operator::<ExpandPaths>(&node, buf))
            .or_else(|| encode_operator::<SummarizePaths>(&node, buf))
            .or_else(|| encode_operator::<StoredUnits>(&node, buf));
        if let Some(done) = row_operator {
            return done;
        }
        if let Some(exec) = node.downcast_ref::<WriteExec>() {
            return payload(WRITE, exec.spec.as_ref(), buf);
        }
        self.ballista.try_encode(node, buf, converter)
    }
}
