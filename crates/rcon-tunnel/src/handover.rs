//! Replacing a running tunnel: the successor asks for the descriptors and goes on with the same TAPs and the same socket.
//!
//! Sessions are not passed on; the successor starts handshakes with all peers at once, which takes one round trip.

use std::{
    collections::BTreeMap,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

use rcon_packet::control::{Command, Descriptor, Reply, Request};
use rcon_types::Vni;

use crate::{TunnelError, exchange, limits::MESSAGE_DEADLINE, tap::Tap, udp::UdpSocket};

/// What a predecessor has left.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    udp: Option<(u16, OwnedFd)>,
    taps: BTreeMap<(Vni, String), Vec<OwnedFd>>,
}

impl Inherited {
    /// Asks the tunnel that serves `control_socket` for all it has; nothing where none does. It has ended afterwards.
    pub(crate) fn take_over(control_socket: &Path) -> Result<Self, TunnelError> {
        let mut stream = match UnixStream::connect(control_socket) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(Self::default()),
            Err(source) => return Err(TunnelError::ControlSocket { path: control_socket.to_owned(), source }),
        };
        stream.set_read_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
        stream.set_write_timeout(Some(MESSAGE_DEADLINE)).map_err(TunnelError::Exchange)?;
        match exchange::ask(&mut stream, &Request::new(Command::Handover))? {
            Reply::HandedOver { descriptors } => {
                let received = exchange::receive_descriptors(&stream, descriptors.len())?;
                tracing::info!(descriptors = received.len(), "took over from the tunnel that ran");
                Ok(Self::sort(descriptors, received))
            }
            Reply::Failed(failure) => Err(TunnelError::Handover { what: failure.to_string() }),
            other => Err(TunnelError::Handover { what: format!("it answered {other:?}") }),
        }
    }

    fn sort(descriptors: Vec<Descriptor>, received: Vec<OwnedFd>) -> Self {
        let mut inherited = Self::default();
        for (descriptor, fd) in descriptors.into_iter().zip(received) {
            match descriptor {
                Descriptor::Udp { port } => inherited.udp = Some((port, fd)),
                Descriptor::Tap { vni, name } => inherited.taps.entry((vni, name)).or_default().push(fd),
            }
        }
        inherited
    }

    /// The socket, if it is bound to this port.
    pub(crate) fn socket(&mut self, port: u16) -> Option<Result<UdpSocket, TunnelError>> {
        let (_, fd) = self.udp.take().filter(|(bound, _)| *bound == port)?;
        Some(UdpSocket::adopt(fd, port))
    }

    /// The TAP of a network, if it was among what was left.
    pub(crate) fn tap(&mut self, vni: Vni, name: &str) -> Option<Result<Tap, TunnelError>> {
        let queues = self.taps.remove(&(vni, name.to_owned()))?;
        Some(Tap::adopt(vni, name, queues))
    }
}
