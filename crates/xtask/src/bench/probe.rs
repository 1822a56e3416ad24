//! A prober inside a container's network: an ICMP echo request (and a question for a name) every millisecond until a reply comes.
//!
//! It runs on a thread of this process that has entered the container's network namespace, so that each probe is sent when it is
//! due and each reply is seen when it comes. It enters nothing else and changes nothing there.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, socket};
use nix::sys::time::TimeSpec;

/// Between two probes.
const INTERVAL: Duration = Duration::from_millis(1);
/// Where containers ask for names.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
/// More than any reply that matters.
const LONGEST_REPLY: usize = 1500;
/// ICMP's types (RFC 792).
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// What is probed.
#[derive(Clone, Debug)]
pub enum Target {
    /// An address.
    Address(Ipv4Addr),
    /// A name, whose address is asked for first.
    Name(String),
}

/// A prober at work.
#[derive(Debug)]
pub struct Probe {
    worker: JoinHandle<anyhow::Result<Instant>>,
}

impl Probe {
    /// Starts to probe in the network namespace at `namespace`, once its first probe is out; for at most `deadline`.
    pub fn start(namespace: PathBuf, target: Target, deadline: Duration) -> anyhow::Result<Self> {
        let (ready, is_ready) = channel();
        let worker = std::thread::Builder::new().name("probe".into()).spawn(move || probe(&namespace, &target, deadline, ready))?;
        if is_ready.recv().is_err() {
            let outcome = worker.join().map_err(|_| anyhow::anyhow!("the prober panicked"))?;
            outcome?;
            bail!("the prober has ended at once");
        }
        Ok(Self { worker })
    }

    /// When the first reply came.
    pub fn first_reply(self) -> anyhow::Result<Instant> {
        self.worker.join().map_err(|_| anyhow::anyhow!("the prober panicked"))?
    }
}

fn probe(namespace: &Path, target: &Target, deadline: Duration, ready: Sender<()>) -> anyhow::Result<Instant> {
    let file = File::open(namespace).with_context(|| format!("could not open `{}`", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).context("could not enter the container's network")?;
    let echoes = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::Icmp).context("no raw socket")?;
    let names = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    names.set_nonblocking(true)?;
    let mut address = match target {
        Target::Address(address) => Some(*address),
        Target::Name(_) => None,
    };
    let begin = Instant::now();
    let mut number = 0_u16;
    while begin.elapsed() < deadline {
        let due = begin + INTERVAL * u32::from(number);
        // The name is asked for until the reply: at first the answer may be where the container was before.
        if let Target::Name(name) = target {
            ask(&names, name, number)?;
        }
        if let Some(address) = address {
            send_echo(&echoes, address, number)?;
        }
        if number == 0 {
            let _ = ready.send(());
        }
        number = number.wrapping_add(1);
        while let Some(left) = (due + INTERVAL).checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            wait(&echoes, &names, left)?;
            if let Some(asked) = address
                && replied(&echoes, asked)?
            {
                return Ok(Instant::now());
            }
            if let Some(found) = answered(&names)?
                && address.replace(found) != Some(found)
            {
                send_echo(&echoes, found, number)?;
            }
        }
    }
    bail!("no reply within {} s", deadline.as_secs())
}

/// Waits until one of them has something, or the next probe is due; to the microsecond, since a millisecond is the interval.
fn wait(echoes: &OwnedFd, names: &UdpSocket, left: Duration) -> anyhow::Result<()> {
    let mut both = [PollFd::new(echoes.as_fd(), PollFlags::POLLIN), PollFd::new(names.as_fd(), PollFlags::POLLIN)];
    match ppoll(&mut both, Some(TimeSpec::from_duration(left)), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("could not wait for a reply"),
    }
}

fn send_echo(echoes: &OwnedFd, address: Ipv4Addr, number: u16) -> anyhow::Result<()> {
    let octets = address.octets();
    let to = SockaddrIn::new(octets[0], octets[1], octets[2], octets[3], 0);
    match sendto(echoes.as_raw_fd(), &echo_request(number), &to, MsgFlags::empty()) {
        // Nobody there yet, or more probes on the way than the queue holds: the next one is soon.
        Ok(_) | Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("could not send a probe"),
    }
}

/// Takes what has come, until a reply of that address.
fn replied(echoes: &OwnedFd, asked: Ipv4Addr) -> anyhow::Result<bool> {
    let mut packet = [0; LONGEST_REPLY];
    loop {
        match recv(echoes.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(length) if is_echo_reply(&packet[..length], asked) => return Ok(true),
            Ok(_) | Err(Errno::EHOSTUNREACH | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            Err(error) => return Err(error).context("could not receive a reply"),
        }
    }
}

fn ask(names: &UdpSocket, name: &str, number: u16) -> anyhow::Result<()> {
    match names.send_to(&question(name, number), RESOLVER) {
        Err(error) if !is_passing(&error) => Err(error).context("could not ask for the name"),
        _ => Ok(()),
    }
}

/// Takes what has come, until an answer with an address.
fn answered(names: &UdpSocket) -> anyhow::Result<Option<Ipv4Addr>> {
    let mut message = [0; LONGEST_REPLY];
    loop {
        match names.recv(&mut message) {
            Ok(length) => {
                if let Some(address) = address_in(&message[..length]) {
                    return Ok(Some(address));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error).context("could not receive an answer"),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused)
}

/// An echo request without a payload (RFC 792), with its checksum (RFC 1071).
fn echo_request(number: u16) -> [u8; 8] {
    let [high, low] = number.to_be_bytes();
    let mut packet = [ECHO_REQUEST, 0, 0, 0, b'r', b'c', high, low];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

/// Whether an IPv4 packet is our echo's reply from that address.
fn is_echo_reply(packet: &[u8], from: Ipv4Addr) -> bool {
    let header = usize::from(packet.first().map_or(0, |first| first & 0xf)) * 4;
    let Some(message) = packet.get(header..header + 8).filter(|_| header >= 20) else { return false };
    packet[12..16] == from.octets() && message[0] == ECHO_REPLY && message[4..6] == *b"rc"
}

/// A question for a name's A records (RFC 1035 section 4.1).
fn question(name: &str, number: u16) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The address of an answer's first record, if that is an A record after one question; the record's name is a pointer.
fn address_in(message: &[u8]) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes([*message.get(6)?, *message.get(7)?]);
    let question = message.get(12..)?;
    let name = question.iter().position(|byte| *byte == 0)? + 1;
    let record = question.get(name + 4..)?;
    let owner = if *record.first()? & 0xc0 == 0xc0 { 2 } else { record.iter().position(|byte| *byte == 0)? + 1 };
    let rest = record.get(owner..)?;
    let is_address = answers > 0 && rest.get(..4)? == [0, 1, 0, 1] && rest.get(8..10)? == [0, 4];
    let octets: [u8; 4] = rest.get(10..14)?.try_into().ok()?;
    is_address.then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_all_ones() {
        let sum: u32 = echo_request(0x1234).chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_reply_counts_only_from_the_address_that_was_asked() {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[10, 0, 0, 2]);
        packet[24..26].copy_from_slice(b"rc");
        assert!(is_echo_reply(&packet, Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!is_echo_reply(&packet, Ipv4Addr::new(10, 0, 0, 3)));
        packet[20] = ECHO_REQUEST;
        assert!(!is_echo_reply(&packet, Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!is_echo_reply(&packet[..20], Ipv4Addr::new(10, 0, 0, 2)));
    }

    #[test]
    fn the_address_is_found_in_an_answer_and_not_in_a_question() {
        let mut message = question("web", 7);
        assert_eq!(address_in(&message), None);
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 9]);
        assert_eq!(address_in(&message), Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(address_in(&message[..message.len() - 1]), None);
    }
}
