//! Records of the engine and the agent as messages.

use rcon_engine::{ContainerRecord, ContainerState, Engine};
use rcon_proto::v1;

/// A container as the API shows it; `endpoints` come from the agent.
pub fn container(engine: &Engine, record: ContainerRecord, endpoints: Vec<v1::EndpointView>) -> v1::ContainerView {
    let state = match record.state {
        ContainerState::Created | ContainerState::Starting => v1::ContainerState::Created,
        ContainerState::Running => v1::ContainerState::Running,
        ContainerState::Exited => v1::ContainerState::Exited,
        ContainerState::Removing => v1::ContainerState::Removing,
    };
    let log_path = engine.log_path(record.id).display().to_string();
    let exit = record.exit.filter(|_| state != v1::ContainerState::Running);
    v1::ContainerView {
        id: record.id.to_string(),
        name: record.name.to_string(),
        image: record.image,
        image_id: record.image_id.to_string(),
        command: record.args,
        state: state.into(),
        created_ms: record.created_ms,
        started_ms: record.started_ms.unwrap_or(0),
        finished_ms: exit.as_ref().map_or(0, |exit| exit.finished_ms),
        exit_code: exit.as_ref().map_or(0, |exit| exit.code),
        error: exit.as_ref().map(|exit| exit.error.clone()).unwrap_or_default(),
        pid: record.pid.unwrap_or(0),
        endpoints,
        labels: record.labels,
        env: record.env,
        hostname: record.hostname,
        tty: record.tty,
        auto_remove: record.auto_remove,
        log_path,
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
    }
}
