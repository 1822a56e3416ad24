//! Talking to `rcond tunnel`: one request and one reply over its control socket, with a deadline.

use std::{io, time::Duration};

use rcon_packet::control::{self, Command, FramingError, HEADER_BYTES, Reply, Request, Status, Tables};
use rcon_types::{Failure, FailureKind, Revision};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// How long the tunnel may take for one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the tunnel could not be told or asked something.
#[derive(Debug, Error)]
pub enum TunnelClientError {
    /// The socket broke.
    #[error("could not talk to the tunnel")]
    Socket(#[source] io::Error),
    /// A message that is none.
    #[error("could not understand the tunnel")]
    Framing(#[source] FramingError),
    /// Nothing came back.
    #[error("the tunnel did not answer within {} s", ANSWER.as_secs())]
    Silent,
    /// It said no.
    #[error("the tunnel refused: {0}")]
    Refused(Failure),
    /// An answer to another question.
    #[error("the tunnel answered something else than was asked")]
    Confused,
}

impl TunnelClientError {
    /// What a caller can do about it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused(failure) => failure.clone().during("the tunnel refused"),
            other => Failure::from_error(FailureKind::Unavailable, other),
        }
    }
}

/// Puts tables in force; packets follow them when this returns.
///
/// # Errors
/// When the tunnel refuses or does not answer; the old tables stay.
pub async fn set_tables(stream: &mut UnixStream, tables: Tables) -> Result<Revision, TunnelClientError> {
    match ask(stream, Command::SetTables(Box::new(tables))).await? {
        Reply::Applied { revision } => Ok(revision),
        _ => Err(TunnelClientError::Confused),
    }
}

/// What the tunnel is and counts.
///
/// # Errors
/// When it does not answer.
pub async fn status(stream: &mut UnixStream) -> Result<Status, TunnelClientError> {
    match ask(stream, Command::Status).await? {
        Reply::Status(status) => Ok(*status),
        _ => Err(TunnelClientError::Confused),
    }
}

/// Ends the tunnel: this host has no encrypted network any more.
///
/// # Errors
/// When it does not answer.
pub async fn stop(stream: &mut UnixStream) -> Result<(), TunnelClientError> {
    match ask(stream, Command::Stop).await? {
        Reply::Stopping => Ok(()),
        _ => Err(TunnelClientError::Confused),
    }
}

async fn ask(stream: &mut UnixStream, command: Command) -> Result<Reply, TunnelClientError> {
    let request = control::encode(&Request::new(command)).map_err(TunnelClientError::Framing)?;
    let exchange = async {
        stream.write_all(&request).await.map_err(TunnelClientError::Socket)?;
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).await.map_err(TunnelClientError::Socket)?;
        let mut body = vec![0; control::body_length(header).map_err(TunnelClientError::Framing)?];
        stream.read_exact(&mut body).await.map_err(TunnelClientError::Socket)?;
        control::decode(&body).map_err(TunnelClientError::Framing)
    };
    match timeout(ANSWER, exchange).await.map_err(|_| TunnelClientError::Silent)?? {
        Reply::Failed(failure) => Err(TunnelClientError::Refused(failure)),
        reply => Ok(reply),
    }
}
