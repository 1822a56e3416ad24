//! Streams of a container: exec, attach, logs.

use rcon_oci::shim::{ExecProcess, Request, Response, StreamSet, WindowSize};
use rcon_types::ContainerId;

use crate::{
    engine::{Engine, blocking, container::PendingAttachment, start::user},
    error::EngineError,
    limits::COMMAND_BYTES,
    log,
    record::ContainerState,
    request::{AttachRequest, ExecRequest, LogQuery},
    rootfs::RootFs,
    shim::{ShimConnection, ShimError, channels},
    stream::{IoSession, LogStream},
};

impl Engine {
    /// Reads a container's log.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn logs(&self, id: ContainerId, query: LogQuery) -> Result<LogStream, EngineError> {
        let container = self.inner.container(id)?;
        let is_over = !query.follow || container.record().state == ContainerState::Exited;
        let ending: log::Ending =
            if is_over { Box::pin(std::future::ready(())) } else { Box::pin(async move { container.log_complete().await }) };
        Ok(log::read(self.inner.paths(id).log(), query, ending))
    }

    /// Runs a command in a running container; returns once it runs.
    ///
    /// # Errors
    /// When the container does not run, or the command cannot be started ([`EngineError::Exec`] carries the exit code).
    pub async fn exec(&self, id: ContainerId, request: ExecRequest) -> Result<IoSession, EngineError> {
        let container = self.inner.container(id)?;
        let record = container.record();
        if record.state != ContainerState::Running {
            return Err(record.refusal("run a command in"));
        }
        let invalid = |what, reason: &str| EngineError::Invalid { what, reason: reason.to_owned() };
        let Some(command) = request.command.first().filter(|command| !command.is_empty()).cloned() else {
            return Err(invalid("command", "there is none"));
        };
        if request.command.iter().chain(&request.env).map(String::len).sum::<usize>() > COMMAND_BYTES {
            return Err(invalid("command", "arguments and environment are too long together"));
        }
        if !request.workdir.is_empty() && !request.workdir.starts_with('/') {
            return Err(invalid("working directory", "it is an absolute path"));
        }
        let user = match request.user.as_str() {
            "" => None,
            wanted => {
                let (merged, wanted) = (self.inner.paths(id).merged(), wanted.to_owned());
                let resolve = move || user(&RootFs::open(&merged).map_err(EngineError::io("open", &merged))?, &wanted);
                Some(blocking(resolve).await?.user)
            }
        };
        let process = ExecProcess {
            args: request.command,
            env: request.env,
            cwd: Some(request.workdir).filter(|dir| !dir.is_empty()),
            user,
            tty: request.tty,
            stdin: request.stdin,
            size: request.size.map(|size| WindowSize { rows: size.rows, columns: size.columns }),
        };
        let name = container.name();
        let refused = |error| match error {
            ShimError::Refused { failure, exit_code: Some(exit_code) } => EngineError::Exec {
                container: name.clone(),
                command: command.clone(),
                reason: failure.causes.iter().fold(failure.message.clone(), |text, cause| format!("{text}: {cause}")),
                exit_code,
            },
            other => other.of(&name),
        };
        let mut connection = ShimConnection::open(&self.inner.run_directory(id)).await.map_err(refused)?;
        match connection.ask(&Request::Exec { process }).await.map_err(refused)? {
            Response::ExecStarted { .. } => Ok(connection.into_session()),
            other => Err(ShimError::Protocol(format!("it answered {other:?}")).of(&name)),
        }
    }

    /// Attaches to a container that runs, or that will be started.
    ///
    /// # Errors
    /// When it is being removed, or the shim fails.
    pub async fn attach(&self, id: ContainerId, request: AttachRequest) -> Result<IoSession, EngineError> {
        let container = self.inner.container(id)?;
        let record = loop {
            if container.record().state == ContainerState::Starting {
                // Soon it runs, or has failed to.
                drop(container.work.lock().await);
            }
            let record = container.record();
            if record.state == ContainerState::Running {
                break record;
            }
            let (output, input, session) = channels();
            match container.keep_for_start(PendingAttachment { request, input, output }) {
                // It began to start in this moment.
                Err(EngineError::State { state: ContainerState::Starting | ContainerState::Running, .. }) => {}
                other => return other.map(|()| session),
            }
        };
        let refused = |error: ShimError| error.of(record.name.as_str());
        let mut connection = ShimConnection::open(&self.inner.run_directory(id)).await.map_err(refused)?;
        let streams = StreamSet { stdin: request.stdin && record.open_stdin, stdout: true, stderr: true };
        match connection.ask(&Request::Attach { streams }).await.map_err(refused)? {
            Response::Attached => Ok(connection.into_session()),
            other => Err(refused(ShimError::Protocol(format!("it answered {other:?}")))),
        }
    }
}
