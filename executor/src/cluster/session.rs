//! The sessions of a cluster: ours, with what Ballista has to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use ballista_core::config::BallistaConfig;
use ballista_core::extension::{SessionConfigExt, SessionConfigHelperExt};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;

use super::codec::OperatorCodec;
use super::tls::Transport;

/// Bytes that one message may have: a plan, or a batch of results.
pub(crate) const MESSAGE_BYTES: usize = 256 << 20;

/// Ballista's settings, the same in every process.
const SETTINGS: [(&str, &str); 7] = [
    // With the adaptive planner a lost executor leaves the job hanging.
    ("ballista.planner.adaptive.enabled", "false"),
    ("ballista.planner.coalesce.enabled", "false"),
    ("ballista.scheduler.max_partitions_per_task", "1"),
    ("ballista.client.grpc_max_message_size", "268435456"),
    ("ballista.client.grpc_connect_timeout_seconds", "5"),
    ("ballista.client.io_retries_times", "2"),
    ("ballista.cache.noop", "true"),
];

/// What processes must agree on, for their identity.
pub(crate) fn agreed() -> BTreeMap<String, String> {
    SETTINGS
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Our settings with Ballista's. None of them is a secret: all travel to every executor.
pub(crate) fn config(config: SessionConfig, transport: &Transport) -> SessionConfig {
    let mut config = config
        .with_option_extension(BallistaConfig::default())
        .with_ballista_physical_extension_codec(Arc::new(OperatorCodec::default()))
        .with_ballista_use_tls(transport.is_encrypted())
        .with_ballista_override_create_grpc_client_endpoint(transport.hook());
    for (key, value) in SETTINGS {
        config = config.set_str(key, value);
    }
    config
}

/// For ad-hoc SQL, what Ballista's stages ask of a plan: no filters handed between operators that
/// may end up in different stages, no subqueries read from shared memory.
pub(crate) fn for_stages(config: SessionConfig) -> SessionConfig {
    config.ballista_restricted_configuration()
}

/// The state with the optimizer rules that go with [`for_stages`].
pub(crate) fn with_stage_rules(state: SessionState) -> SessionState {
    let rules = ballista_core::optimizer::with_ballista_optimizer_rules(state.optimizers());
    SessionStateBuilder::new_from_existing(state)
        .with_optimizer_rules(rules)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::query_config;

    #[test]
    fn ballista_takes_every_setting_as_it_is_meant() {
        let transport = Transport::new("almanac/test".to_owned(), None).unwrap();
        let found = config(query_config(2), &transport);
        let entries = found.options().entries();
        for (key, value) in SETTINGS {
            let entry = entries.iter().find(|entry| entry.key == key);
            assert_eq!(
                entry.and_then(|entry| entry.value.as_deref()),
                Some(value),
                "{key}"
            );
        }
        assert_eq!(found.ballista_grpc_client_max_message_size(), MESSAGE_BYTES);
        assert!(!found.ballista_adaptive_query_planner_enabled());
    }
}
