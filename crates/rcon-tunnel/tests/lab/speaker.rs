//! A WireGuard speaker that does what it is told: a member of the cluster that may misbehave.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey, StaticSecret},
};
use rcon_packet::{checksum::Sum, vxlan::Encapsulation, vxlan::OVERHEAD};
use rcon_types::{MacAddr, Vni};

use super::{DEADLINE, Host, PORT, underlay};

pub struct Speaker {
    tunn: Tunn,
    socket: UdpSocket,
    to: SocketAddr,
}

impl Speaker {
    /// One with `from`'s key, in `from`'s namespace, which has done a handshake with the tunnel of `to`.
    pub fn new(from: &Host, to: &Host) -> Self {
        let secret: [u8; 32] = std::fs::read(from.directory.path().join("key")).unwrap().try_into().unwrap();
        let socket = from.host.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let tunn = Tunn::new(StaticSecret::from(secret), PublicKey::from(to.public_key.0), None, None, 7, None);
        let mut speaker = Self { tunn, socket, to: (underlay(to.number), PORT).into() };
        let mut out = [0; 2048];
        let TunnResult::WriteToNetwork(initiation) = speaker.tunn.format_handshake_initiation(&mut out, true) else { panic!() };
        speaker.socket.send_to(initiation, speaker.to).unwrap();
        while speaker.tunn.current_session().is_none() {
            let mut datagram = [0; 2048];
            let (len, _) = speaker.socket.recv_from(&mut datagram).unwrap();
            let mut out = [0; 2048];
            if let TunnResult::WriteToNetwork(message) = speaker.tunn.decapsulate(None, &datagram[..len], &mut out) {
                speaker.socket.send_to(message, speaker.to).unwrap();
            }
        }
        speaker
    }

    /// Seals a packet; the message can be sent, changed, or sent again.
    pub fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut out = vec![0; packet.len() + 160];
        match self.tunn.encapsulate(packet, &mut out) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&self, message: &[u8]) {
        self.socket.send_to(message, self.to).unwrap();
    }

    /// The next message of the tunnel that carries a packet.
    pub fn receive(&mut self) -> Vec<u8> {
        loop {
            let (mut datagram, mut out) = ([0; 4096], [0; 4096]);
            let (len, _) = self.socket.recv_from(&mut datagram).unwrap();
            match self.tunn.decapsulate(None, &datagram[..len], &mut out) {
                TunnResult::WriteToTunnelV4(packet, _) => return packet.to_vec(),
                TunnResult::WriteToNetwork(message) => drop(self.socket.send_to(message, self.to).unwrap()),
                _ => {}
            }
        }
    }
}

/// A frame in a VXLAN packet.
pub fn in_vxlan(source: Ipv4Addr, destination: Ipv4Addr, vni: Vni, frame: &[u8]) -> Vec<u8> {
    let mut header = [0; OVERHEAD];
    Encapsulation::new(source, destination, vni).write(&mut header, 50_000, u16::try_from(frame.len()).unwrap());
    [&header[..], frame].concat()
}

/// A UDP datagram in an Ethernet frame, from 10.0.0.X to 10.0.0.Y.
pub fn datagram(macs: (MacAddr, MacAddr), hosts: (u8, u8), port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [macs.1.0, macs.0.0].concat();
    let len = u16::try_from(payload.len()).unwrap();
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, hosts.0, 10, 0, 0, hosts.1];
    ip[2..4].copy_from_slice(&(28 + len).to_be_bytes());
    let checksum = Sum::of(&ip).checksum();
    ip[10..12].copy_from_slice(&checksum);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(port.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend((8 + len).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
