//! Sockets inside a container's network namespace, opened from outside.

use std::{
    fs::File,
    io,
    net::{TcpListener, UdpSocket},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use rcon_netplan::{DNS_ADDRESS, DNS_PORT};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// Which namespace a file stands for: its inode on nsfs, which nobody else has as long as a socket of ours is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceId {
    device: u64,
    inode: u64,
}

/// Where a container's queries arrive, by either transport. Non-blocking.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// Which namespace is at a path now.
pub(crate) fn identify(path: &Path) -> io::Result<NamespaceId> {
    of(&std::fs::metadata(path)?)
}

fn of(metadata: &std::fs::Metadata) -> io::Result<NamespaceId> {
    if metadata.is_file() {
        Ok(NamespaceId { device: metadata.dev(), inode: metadata.ino() })
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a namespace's file"))
    }
}

/// Listens on 127.0.0.11 in the namespace at a path. Blocks for the life of a short thread, which alone changes its namespace:
/// this process and all its other sockets, those to the upstreams among them, stay in the host's.
pub(crate) fn listen(path: &Path) -> io::Result<(NamespaceId, Sockets)> {
    let path: PathBuf = path.to_owned();
    let helper = thread::Builder::new().name("dns-namespace".to_owned()).spawn(move || {
        let namespace = File::open(path)?;
        let id = of(&namespace.metadata()?)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let udp = UdpSocket::bind((DNS_ADDRESS, DNS_PORT))?;
        let tcp = TcpListener::bind((DNS_ADDRESS, DNS_PORT))?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok((id, Sockets { udp, tcp }))
    })?;
    helper.join().unwrap_or_else(|_| Err(io::Error::other("the helper thread panicked")))
}

/// Whether descriptors from elsewhere are what they are said to be.
pub(crate) fn check(sockets: &Sockets) -> io::Result<()> {
    let expected = (DNS_ADDRESS, DNS_PORT).into();
    if sockets.udp.local_addr()? == expected && sockets.tcp.local_addr()? == expected {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "a socket that was handed over is not bound to the resolver's address"))
    }
}
