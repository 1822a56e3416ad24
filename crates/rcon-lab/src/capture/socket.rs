//! The raw socket that hears every port of the fabric.
//!
//! It is opened from inside the fabric's namespace and bound to no device, so that ports which appear later are heard too.
//! The kernel hands over segment sizes with each frame (PACKET_VNET_HDR, packet(7)); without them a batch of datagrams looks like one.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

use super::Recording;
use super::frame::{Direction, Frame, SegmentSize};
use crate::error::LabError;
use crate::network::BRIDGE;

/// Bytes that the kernel may hold back for us.
const SOCKET_BUFFER: libc::c_int = 64 << 20;
/// The longest frame, with room for a kernel that merges more than 64 KiB.
const LONGEST_FRAME: usize = 512 << 10;
/// `struct virtio_net_hdr` (linux/virtio_net.h): flags, kind, header length, segment size, checksum start and offset.
const SEGMENT_HEADER: usize = 10;
/// VIRTIO_NET_HDR_GSO_* of the same header.
const KIND_TCP4: u8 = 1;
const KIND_TCP6: u8 = 4;
const KIND_UDP: u8 = 5;
/// Flags that ride on the kind (explicit congestion, tunnels).
const KIND_MASK: u8 = 0x0f;

pub struct PacketSocket {
    descriptor: OwnedFd,
    names: HashMap<i32, String>,
}

impl PacketSocket {
    /// Moves the calling thread into the namespace, for good, and opens the socket there.
    pub fn open(namespace: &Path) -> Result<Self, LabError> {
        let file = File::open(namespace).map_err(|error| LabError::file("open", namespace, error))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|error| LabError::file("enter", namespace, error))?;
        let failed = || LabError::system("open a packet socket", io::Error::last_os_error());
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes integers only.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from((libc::ETH_P_ALL as u16).to_be())) };
        if raw < 0 {
            return Err(failed());
        }
        // SAFETY: the kernel has just made it and nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        set_option(&descriptor, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1).map_err(|_| failed())?;
        set_option(&descriptor, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, SOCKET_BUFFER).map_err(|_| failed())?;
        Ok(Self { descriptor, names: HashMap::new() })
    }

    /// Records until the other end of `stopped` is closed.
    pub fn record(mut self, stopped: &OwnedFd, most_bytes: usize) -> Result<Recording, LabError> {
        let mut recording = Recording::default();
        let mut buffer = vec![0_u8; SEGMENT_HEADER + LONGEST_FRAME];
        let mut bytes = 0;
        loop {
            let mut waiting = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(LabError::system("wait for frames", error)),
            }
            let last_round = waiting[1].revents().is_some_and(|events| !events.is_empty());
            while let Some(received) = self.receive(&mut buffer)? {
                match received {
                    Received::Frame(frame) if bytes + frame.bytes.len() <= most_bytes => {
                        bytes += frame.bytes.len();
                        recording.frames.push(frame);
                    }
                    Received::Frame(_) | Received::Unreadable => recording.lost += 1,
                    Received::NotOfAPort => {}
                }
            }
            if last_round {
                recording.lost += self.dropped_by_kernel()?;
                return Ok(recording);
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Received>, LabError> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut address_length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address are valid for the lengths given, and outlive the call.
        let length = unsafe {
            libc::recvfrom(
                self.descriptor.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_TRUNC,
                (&raw mut address).cast(),
                &raw mut address_length,
            )
        };
        if length < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                // A frame whose segments this kernel cannot describe, a port that went down: noted, not fatal.
                Some(libc::EINVAL) => Ok(Some(Received::Unreadable)),
                Some(libc::ENETDOWN | libc::EINTR) => Ok(Some(Received::NotOfAPort)),
                _ => Err(LabError::system("read a frame", error)),
            };
        }
        let length = length as usize;
        if length < SEGMENT_HEADER || length > buffer.len() {
            return Ok(Some(Received::Unreadable));
        }
        let port = self.names.entry(address.sll_ifindex).or_insert_with(|| name_of(address.sll_ifindex)).clone();
        if port == BRIDGE || port == "lo" {
            return Ok(Some(Received::NotOfAPort));
        }
        let direction = if address.sll_pkttype == libc::PACKET_OUTGOING { Direction::ToHost } else { Direction::FromHost };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (header, bytes) = buffer[..length].split_at(SEGMENT_HEADER);
        Ok(Some(Received::Frame(Frame { port, direction, time, segments: segment_size(header), bytes: bytes.to_vec() })))
    }

    /// Frames for which the buffer was full (packet(7), PACKET_STATISTICS).
    fn dropped_by_kernel(&self) -> Result<u64, LabError> {
        let mut statistics = [0_u32; 2];
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `statistics`.
        let code = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        match code {
            0 => Ok(u64::from(statistics[1])),
            _ => Err(LabError::system("read the capture's statistics", io::Error::last_os_error())),
        }
    }
}

enum Received {
    Frame(Frame),
    /// There was one, but it could not be read.
    Unreadable,
    /// Of the bridge itself or of the loopback.
    NotOfAPort,
}

fn segment_size(header: &[u8]) -> Option<SegmentSize> {
    let size = u16::from_le_bytes([header[4], header[5]]);
    match header[1] & KIND_MASK {
        KIND_TCP4 | KIND_TCP6 => Some(SegmentSize::Tcp(size)),
        KIND_UDP => Some(SegmentSize::Udp(size)),
        _ => None,
    }
}

fn name_of(index: i32) -> String {
    let name = nix::net::if_::if_indextoname(index as u32).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("port {index}"))
}

fn set_option(descriptor: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which outlives the call.
    match unsafe { libc::setsockopt(descriptor.as_raw_fd(), level, option, (&raw const value).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
