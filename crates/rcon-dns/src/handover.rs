//! Handing the sockets to a successor.
//!
//! The successor connects to the predecessor's control socket and asks for it. It gets batches: four bytes of length, JSON
//! that names the containers, and two descriptors each (UDP, TCP) beside the first byte. It serves them, takes the control
//! socket's path over, and confirms with one byte; only then does the predecessor stop reading. Between, both read: each
//! datagram and each connection goes to one of them, so no query is lost or answered twice. A successor that dies before it
//! confirms changes nothing.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use rcon_netplan::dns::DnsRequest;
use rcon_types::ContainerId;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::{
    limits,
    namespace::{NamespaceId, Sockets, check},
};

/// The most bytes that the names of a batch take.
const MAX_BATCH_BYTES: usize = 64 * 1024;
/// What the successor says when it serves.
const CONFIRMED: u8 = b'!';

/// One container's sockets on their way.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) container: ContainerId,
    pub(crate) namespace: NamespaceId,
    pub(crate) descriptors: [OwnedFd; 2],
}

/// Sockets that a predecessor gave.
pub(crate) type Taken = BTreeMap<ContainerId, (NamespaceId, Sockets)>;

#[derive(Serialize, Deserialize)]
struct Batch {
    containers: Vec<(ContainerId, NamespaceId)>,
    more: bool,
}

/// A successor's side of a handover that it has not confirmed yet.
#[derive(Debug)]
pub(crate) struct TakingOver {
    stream: UnixStream,
}

impl TakingOver {
    /// Tells the predecessor to stop.
    pub(crate) fn confirm(mut self) -> io::Result<()> {
        self.stream.write_all(&[CONFIRMED])
    }
}

/// Asks the server at `path` for its sockets; none where nobody listens there. Blocks, for a bounded time.
pub(crate) fn take(path: &Path) -> io::Result<Option<(TakingOver, Taken)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    bound(&stream)?;
    let mut request = serde_json::to_vec(&DnsRequest::HandOver)?;
    request.push(b'\n');
    stream.write_all(&request)?;
    let mut taken = Taken::new();
    loop {
        let (batch, descriptors) = receive_batch(&mut stream)?;
        let mut descriptors = descriptors.into_iter();
        for (container, namespace) in batch.containers {
            let (Some(udp), Some(tcp)) = (descriptors.next(), descriptors.next()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "fewer descriptors came than were announced"));
            };
            let sockets = Sockets { udp: udp.into(), tcp: tcp.into() };
            check(&sockets)?;
            taken.insert(container, (namespace, sockets));
        }
        if !batch.more {
            return Ok(Some((TakingOver { stream }, taken)));
        }
    }
}

/// Gives the sockets to the successor at the other end, and waits until it serves them. Blocks, for a bounded time.
pub(crate) fn give(mut stream: UnixStream, all: &[Handed]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    bound(&stream)?;
    let batches = all.len().div_ceil(limits::HANDOVER_BATCH).max(1);
    for number in 0..batches {
        let from = number * limits::HANDOVER_BATCH;
        let some = &all[from..all.len().min(from + limits::HANDOVER_BATCH)];
        send_batch(&mut stream, some, number + 1 < batches)?;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [CONFIRMED] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn bound(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(limits::HANDOVER_TIMEOUT))?;
    stream.set_write_timeout(Some(limits::HANDOVER_TIMEOUT))
}

fn send_batch(stream: &mut UnixStream, some: &[Handed], more: bool) -> io::Result<()> {
    let batch = Batch { containers: some.iter().map(|handed| (handed.container, handed.namespace)).collect(), more };
    let text = serde_json::to_vec(&batch)?;
    let length = u32::try_from(text.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let message = [&length.to_be_bytes()[..], &text].concat();
    let descriptors: Vec<BorrowedFd<'_>> = some.iter().flat_map(|handed| handed.descriptors.iter().map(AsFd::as_fd)).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * limits::HANDOVER_BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("the descriptors do not fit into a message"));
    }
    let sent = sendmsg(stream.as_fd(), &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&message[sent..])
}

fn receive_batch(stream: &mut UnixStream) -> io::Result<(Batch, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * limits::HANDOVER_BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were lost on the way"));
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_BATCH_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the batch is too large"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}
