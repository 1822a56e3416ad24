//! The kernel's WireGuard, told its key and its peers. Numbers are those of `include/uapi/linux/wireguard.h` and `genetlink.h`.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use rcon_netplan::names;
use rcon_packet::control::{Peer, Tables};

use crate::{
    NetError,
    attribute::{self, Attributes},
    handle::Handle,
    socket::{Message, Netlink},
};

const FAMILY: &str = "wireguard";
/// `GENL_ID_CTRL`, its command to find a family, and the attributes of the answer.
const CONTROLLER: u16 = 16;
const CONTROLLER_GET_FAMILY: u8 = 3;
const CONTROLLER_FAMILY_ID: u16 = 1;
const CONTROLLER_FAMILY_NAME: u16 = 2;

const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;
const DEVICE_NAME: u16 = 2;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_LISTEN_PORT: u16 = 6;
const DEVICE_PEERS: u16 = 8;
const PEER_PUBLIC_KEY: u16 = 1;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_RX_BYTES: u16 = 7;
const PEER_TX_BYTES: u16 = 8;
const PEER_ALLOWED_IPS: u16 = 9;
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_LENGTH: u16 = 3;
const REMOVE_PEER: u32 = 1;
const REPLACE_ALLOWED_IPS: u32 = 2;

/// Most peers in one message; one takes about 100 bytes, and an attribute has at most 64 KiB.
const PEERS_PER_MESSAGE: usize = 256;
/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;
/// A key file is never longer.
const MAX_KEY_FILE_BYTES: usize = 128;

/// A peer as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireguardPeer {
    /// Its X25519 public key.
    pub public_key: [u8; 32],
    /// Where it was last heard, or said to be.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed, in milliseconds since 1970; 0: never.
    pub last_handshake_unix_ms: u64,
    /// Bytes taken from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
}

/// Makes key, port and peers those of `tables`. Peers that stay keep their sessions.
pub(crate) fn configure(overlay: &Handle, tables: &Tables) -> Result<(), NetError> {
    let path = &tables.private_key_file;
    let key = private_key(path).map_err(|source| NetError::PrivateKey { path: path.clone(), source })?;
    let failed = |source| NetError::Wireguard { what: "configure", source };
    let (mut socket, family) = overlay.run(open).map_err(failed)?;
    let wanted: BTreeSet<[u8; 32]> = tables.peers.iter().map(|peer| peer.public_key.0).collect();
    let there = read(&mut socket, family).map_err(failed)?;
    let gone = there.iter().map(|peer| peer.public_key).filter(|key| !wanted.contains(key)).map(removed);
    let peers: Vec<Attributes> = gone.chain(tables.peers.iter().map(described)).collect();
    let head = device(SET_DEVICE).bytes(DEVICE_PRIVATE_KEY, &key).bytes(DEVICE_LISTEN_PORT, &tables.listen_port.to_ne_bytes());
    let chunks = peers.chunks(PEERS_PER_MESSAGE).map(|chunk| device(SET_DEVICE).nest(DEVICE_PEERS, list(chunk)));
    for body in std::iter::once(head).chain(chunks) {
        socket.execute(Message { kind: family, flags: 0, body: body.finish() }).map_err(failed)?;
    }
    Ok(())
}

/// The peers as the kernel knows them.
pub(crate) fn peers(overlay: &Handle) -> Result<Vec<WireguardPeer>, NetError> {
    let ask = || {
        let (mut socket, family) = open()?;
        read(&mut socket, family)
    };
    overlay.run(ask).map_err(|source| NetError::Wireguard { what: "ask", source })
}

fn open() -> io::Result<(Netlink, u16)> {
    let mut socket = Netlink::generic()?;
    let body = Attributes::after(&[CONTROLLER_GET_FAMILY, 1, 0, 0]).text(CONTROLLER_FAMILY_NAME, FAMILY).finish();
    let answer = socket.get(&Message { kind: CONTROLLER, flags: 0, body })?;
    let id = answer.get(HEADER..).and_then(|rest| attribute::find(rest, CONTROLLER_FAMILY_ID)).and_then(|value| value.first_chunk::<2>());
    let id = id.map(|bytes| u16::from_ne_bytes(*bytes)).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    Ok((socket, id))
}

fn device(command: u8) -> Attributes {
    Attributes::after(&[command, 1, 0, 0]).text(DEVICE_NAME, names::WIREGUARD)
}

fn list(items: &[Attributes]) -> Attributes {
    items.iter().cloned().fold(Attributes::default(), |list, item| list.nest(0, item))
}

fn removed(key: [u8; 32]) -> Attributes {
    Attributes::default().bytes(PEER_PUBLIC_KEY, &key).bytes(PEER_FLAGS, &REMOVE_PEER.to_ne_bytes())
}

/// A peer may have one address inside, its own; that is also how its packets' source is checked.
fn described(peer: &Peer) -> Attributes {
    let family = u16::try_from(libc::AF_INET).unwrap_or(0);
    let allowed = Attributes::default()
        .bytes(ALLOWED_FAMILY, &family.to_ne_bytes())
        .bytes(ALLOWED_ADDRESS, &peer.vtep.octets())
        .bytes(ALLOWED_LENGTH, &[32]);
    let mut described = Attributes::default()
        .bytes(PEER_PUBLIC_KEY, &peer.public_key.0)
        .bytes(PEER_FLAGS, &REPLACE_ALLOWED_IPS.to_ne_bytes())
        .nest(PEER_ALLOWED_IPS, list(&[allowed]));
    if let Some(endpoint) = peer.endpoint {
        described = described.bytes(PEER_ENDPOINT, &socket_address(endpoint));
    }
    described.bytes(PEER_KEEPALIVE, &0_u16.to_ne_bytes())
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let (family, port) = (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }, address.port().to_be_bytes());
    let mut bytes = u16::try_from(family).unwrap_or(0).to_ne_bytes().to_vec();
    bytes.extend(port);
    match address.ip() {
        IpAddr::V4(v4) => bytes.extend(v4.octets().into_iter().chain([0; 8])),
        IpAddr::V6(v6) => bytes.extend([0; 4].into_iter().chain(v6.octets()).chain([0; 4])),
    }
    bytes
}

fn read(socket: &mut Netlink, family: u16) -> io::Result<Vec<WireguardPeer>> {
    let found = socket.dump(&Message { kind: family, flags: 0, body: device(GET_DEVICE).finish() })?;
    let lists = found.iter().filter_map(|(_, body)| attribute::find(body.get(HEADER..)?, DEVICE_PEERS));
    Ok(lists.flat_map(attribute::read).filter_map(|(_, peer)| known(peer)).collect())
}

fn known(peer: &[u8]) -> Option<WireguardPeer> {
    let number =
        |kind| attribute::find(peer, kind).and_then(|value| value.first_chunk::<8>()).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    // `struct __kernel_timespec`: seconds, nanoseconds.
    let handshake = attribute::find(peer, PEER_LAST_HANDSHAKE).and_then(|value| value.first_chunk::<16>()).map_or(0, |bytes| {
        let half = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        half(0) * 1000 + half(8) / 1_000_000
    });
    Some(WireguardPeer {
        public_key: attribute::find(peer, PEER_PUBLIC_KEY)?.try_into().ok()?,
        endpoint: attribute::find(peer, PEER_ENDPOINT).and_then(endpoint),
        last_handshake_unix_ms: handshake,
        rx_bytes: number(PEER_RX_BYTES),
        tx_bytes: number(PEER_TX_BYTES),
    })
}

fn endpoint(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?);
    let address: IpAddr = match bytes.len() {
        16 => Ipv4Addr::from(*bytes.get(4..8)?.first_chunk::<4>()?).into(),
        _ => Ipv6Addr::from(*bytes.get(8..24)?.first_chunk::<16>()?).into(),
    };
    Some(SocketAddr::new(address, port))
}

/// The key in a file: 32 raw bytes, 64 hexadecimal digits, or base64 as `wg genkey` writes it.
fn private_key(path: &Path) -> io::Result<[u8; 32]> {
    let bytes = fs::read(path)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "neither 32 bytes, 64 hexadecimal digits nor base64");
    if let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(key);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?.trim();
    let decoded = match text.len() {
        _ if bytes.len() > MAX_KEY_FILE_BYTES => None,
        64 => text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0], 16)? << 4 | digit(pair[1], 16)?)).collect::<Option<Vec<u8>>>(),
        44 => base64(text),
        _ => None,
    };
    decoded.and_then(|key| key.try_into().ok()).ok_or_else(malformed)
}

fn digit(byte: u8, radix: u32) -> Option<u8> {
    char::from(byte).to_digit(radix).and_then(|value| u8::try_from(value).ok())
}

/// 32 bytes in RFC 4648 §4's base64: 43 digits and one `=`.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_suffix('=')?;
    let mut bits = 0_u32;
    let mut bytes = Vec::new();
    for (position, byte) in digits.bytes().enumerate() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|digit| *digit == byte)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        if position % 4 > 0 {
            bytes.push(u8::try_from((bits >> (6 - 2 * (position % 4))) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_each_of_its_forms() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        let hexadecimal = key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
        for form in [key.to_vec(), hexadecimal.into_bytes(), b"AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk=\n".to_vec()] {
            fs::write(&path, form).unwrap();
            assert_eq!(private_key(&path).unwrap(), key);
        }
        for broken in [&b"short"[..], &[b'x'; 64], &[b'='; 44]] {
            fs::write(&path, broken).unwrap();
            assert!(private_key(&path).is_err());
        }
    }

    #[test]
    fn an_endpoint_survives_its_socket_address() {
        for address in ["192.0.2.1:51820", "[2001:db8::1]:51820"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(endpoint(&socket_address(address)), Some(address));
        }
    }
}
