//! A netlink socket, used by one thread and blocking: requests in batches, dumps, and transactions of nf_tables.
//!
//! It belongs for ever to the namespace of the thread that opened it.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::{
    socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket, sockopt},
    time::{TimeVal, TimeValLike},
};

/// How long the kernel may take for one answer; it answers at once, or the answer was lost.
const ANSWER_TIMEOUT_S: i64 = 10;
/// Larger than any message of the kernel (`NLMSG_GOODSIZE` and dumps of at most 32 KiB, `net/netlink/af_netlink.c`).
const RECEIVE_BYTES: usize = 64 << 10;
/// Room for answers that were not read yet.
const RECEIVE_QUEUE_BYTES: usize = 4 << 20;
/// Most requests whose acknowledgements are outstanding.
const BATCH: usize = 128;
/// How often a dump is repeated that was torn by a change in its middle.
const DUMP_ATTEMPTS: usize = 5;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A message without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`, beyond those that the operation sets.
    pub(crate) flags: u16,
    /// What follows the header.
    pub(crate) body: Vec<u8>,
}

/// A message of a dump: `nlmsg_type`, and what follows the header.
pub(crate) type Found = (u16, Vec<u8>);

/// The socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// For links, addresses, neighbours and routes of the calling thread's namespace.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute, 0)
    }

    /// For the firewall and connections of the calling thread's namespace.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter, 0)
    }

    /// For families that are found by name, such as WireGuard's.
    pub(crate) fn generic() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkGeneric, 0)
    }

    /// That hears of changes: `groups` is a mask as in `struct sockaddr_nl`.
    pub(crate) fn monitor(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        Self::open(protocol, groups)
    }

    fn open(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_TIMEOUT_S))?;
        setsockopt(&descriptor, sockopt::RcvBuf, &RECEIVE_QUEUE_BYTES)?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { descriptor, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// To wait for messages on a monitor.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Carries out each message; the results have their order. Fails as a whole only when the socket does.
    pub(crate) fn batch(&mut self, messages: &[Message]) -> io::Result<Vec<io::Result<()>>> {
        let mut results = Vec::with_capacity(messages.len());
        for chunk in messages.chunks(BATCH) {
            let mut bytes = Vec::new();
            let first = self.sequence.wrapping_add(1);
            for message in chunk {
                self.append(&mut bytes, message, libc::NLM_F_REQUEST | libc::NLM_F_ACK);
            }
            self.send(&bytes)?;
            let mut answers = self.acknowledgements(first, chunk.len())?;
            results.extend((0..chunk.len()).map(|offset| answers.remove(&offset).unwrap_or(Ok(()))));
        }
        Ok(results)
    }

    /// Carries out one message.
    pub(crate) fn execute(&mut self, message: Message) -> io::Result<()> {
        self.batch(&[message])?.pop().unwrap_or(Ok(()))
    }

    /// Carries out all messages or none; `begin` and `end` frame them (`NFNL_MSG_BATCH_BEGIN`).
    pub(crate) fn transaction(&mut self, begin: &Message, messages: &[Message], end: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, begin, libc::NLM_F_REQUEST);
        let first = self.sequence.wrapping_add(1);
        for message in messages {
            self.append(&mut bytes, message, libc::NLM_F_REQUEST | libc::NLM_F_ACK);
        }
        self.append(&mut bytes, end, libc::NLM_F_REQUEST);
        self.send(&bytes)?;
        self.acknowledgements(first, messages.len())?.into_values().collect()
    }

    /// Everything of a kind: types and bodies.
    pub(crate) fn dump(&mut self, message: &Message) -> io::Result<Vec<Found>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut bytes = Vec::new();
            self.append(&mut bytes, message, libc::NLM_F_REQUEST | libc::NLM_F_DUMP);
            self.send(&bytes)?;
            if let Some(found) = self.collect_dump()? {
                return Ok(found);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the kernel's tables changed during each of several dumps"))
    }

    /// The one answer to a question.
    pub(crate) fn get(&mut self, message: &Message) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, message, libc::NLM_F_REQUEST);
        self.send(&bytes)?;
        let sequence = self.sequence;
        loop {
            for received in self.receive()? {
                if received.sequence == sequence {
                    received.check()?;
                    return Ok(received.body);
                }
            }
        }
    }

    /// The messages that are there, on a monitor; `Err` with `WouldBlock` when there are none, `ENOBUFS` when some were lost.
    pub(crate) fn heard(&mut self) -> io::Result<Vec<Found>> {
        let length = recv(self.descriptor.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT)?;
        Ok(parse(&self.buffer[..length]).into_iter().map(|received| (received.kind, received.body)).collect())
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: &Message, flags: libc::c_int) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + message.body.len()).unwrap_or(u32::MAX);
        let flags = message.flags | u16::try_from(flags).unwrap_or(0);
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&message.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&message.body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(self.descriptor.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<Received>> {
        match recv(self.descriptor.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
            Ok(length) => Ok(parse(&self.buffer[..length])),
            Err(nix::errno::Errno::EAGAIN) => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer")),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Results by position behind `first`. An error on the frame of a transaction is everybody's.
    fn acknowledgements(&mut self, first: u32, count: usize) -> io::Result<BTreeMap<usize, io::Result<()>>> {
        let mut results = BTreeMap::new();
        while results.len() < count {
            for received in self.receive()? {
                let offset = received.sequence.wrapping_sub(first) as usize;
                if offset < count {
                    results.insert(offset, received.check());
                } else if received.sequence == first.wrapping_sub(1) || offset == count {
                    received.check()?;
                }
            }
        }
        Ok(results)
    }

    /// `None` when the dump was torn.
    fn collect_dump(&mut self) -> io::Result<Option<Vec<Found>>> {
        let sequence = self.sequence;
        let (mut found, mut torn) = (Vec::new(), false);
        loop {
            for received in self.receive()? {
                if received.sequence != sequence {
                    continue;
                }
                torn |= i32::from(received.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(received.kind) {
                    libc::NLMSG_DONE => return Ok((!torn).then_some(found)),
                    libc::NLMSG_ERROR => received.check()?,
                    _ => found.push((received.kind, received.body)),
                }
            }
        }
    }
}

/// A message with what matters of its header.
struct Received {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Received {
    /// The error in it, where it is one.
    fn check(&self) -> io::Result<()> {
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            return Ok(());
        }
        let code = self.body.first_chunk::<4>().map_or(-libc::EBADMSG, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Received> {
    let mut messages = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(HEADER) {
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        messages.push(Received { kind: half(4), flags: half(6), sequence: word(8), body: body.to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}
