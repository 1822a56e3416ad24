//! The service `Containers`: the engine for processes, the agent's networking for endpoints.

use std::sync::Arc;

use rcon_engine::{
    AttachRequest, ContainerRecord, CreateRequest, Engine, EngineError, ExecRequest, ListFilter, LogQuery, StopRequest, StreamKind,
};
use rcon_proto::v1::{self, stream_up::Up};
use rcon_rpc::{
    failure_to_status,
    tonic::{self, Request, Response, Status, Streaming},
    v1::containers_server::Containers,
};
use rcon_types::{ContainerId, Failure, FailureKind};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{streams, view};
use crate::{
    attachments::{Notes, Requested},
    networking::{Networking, SetUp},
};

/// Containers of this host.
pub struct ContainersService {
    engine: Engine,
    networking: Arc<Networking>,
}

fn refused(error: EngineError) -> Status {
    failure_to_status(error.failure())
}

fn first_is_missing(what: &str) -> Status {
    failure_to_status(Failure::new(FailureKind::InvalidArgument, format!("the first message of {what} names the container")))
}

impl ContainersService {
    /// The service over an engine and the agent's networking.
    #[must_use]
    pub fn new(engine: Engine, networking: Arc<Networking>) -> Self {
        Self { engine, networking }
    }

    fn record(&self, container: &str) -> Result<ContainerRecord, Status> {
        let id = self.engine.resolve(container).map_err(refused)?;
        self.engine.inspect(id).map_err(refused)
    }

    fn view(&self, record: ContainerRecord) -> v1::ContainerView {
        let endpoints = self.networking.endpoints(record.id);
        view::container(&self.engine, record, endpoints)
    }

    /// Makes the container's namespace and endpoints, then starts it; takes both down again where that fails.
    async fn start_container(&self, record: &ContainerRecord) -> Result<Vec<String>, Status> {
        let networks = Notes::parse(&record.notes).networks;
        let networks = self.networking.set_up(record.id, &record.name, &networks).await.map_err(failure_to_status)?;
        let SetUp { namespace, files, warnings, starting } = networks;
        let started = self.engine.start(record.id, namespace, files).await;
        drop(starting);
        if started.is_err() && !self.engine.inspect(record.id).is_ok_and(|record| record.is_alive()) {
            self.networking.tear_down(record.id).await;
        }
        started.map(|()| warnings).map_err(refused)
    }
}

#[tonic::async_trait]
impl Containers for ContainersService {
    async fn create(&self, request: Request<v1::CreateContainerRequest>) -> Result<Response<v1::CreateContainerResponse>, Status> {
        let asked = request.into_inner();
        let mut warnings = Vec::new();
        if asked.networks.is_empty() {
            warnings.push(
                "no --network was given: the container has a loopback interface alone (this version has no default bridge)".to_owned(),
            );
        }
        let networks = self.networking.parse(asked.networks).map_err(failure_to_status)?;
        self.networking.check(&networks).await.map_err(failure_to_status)?;
        let created = self
            .engine
            .create(CreateRequest {
                name: asked.name,
                image: asked.image,
                command: asked.command,
                entrypoint: asked.entrypoint,
                env: asked.env,
                hostname: asked.hostname,
                user: asked.user,
                workdir: asked.workdir,
                labels: asked.labels,
                tty: asked.tty,
                open_stdin: asked.open_stdin,
                auto_remove: asked.auto_remove,
                stop_signal: asked.stop_signal,
                stop_timeout_s: asked.stop_timeout_s,
                notes: Notes { networks }.to_text(),
            })
            .await
            .map_err(refused)?;
        warnings.extend(created.warnings);
        Ok(Response::new(v1::CreateContainerResponse { id: created.id.to_string(), name: created.name.to_string(), warnings }))
    }

    async fn start(&self, request: Request<v1::ContainerReference>) -> Result<Response<v1::StartContainerResponse>, Status> {
        let record = self.record(&request.into_inner().container)?;
        if record.is_alive() {
            // As Docker: asking for what is so already is no error.
            return Ok(Response::new(v1::StartContainerResponse::default()));
        }
        let warnings = self.start_container(&record).await?;
        Ok(Response::new(v1::StartContainerResponse { warnings }))
    }

    async fn list(&self, request: Request<v1::ListContainersRequest>) -> Result<Response<v1::ListContainersResponse>, Status> {
        let filter = if request.into_inner().all { ListFilter::All } else { ListFilter::Running };
        let containers = self.engine.list(filter).into_iter().map(|record| self.view(record)).collect();
        Ok(Response::new(v1::ListContainersResponse { containers }))
    }

    async fn inspect(&self, request: Request<v1::ContainerReference>) -> Result<Response<v1::ContainerView>, Status> {
        let record = self.record(&request.into_inner().container)?;
        Ok(Response::new(self.view(record)))
    }

    async fn stop(&self, request: Request<v1::StopContainerRequest>) -> Result<Response<v1::StopContainerResponse>, Status> {
        let asked = request.into_inner();
        let id = self.engine.resolve(&asked.container).map_err(refused)?;
        self.engine.stop(id, StopRequest { timeout_s: asked.timeout_s, signal: asked.signal }).await.map_err(refused)?;
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn kill(&self, request: Request<v1::KillContainerRequest>) -> Result<Response<v1::KillContainerResponse>, Status> {
        let asked = request.into_inner();
        let id = self.engine.resolve(&asked.container).map_err(refused)?;
        self.engine.kill(id, &asked.signal).await.map_err(refused)?;
        Ok(Response::new(v1::KillContainerResponse {}))
    }

    async fn remove(&self, request: Request<v1::RemoveContainerRequest>) -> Result<Response<v1::RemoveContainerResponse>, Status> {
        let asked = request.into_inner();
        let id = self.engine.resolve(&asked.container).map_err(refused)?;
        self.engine.remove(id, asked.force).await.map_err(refused)?;
        self.networking.tear_down(id).await;
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn wait(&self, request: Request<v1::ContainerReference>) -> Result<Response<v1::WaitContainerResponse>, Status> {
        let id = self.engine.resolve(&request.into_inner().container).map_err(refused)?;
        let exit = self.engine.wait(id).await.map_err(refused)?;
        Ok(Response::new(v1::WaitContainerResponse { exit_code: exit.code, error: exit.error }))
    }

    type LogsStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::LogChunk, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let asked = request.into_inner();
        let id = self.engine.resolve(&asked.container).map_err(refused)?;
        let query = LogQuery { follow: asked.follow, tail: asked.tail, since_ms: asked.since_ms, until_ms: asked.until_ms };
        let log = self.engine.logs(id, query).await.map_err(refused)?;
        let chunks = ReceiverStream::new(log.entries).map(|entry| {
            let entry = entry.map_err(refused)?;
            let stream = if entry.stream == StreamKind::Stderr { 2 } else { 1 };
            Ok(v1::LogChunk { stream, data: entry.data, time_ns: entry.time_ns })
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    type AttachStream = streams::Output;

    async fn attach(&self, request: Request<Streaming<v1::StreamUp>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut client = request.into_inner();
        let Some(v1::StreamUp { up: Some(Up::Attach(head)) }) = client.message().await? else {
            return Err(first_is_missing("an attachment"));
        };
        let id = self.engine.resolve(&head.container).map_err(refused)?;
        let session = self.engine.attach(id, AttachRequest { stdin: head.stdin }).await.map_err(refused)?;
        Ok(Response::new(streams::join(session, client)))
    }

    type ExecStream = streams::Output;

    async fn exec(&self, request: Request<Streaming<v1::StreamUp>>) -> Result<Response<Self::ExecStream>, Status> {
        let mut client = request.into_inner();
        let Some(v1::StreamUp { up: Some(Up::Exec(head)) }) = client.message().await? else {
            return Err(first_is_missing("an exec"));
        };
        let id = self.engine.resolve(&head.container).map_err(refused)?;
        let asked = ExecRequest {
            command: head.command,
            env: head.env,
            user: head.user,
            workdir: head.workdir,
            tty: head.tty,
            stdin: head.stdin,
            size: head.size.map(streams::window),
        };
        let session = self.engine.exec(id, asked).await.map_err(refused)?;
        Ok(Response::new(streams::join(session, client)))
    }

    async fn network_connect(&self, request: Request<v1::NetworkConnectRequest>) -> Result<Response<v1::NetworkConnectResponse>, Status> {
        let asked = request.into_inner();
        let record = self.record(&asked.container)?;
        let [wanted] = one(self.networking.parse(asked.attachment.into_iter().collect()))?;
        let mut notes = Notes::parse(&record.notes);
        let mut answer = v1::NetworkConnectResponse::default();
        if record.is_alive() {
            let joined = self.networking.connect(record.id, &record.name, &wanted).await.map_err(failure_to_status)?;
            (answer.endpoint, answer.warnings) = (Some(joined.endpoint), joined.warnings);
        } else {
            self.networking.check(std::slice::from_ref(&wanted)).await.map_err(failure_to_status)?;
        }
        notes.networks.retain(|network| network.network != wanted.network);
        notes.networks.push(wanted);
        self.keep(record.id, &notes).await?;
        Ok(Response::new(answer))
    }

    async fn network_disconnect(
        &self,
        request: Request<v1::NetworkDisconnectRequest>,
    ) -> Result<Response<v1::NetworkDisconnectResponse>, Status> {
        let asked = request.into_inner();
        let record = self.record(&asked.container)?;
        let left = self.networking.disconnect(record.id, &asked.network).await.map_err(failure_to_status)?;
        let mut notes = Notes::parse(&record.notes);
        let before = notes.networks.len();
        notes.networks.retain(|network| network.network != asked.network && Some(&network.network) != left.as_ref());
        if left.is_none() && notes.networks.len() == before {
            let message = format!("container `{}` is not on network `{}`", record.name, asked.network);
            return Err(failure_to_status(Failure::new(FailureKind::NotFound, message).hint("`rconctl inspect` shows its networks")));
        }
        self.keep(record.id, &notes).await?;
        Ok(Response::new(v1::NetworkDisconnectResponse {}))
    }
}

impl ContainersService {
    async fn keep(&self, id: ContainerId, notes: &Notes) -> Result<(), Status> {
        self.engine.set_notes(id, notes.to_text()).await.map_err(refused)
    }
}

/// The single network of a connect request.
fn one(parsed: Result<Vec<Requested>, Failure>) -> Result<[Requested; 1], Status> {
    parsed.map_err(failure_to_status)?.try_into().map_err(|_| {
        failure_to_status(Failure::new(
            FailureKind::InvalidArgument,
            "a container is connected to one network at a time, and not to `none`",
        ))
    })
}
