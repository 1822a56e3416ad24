//! A container's queries by UDP.

use std::sync::Arc;

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

use crate::{
    answer::Transport,
    container::{Asker, Outcome},
    limits,
};

/// Answers until told to stop, then until every query that was taken is answered. What waits for upstreams waits beside.
pub(crate) async fn serve(asker: Arc<Asker>, socket: Arc<UdpSocket>, mut stop: watch::Receiver<bool>) {
    let mut waiting = JoinSet::new();
    // One byte more than is looked at shows a query that was cut.
    let mut buffer = vec![0; limits::MAX_QUERY + 1];
    loop {
        let received = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = waiting.join_next(), if !waiting.is_empty() => continue,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, from) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "could not receive queries; trying again");
                tokio::time::sleep(limits::REST).await;
                continue;
            }
        };
        match asker.handle(&buffer[..length], Transport::Udp) {
            // A datagram that cannot be sent now is one that got lost; the resolver asks again.
            Outcome::Reply(reply) => drop(socket.try_send_to(&reply, from)),
            Outcome::Pending(pending) => {
                let socket = Arc::clone(&socket);
                waiting.spawn(async move {
                    let reply = pending.reply().await;
                    drop(socket.send_to(&reply, from).await);
                });
            }
            Outcome::Silence => {}
        }
    }
    while waiting.join_next().await.is_some() {}
}
