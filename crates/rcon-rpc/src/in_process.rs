//! A channel to handlers in the same process: a manager's agent is a client like any other, over memory.

use std::{future::Future, sync::Arc};

use rcon_identity::Identity;
use tokio::sync::{mpsc, oneshot};
use tonic::service::Routes;

use crate::{Channel, ServeError, caller::Connection, dial::ConnectError, incoming::Accepted, limits, service::Service};

/// A channel to `routes`, whose callers are the node of `identity`, and the server that must run for it to work. The
/// certificate is looked at for each request, so it may be renewed meanwhile. Must be called inside a tokio runtime.
pub fn in_process(
    identity: Arc<Identity>,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send,
) -> (Channel, impl Future<Output = Result<(), ServeError>> + Send) {
    let (sender, mut asked) = mpsc::channel::<oneshot::Sender<tokio::io::DuplexStream>>(limits::ACCEPTED_QUEUE);
    let channel = Channel::over(move || {
        let sender = sender.clone();
        async move {
            let (reply, connected) = oneshot::channel();
            sender.send(reply).await.map_err(|_| ConnectError::Stopping)?;
            connected.await.map_err(|_| ConnectError::Stopping)
        }
    });
    let (service, accepted) = Service::new(routes);
    let accepting = {
        let ending = service.ending();
        async move {
            while let Some(reply) = asked.recv().await {
                let (ours, theirs) = tokio::io::duplex(limits::IN_PROCESS_BUFFER_BYTES);
                let connection = Connection::InProcess(Arc::clone(&identity));
                if accepted.send(Accepted::new(ours, connection, ending.clone().boxed())).await.is_err() {
                    return;
                }
                // The asker may have given up meanwhile; its end of the pipe closes then.
                let _ = reply.send(theirs);
            }
        }
    };
    (channel, service.run(accepting, shutdown))
}
