//! The service `NodeSession`: what a node and the managers say to each other.

mod endpoints;
mod flush;
mod stream;

use std::pin::Pin;

use rcon_proto::v1;
use rcon_rpc::{
    tonic::{Request, Response, Status},
    v1::node_session_server::NodeSession,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};

use crate::{
    authorise::table,
    control_service::leave,
    limits::SESSION_QUEUE,
    shared::{ManagerGate, refused, reply},
};

/// The service behind a gate.
#[derive(Clone)]
pub struct SessionService {
    gate: ManagerGate,
}

impl SessionService {
    /// The service behind a gate.
    #[must_use]
    pub const fn new(gate: ManagerGate) -> Self {
        Self { gate }
    }
}

#[rcon_rpc::tonic::async_trait]
impl NodeSession for SessionService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionDown, Status>> + Send>>;

    async fn session(&self, request: Request<rcon_rpc::tonic::Streaming<v1::SessionUp>>) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(SESSION_QUEUE);
        match self.gate.admit(&table::SESSION, &request).await {
            Ok(at) => {
                let node = at.caller.node().map_err(refused)?;
                tokio::spawn(stream::run(at.shared, node, request.into_inner(), sender));
            }
            // A node that was removed for good is told so in the protocol, not only by a status that could mean anything.
            Err(status) if self.gate.is_removed(&request) => {
                // The queue is new and holds both.
                for last in [Ok(removed()), Err(status)] {
                    let _ = sender.try_send(last);
                }
            }
            Err(status) => return Err(status),
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Result<Response<v1::AttachResponse>, Status> {
        let at = self.gate.admit(&table::ATTACH, &request).await?;
        let node = at.caller.node().map_err(refused)?;
        reply(endpoints::attach(&at.shared, node, request.into_inner()).await)
    }

    async fn detach(&self, request: Request<v1::DetachRequest>) -> Result<Response<v1::DetachResponse>, Status> {
        let at = self.gate.admit(&table::DETACH, &request).await?;
        let node = at.caller.node().map_err(refused)?;
        reply(endpoints::detach(&at.shared, node, &request.into_inner()).await)
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Result<Response<v1::LeaveResponse>, Status> {
        let at = self.gate.admit(&table::LEAVE, &request).await?;
        let node = at.caller.node().map_err(refused)?;
        reply(leave(&at.shared, node, request.into_inner().force).await)
    }

    async fn find_network(&self, request: Request<v1::FindNetworkRequest>) -> Result<Response<v1::FindNetworkResponse>, Status> {
        let at = self.gate.admit(&table::FIND_NETWORK, &request).await?;
        reply(endpoints::find_network(&at.shared, &request.into_inner().network).await)
    }
}

const _: () = assert!(SESSION_QUEUE >= 2, "a removed node is sent two messages at once");

/// What a removed node is told.
fn removed() -> v1::SessionDown {
    let removed = v1::Removed { message: "this node was removed from the cluster".to_owned() };
    v1::SessionDown { down: Some(v1::session_down::Down::Removed(removed)) }
}
