//! A container's queries by TCP: each with its length before it (RFC 1035 §4.2.2), one after the other on a connection.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    answer::Transport,
    container::{Asker, Outcome},
    limits,
};

/// Accepts until told to stop, then until every connection has got the answer that it waits for.
pub(crate) async fn serve(asker: Arc<Asker>, listener: Arc<TcpListener>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits::MAX_TCP_PER_CONTAINER));
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (asker, stop) = (Arc::clone(&asker), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    // Whatever ends a connection, the client notices; there is nobody else to tell.
                    let _ = converse(&asker, stream, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; trying again");
                tokio::time::sleep(limits::REST).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn converse(asker: &Asker, mut stream: TcpStream, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let query = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            query = timeout(limits::TCP_IDLE, read(&mut stream)) => query??,
        };
        let reply = match asker.handle(&query, Transport::Tcp) {
            Outcome::Reply(reply) => reply,
            Outcome::Pending(pending) => pending.reply().await,
            Outcome::Silence => return Ok(()),
        };
        let length = u16::try_from(reply.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(limits::TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > limits::MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    Ok(query)
}
