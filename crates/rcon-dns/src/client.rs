//! Talking to a running DNS server over its control socket.

use std::{io, path::Path};

use rcon_netplan::dns::{DnsReply, DnsRequest};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use crate::{DnsError, limits};

/// Tells the server at `socket` that the snapshot was replaced. What it says is true for the queries from then on.
///
/// # Errors
/// When it does not answer in time, or could not read the snapshot.
pub async fn reload(socket: &Path) -> Result<DnsReply, DnsError> {
    let reply = ask(socket, DnsRequest::Reload).await?;
    match reply.error {
        Some(why) => Err(DnsError::Refused { serving: reply.revision, why }),
        None => Ok(reply),
    }
}

/// Asks the server at `socket` what it serves.
///
/// # Errors
/// When it does not answer in time.
pub async fn status(socket: &Path) -> Result<DnsReply, DnsError> {
    ask(socket, DnsRequest::Status).await
}

async fn ask(socket: &Path, request: DnsRequest) -> Result<DnsReply, DnsError> {
    let failed = |source| DnsError::Ask { path: socket.to_owned(), source };
    let asking = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut reply = Vec::new();
        (&mut stream).take(limits::MAX_CONTROL_REPLY).read_until(b'\n', &mut reply).await?;
        if reply.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&reply)?)
    };
    match timeout(limits::CONTROL_TIMEOUT, asking).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}
