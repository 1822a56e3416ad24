//! One control message at a time over a unix socket, and the descriptors of a handover.

#![allow(unsafe_code)]

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use rcon_packet::control::{self, DESCRIPTORS_PER_MESSAGE, HEADER_BYTES, Reply, Request};
use serde::{Serialize, de::DeserializeOwned};

use crate::TunnelError;

/// Writes one message.
pub(crate) fn write<T: Serialize>(stream: &mut UnixStream, message: &T) -> Result<(), TunnelError> {
    let bytes = control::encode(message).map_err(TunnelError::Message)?;
    stream.write_all(&bytes).map_err(TunnelError::Exchange)
}

/// Reads one message; `None` when the other side has closed instead.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<Option<T>, TunnelError> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(TunnelError::Exchange(error)),
    }
    let len = control::body_length(header).map_err(TunnelError::Message)?;
    let mut body = Vec::new();
    // Grows with what really comes, not with what the header promises.
    let read = stream.take(len as u64).read_to_end(&mut body).map_err(TunnelError::Exchange)?;
    if read < len {
        return Err(TunnelError::Exchange(io::ErrorKind::UnexpectedEof.into()));
    }
    control::decode(&body).map(Some).map_err(TunnelError::Message)
}

/// Asks and waits for the answer.
pub(crate) fn ask(stream: &mut UnixStream, request: &Request) -> Result<Reply, TunnelError> {
    write(stream, request)?;
    read(stream)?.ok_or_else(|| TunnelError::Exchange(io::ErrorKind::UnexpectedEof.into()))
}

/// Passes descriptors on, some with each byte.
pub(crate) fn send_descriptors(stream: &UnixStream, descriptors: &[RawFd]) -> Result<(), TunnelError> {
    for chunk in descriptors.chunks(DESCRIPTORS_PER_MESSAGE) {
        let rights = [ControlMessage::ScmRights(chunk)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|errno| TunnelError::Exchange(errno.into()))?;
    }
    Ok(())
}

/// Takes `count` descriptors.
pub(crate) fn receive_descriptors(stream: &UnixStream, count: usize) -> Result<Vec<OwnedFd>, TunnelError> {
    let mut received: Vec<OwnedFd> = Vec::new();
    while received.len() < count {
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_PER_MESSAGE]);
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            .map_err(|errno| TunnelError::Exchange(errno.into()))?;
        let before = received.len();
        for control in message.cmsgs().map_err(|errno| TunnelError::Exchange(errno.into()))? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                // SAFETY: the kernel has just opened these for this process, and nobody else knows them.
                received.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if received.len() == before {
            return Err(TunnelError::Handover { what: "fewer descriptors came than were announced".to_owned() });
        }
    }
    Ok(received)
}
