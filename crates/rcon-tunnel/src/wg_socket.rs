//! `wg show`: the reading half of WireGuard's cross-platform configuration protocol. What it may be told comes from `rcond` alone, so
//! every attempt to configure is refused.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write as _},
    os::unix::net::UnixStream,
};

use rcon_packet::control::{PeerStatus, Status};

use crate::{TunnelError, datapath::Datapath, limits::MESSAGE_DEADLINE};

/// Longest line that `wg` may send.
const MAX_LINE: u64 = 4096;

/// Answers one question.
pub(crate) fn serve(datapath: &Datapath, stream: UnixStream) -> Result<(), TunnelError> {
    stream.set_read_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
    stream.set_write_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_LINE)).read_line(&mut line).map_err(TunnelError::Exchange)?;
    let answer = if line.trim_end() == "get=1" {
        let mut answer = datapath.private_key_hex().map_or_else(String::new, |key| format!("private_key={key}\n"));
        describe(&datapath.status(), &mut answer);
        answer
    } else {
        format!("errno={}\n\n", libc::EPERM)
    };
    (&stream).write_all(answer.as_bytes()).map_err(TunnelError::Exchange)
}

fn describe(status: &Status, answer: &mut String) {
    // Writing to a string cannot fail.
    let _ = writeln!(answer, "listen_port={}", status.listen_port);
    for peer in &status.peers {
        describe_peer(peer, answer);
    }
    answer.push_str("errno=0\n\n");
}

fn describe_peer(peer: &PeerStatus, answer: &mut String) {
    let _ = writeln!(answer, "public_key={}", peer.public_key);
    if let Some(endpoint) = peer.endpoint {
        let _ = writeln!(answer, "endpoint={endpoint}");
    }
    let (seconds, milliseconds) = (peer.last_handshake_unix_ms / 1000, peer.last_handshake_unix_ms % 1000);
    let _ = writeln!(answer, "last_handshake_time_sec={seconds}\nlast_handshake_time_nsec={}", milliseconds * 1_000_000);
    let _ = writeln!(answer, "rx_bytes={}\ntx_bytes={}\npersistent_keepalive_interval=0", peer.rx_bytes, peer.tx_bytes);
    let _ = writeln!(answer, "allowed_ip={}/32\nprotocol_version=1", peer.vtep);
}
