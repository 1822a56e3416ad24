//! Registers of a cluster: register `h2/a` is the label `register.a` of node h2, asked through any manager's local socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rcon_proto::v1;
use rcon_rpc::v1::control_client::ControlClient;
use rcon_rpc::{Channel, connect_unix, status_to_failure, tonic};
use rcon_types::{Failure, FailureKind};

use super::operation::{Action, Operation, Outcome, Value};
use super::recorder::Recorder;

/// How long a client waits for an answer: longer than managers need to say that they have no quorum.
const PATIENCE: Duration = Duration::from_secs(3);

/// The sockets of the managers that are on, by host.
pub type Sockets = BTreeMap<String, PathBuf>;

/// A client's connections: one a manager, made again when its socket is another one.
#[derive(Debug, Default)]
pub struct Connections {
    open: BTreeMap<String, (PathBuf, Channel)>,
}

impl Connections {
    /// The manager on that host. Must be called inside a tokio runtime.
    pub fn to(&mut self, host: &str, socket: &PathBuf) -> Manager {
        let entry = self.open.entry(host.to_owned()).or_insert_with(|| (socket.clone(), connect_unix(socket)));
        if entry.0 != *socket {
            *entry = (socket.clone(), connect_unix(socket));
        }
        Manager { host: host.to_owned(), control: ControlClient::new(entry.1.clone()) }
    }
}

/// One manager, as an administrator on its host sees it.
#[derive(Debug)]
pub struct Manager {
    host: String,
    control: ControlClient<Channel>,
}

impl Manager {
    /// Writes a new value to a register and notes what came of it.
    pub async fn write(&mut self, client: usize, register: &str, recorder: &Recorder) -> Outcome {
        let (node, label) = node_and_label(register);
        let value = recorder.new_value();
        let request = v1::UpdateNodeRequest { node, labels_add: [(label, value.to_string())].into(), ..Default::default() };
        let called = recorder.now();
        let outcome = match answer(self.control.update_node(with_patience(request))).await {
            Ok(_) => Outcome::Acknowledged,
            Err(failure) => outcome_of(failure.kind),
        };
        self.note(recorder, (client, register, called), Action::Write { value, outcome });
        outcome
    }

    /// Reads a register and notes what it had; a failure when nobody answered.
    pub async fn read(&mut self, client: usize, register: &str, recorder: &Recorder) -> Result<Option<Value>, Failure> {
        let (node, label) = node_and_label(register);
        let called = recorder.now();
        match answer(self.control.inspect_node(with_patience(v1::NodeReference { node }))).await {
            Ok(view) => {
                let text = view.node.and_then(|mut node| node.labels.remove(&label));
                let value = text.map(|text| text.parse().expect("only numbers are written to registers"));
                self.note(recorder, (client, register, called), Action::Read { value });
                Ok(value)
            }
            Err(failure) => {
                recorder.note_unanswered();
                Err(failure)
            }
        }
    }

    fn note(&self, recorder: &Recorder, (client, register, called): (usize, &str, Duration), action: Action) {
        let (manager, register) = (self.host.clone(), register.to_owned());
        recorder.note(Operation { client, manager, register, called, returned: recorder.now(), action });
    }

    /// The nodes, as this manager has them without asking others.
    pub async fn nodes(&mut self) -> Result<Vec<v1::NodeView>, Failure> {
        let request = with_patience(v1::ListNodesRequest { stale: true });
        answer(self.control.list_nodes(request)).await.map(|answer| answer.nodes)
    }
}

fn node_and_label(register: &str) -> (String, String) {
    let (node, label) = register.split_once('/').expect("a register is a node and a label");
    (node.to_owned(), format!("register.{label}"))
}

fn with_patience<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

async fn answer<T>(call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Failure> {
    // A host that is frozen takes the request and never answers; the header's deadline alone is the server's to keep.
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(status_to_failure),
        Err(_) => Err(Failure::new(FailureKind::DeadlineExceeded, "no answer")),
    }
}

/// What is known of a write that failed. Only where somebody decided against it is it certain that it has no effect.
fn outcome_of(kind: FailureKind) -> Outcome {
    match kind {
        FailureKind::InvalidArgument
        | FailureKind::NotFound
        | FailureKind::AlreadyExists
        | FailureKind::PermissionDenied
        | FailureKind::Unauthenticated
        | FailureKind::FailedPrecondition
        | FailureKind::Conflict => Outcome::Failed,
        FailureKind::Unavailable
        | FailureKind::DeadlineExceeded
        | FailureKind::ResourceExhausted
        | FailureKind::Unimplemented
        | FailureKind::Internal => Outcome::Unknown,
    }
}
