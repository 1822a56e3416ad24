//! What is on the fabric: every frame of an interface, without a filter, and what each is.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rcon_packet::{
    frame::{Headers, Network, Transport, number16},
    wireguard::Message,
};

use super::{Namespace, PORT, eventually};

/// A running `tcpdump`.
pub struct Capture {
    process: Child,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Capture {
    /// Captures on an interface, from the moment this returns.
    pub fn start(namespace: &Namespace, interface: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("frames.pcap");
        let process = namespace
            .process("tcpdump")
            .args(["-i", interface, "-U", "--immediate-mode", "-B", "32768", "-s", "0", "-Z", "root", "-w", file.to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the capture runs", || std::fs::metadata(&file).ok().filter(|meta| meta.len() >= 24));
        Self { process, file, _directory: directory }
    }

    /// Every frame until now.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGINT).unwrap();
        self.process.wait().unwrap();
        frames(&self.file)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The frames of a file in the classic format of tcpdump, in the byte order of this machine.
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(number(0), 0xa1b2_c3d4, "{}", path.display());
    let mut frames = Vec::new();
    let mut at = 24;
    while at + 16 <= bytes.len() && at + 16 + number(at + 8) <= bytes.len() {
        frames.push(bytes[at + 16..at + 16 + number(at + 8)].to_vec());
        at += 16 + number(at + 8);
    }
    frames
}

/// What a frame of the fabric may be: address resolution and group membership, or WireGuard. `None`: nothing of that.
pub fn classify(frame: &[u8]) -> Option<Option<Message>> {
    let headers = Headers::parse(frame).ok()?;
    let network = &frame[headers.network_at..];
    match (headers.network, headers.transport) {
        (Network::Other, _) => (number16(frame, 12) == 0x0806).then_some(None),
        (Network::V6, Transport::Opaque) => {
            (frame.get(headers.transport_at)? >= &130 && (network[6] == 58 || network[6] == 0)).then_some(None)
        }
        // "Port unreachable" of a host whose tunnel does not run quotes the beginning of what came, which must be WireGuard too.
        (Network::V4, Transport::Opaque) => {
            let quote =
                frame[headers.transport_at..headers.end].get(8..).filter(|_| network[9] == 1 && frame[headers.transport_at] == 3)?;
            let (ports, kind) = (quote.get(20..24)?, quote.get(28..32)?);
            let ours = quote[9] == 17 && number16(ports, 2) == PORT && matches!(kind, [1..=4, 0, 0, 0]);
            ours.then_some(None)
        }
        (_, Transport::Udp) => {
            let (at, end) = (headers.transport_at, headers.end);
            let ours = number16(frame, at) == PORT || number16(frame, at + 2) == PORT;
            // The kernel's tap sees datagrams before they are cut; each of the pieces is looked at by the receiver.
            ours.then(|| Message::of(&frame[at + 8..end])).flatten().map(Some)
        }
        _ => None,
    }
}

/// Fails when a frame is neither WireGuard nor address resolution, or contains the marker. Gives the WireGuard messages.
pub fn assert_closed(frames: &[Vec<u8>], marker: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    for frame in frames {
        let kind = classify(frame).unwrap_or_else(|| panic!("neither WireGuard nor address resolution: {frame:02x?}"));
        messages.extend(kind);
        assert!(!frame.windows(marker.len()).any(|bytes| bytes == marker), "the marker is on the fabric");
    }
    messages
}
