//! Raw frames: listening on the fabric, and speaking out of turn.
#![allow(dead_code, unsafe_code, missing_docs)]

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Instant,
};

use nix::sys::{
    socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt},
    time::{TimeVal, TimeValLike},
};

use super::inside;

/// A packet socket of one interface.
pub struct Tap {
    descriptor: OwnedFd,
}

impl Tap {
    /// Opens it on `interface` in `namespace`.
    pub fn open(namespace: &Path, interface: &str) -> Self {
        let descriptor = inside(namespace, || {
            let descriptor = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            let mut address = libc::sockaddr_ll {
                sll_family: u16::try_from(libc::AF_PACKET).unwrap(),
                sll_protocol: u16::try_from(libc::ETH_P_ALL).unwrap().to_be(),
                sll_ifindex: i32::try_from(index).unwrap(),
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            };
            let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
            // SAFETY: the address is a whole `sockaddr_ll` that outlives the call.
            let bound = unsafe { libc::bind(descriptor.as_raw_fd(), (&raw mut address).cast(), length) };
            assert_eq!(bound, 0, "{}", io::Error::last_os_error());
            descriptor
        });
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).unwrap();
        Self { descriptor }
    }

    /// All frames until `until`.
    pub fn frames(&self, until: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0; 70_000];
        while Instant::now() < until {
            if let Ok(length) = recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                frames.push(buffer[..length].to_vec());
            }
        }
        frames
    }

    /// All frames that came so far.
    pub fn so_far(&self) -> Vec<Vec<u8>> {
        self.frames(Instant::now() + std::time::Duration::from_millis(50))
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) {
        nix::sys::socket::send(self.descriptor.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }
}

/// The Ethernet frame in a VXLAN frame of the IPv4 underlay, with its network.
pub fn inner(frame: &[u8]) -> Option<(u32, &[u8])> {
    let is_udp = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 17;
    let vxlan = frame.get(42..)?;
    (is_udp && frame.get(36..38)? == 4789_u16.to_be_bytes()).then(|| (u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]), &vxlan[8..]))
}

/// An Ethernet frame.
pub fn ethernet(destination: [u8; 6], source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source[..], &kind.to_be_bytes()[..], payload].concat()
}

/// An IPv4 packet with UDP in it, checksums of UDP left out.
pub fn udp(source: Ipv4Addr, destination: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes());
    packet.extend([port.to_be_bytes(), port.to_be_bytes(), (length - 20).to_be_bytes(), [0, 0]].concat());
    packet.extend(payload);
    packet
}

/// A frame in VXLAN, as the payload of UDP.
pub fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0], &(vni << 8).to_be_bytes()[..], frame].concat()
}
