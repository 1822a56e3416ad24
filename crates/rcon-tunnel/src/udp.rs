//! The UDP socket towards the other nodes: many datagrams in one system call, both ways.
//!
//! One IPv6 socket that takes IPv4 too, or an IPv4 one where the host has no IPv6. Datagrams never get fragmented.

#![allow(unsafe_code)]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use crate::{
    TunnelError,
    limits::{RECEIVE_SLOT, RECEIVE_SLOTS, SOCKET_BUFFER, STOP_CHECK},
};

/// Socket options of `include/uapi/linux/udp.h`.
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;

/// The socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    fd: OwnedFd,
    v6: bool,
    pub(crate) port: u16,
}

/// Datagrams of one size for one receiver (the last may be shorter), lying one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
    /// Bytes of each datagram.
    pub(crate) size: usize,
}

/// Datagrams of one sender, as the kernel has merged them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    /// Where in the buffer they start.
    pub(crate) start: usize,
    /// Bytes of all of them.
    pub(crate) len: usize,
    /// Bytes of each, the last may be shorter; never 0.
    pub(crate) size: usize,
}

impl UdpSocket {
    /// A socket bound to the port on every address.
    pub(crate) fn bind(port: u16) -> Result<Self, TunnelError> {
        let failed = |operation| move |source| TunnelError::Udp { operation, port, source };
        let (fd, v6) = match socket(libc::AF_INET6) {
            Ok(fd) => (fd, true),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => (socket(libc::AF_INET).map_err(failed("open"))?, false),
            Err(error) => return Err(failed("open")(error)),
        };
        if v6 {
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0).map_err(failed("set up"))?;
        }
        let any = if v6 { SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)) } else { SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)) };
        let (name, len) = sockaddr(any, v6);
        // SAFETY: the descriptor is open; `name` holds `len` bytes of an address and lives longer than the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), len) }).map_err(failed("bind"))?;
        let socket = Self { fd, v6, port };
        socket.set_up().map_err(failed("set up"))?;
        Ok(socket)
    }

    /// A socket that a predecessor has passed on.
    pub(crate) fn adopt(fd: OwnedFd, port: u16) -> Result<Self, TunnelError> {
        let failed = |source| TunnelError::Udp { operation: "adopt", port, source };
        let v6 = get_option(&fd, libc::SOL_SOCKET, libc::SO_DOMAIN).map_err(failed)? == libc::AF_INET6;
        let socket = Self { fd, v6, port };
        socket.set_up().map_err(failed)?;
        Ok(socket)
    }

    fn set_up(&self) -> io::Result<()> {
        // With IPv6 the first of these is for the IPv4 traffic of the same socket.
        set_option(&self.fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
        if self.v6 {
            set_option(&self.fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
        }
        for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            // Without CAP_NET_ADMIN over the host the smaller one has to do.
            set_option(&self.fd, libc::SOL_SOCKET, forced, SOCKET_BUFFER)
                .or_else(|_| set_option(&self.fd, libc::SOL_SOCKET, plain, SOCKET_BUFFER))?;
        }
        if let Err(error) = set_option(&self.fd, libc::IPPROTO_UDP, UDP_GRO, 1) {
            tracing::warn!(%error, "this kernel does not merge UDP datagrams (UDP_GRO, Linux 5.0); the tunnel is slower");
        }
        set_receive_timeout(&self.fd, STOP_CHECK)
    }

    /// The descriptor, to pass it on.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sends the runs in order, each as one message that the kernel cuts. Returns how many were sent; `Err` says why the next
    /// one was not.
    pub(crate) fn send(&self, runs: &[Run<'_>]) -> (usize, io::Result<()>) {
        const BATCH: usize = crate::limits::MAX_RUNS;
        let mut sent = 0;
        for batch in runs.chunks(BATCH) {
            let mut messages: [libc::mmsghdr; BATCH] = zeroed_headers();
            let mut parts = [const { SendParts::new() }; BATCH];
            for ((message, part), run) in messages.iter_mut().zip(&mut parts).zip(batch) {
                part.fill(&mut message.msg_hdr, run, self.v6);
            }
            let mut done = 0;
            while done < batch.len() {
                let count = libc::c_uint::try_from(batch.len() - done).unwrap_or(libc::c_uint::MAX);
                // SAFETY: the descriptor is open; the headers from `done` on point into `parts` and the runs' bytes, which live
                // longer than the call; the kernel only reads what they point to.
                let result = unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages[done..].as_mut_ptr(), count, 0) };
                match usize::try_from(result) {
                    Ok(n) => {
                        done += n;
                        sent += n;
                    }
                    Err(_) => match io::Error::last_os_error() {
                        error if error.kind() == io::ErrorKind::Interrupted => {}
                        error => return (sent, Err(error)),
                    },
                }
            }
        }
        (sent, Ok(()))
    }

    /// The largest IP packet that the path to `to` carries, as far as the kernel knows.
    pub(crate) fn path_mtu(&self, to: SocketAddr) -> io::Result<u32> {
        let (family, level, option) = match to {
            SocketAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_IP, libc::IP_MTU),
            SocketAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_IPV6, libc::IPV6_MTU),
        };
        let probe = socket(family)?;
        let (name, len) = sockaddr(to, to.is_ipv6());
        // SAFETY: the descriptor is open; `name` holds `len` bytes of an address and lives longer than the call.
        check(unsafe { libc::connect(probe.as_raw_fd(), (&raw const name).cast(), len) })?;
        let mtu = get_option(&probe, level, option)?;
        u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// The memory that a message's header points to.
struct SendParts {
    name: libc::sockaddr_in6,
    iov: libc::iovec,
    control: Control,
}

/// Room for one control message with an integer, aligned as its header.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control(#[expect(dead_code, reason = "only the kernel and the CMSG functions look inside")] [u8; 32]);

impl SendParts {
    const fn new() -> Self {
        Self {
            // SAFETY: plain data, for which all zeros is a value.
            name: unsafe { MaybeUninit::zeroed().assume_init() },
            iov: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            control: Control([0; 32]),
        }
    }

    /// Points `header` to this memory and this memory to the run.
    fn fill(&mut self, header: &mut libc::msghdr, run: &Run<'_>, v6: bool) {
        let (name, len) = sockaddr(run.to, v6);
        self.name = name;
        self.iov = libc::iovec { iov_base: run.bytes.as_ptr().cast_mut().cast(), iov_len: run.bytes.len() };
        header.msg_name = (&raw mut self.name).cast();
        header.msg_namelen = len;
        header.msg_iov = &raw mut self.iov;
        header.msg_iovlen = 1;
        if run.bytes.len() > run.size {
            let size = u16::try_from(run.size).unwrap_or(u16::MAX);
            header.msg_control = (&raw mut self.control).cast();
            // SAFETY: CMSG_SPACE only computes; a control message with two bytes of data fits into `Control`.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(2) } as _;
            // SAFETY: the header has room for a control message, as set just above, so the pointers stay inside `Control`.
            unsafe {
                let control = libc::CMSG_FIRSTHDR(header);
                (*control).cmsg_level = libc::IPPROTO_UDP;
                (*control).cmsg_type = UDP_SEGMENT;
                (*control).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(control).cast::<u16>().write_unaligned(size);
            }
        }
    }
}

/// Memory for receiving many datagrams in one call.
pub(crate) struct ReceiveBuffer {
    arena: Vec<u8>,
    names: Vec<libc::sockaddr_in6>,
    controls: Vec<Control>,
    iovs: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
    received: Vec<Received>,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self {
            arena: vec![0; RECEIVE_SLOT * RECEIVE_SLOTS],
            // SAFETY: plain data, for which all zeros is a value.
            names: vec![unsafe { std::mem::zeroed() }; RECEIVE_SLOTS],
            controls: vec![Control([0; 32]); RECEIVE_SLOTS],
            iovs: vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; RECEIVE_SLOTS],
            messages: zeroed_headers::<RECEIVE_SLOTS>().to_vec(),
            received: Vec::with_capacity(RECEIVE_SLOTS),
        }
    }

    /// Waits for datagrams, at most [`STOP_CHECK`], and takes all that are there, up to `slots` receives. An empty batch means
    /// that none came.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, slots: usize) -> io::Result<(&mut [u8], &[Received])> {
        let slots = slots.min(RECEIVE_SLOTS);
        self.received.clear();
        for index in 0..slots {
            let slot = &mut self.arena[index * RECEIVE_SLOT..][..RECEIVE_SLOT];
            self.iovs[index] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            let header = &mut self.messages[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut self.iovs[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = size_of::<Control>();
            header.msg_flags = 0;
        }
        let (fd, count) = (socket.fd.as_raw_fd(), libc::c_uint::try_from(slots).unwrap_or(0));
        // SAFETY: the descriptor is open; each of the `slots` headers points to its own part of `arena`, `names`, `controls` and
        // `iovs`, which live in `self` and are not touched otherwise during the call.
        let result = unsafe { libc::recvmmsg(fd, self.messages.as_mut_ptr(), count, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        let Ok(count) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok((&mut self.arena, &self.received)),
                _ => Err(error),
            };
        };
        for index in 0..count.min(slots) {
            self.note(index);
        }
        Ok((&mut self.arena, &self.received))
    }

    fn note(&mut self, index: usize) {
        let (message, name) = (&self.messages[index], &self.names[index]);
        let len = (message.msg_len as usize).min(RECEIVE_SLOT);
        let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let Some(from) = address(name).filter(|_| len > 0 && !truncated) else { return };
        let size = merged_size(&message.msg_hdr).filter(|size| *size > 0).unwrap_or(len);
        self.received.push(Received { from, start: index * RECEIVE_SLOT, len, size });
    }
}

// SAFETY: the pointers in `iovs` and `messages` point into the buffers of the same value and are set anew before each use.
unsafe impl Send for ReceiveBuffer {}

/// The size of the datagrams that the kernel has merged into one receive.
fn merged_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the header comes from recvmmsg, which has set `msg_controllen` to what it wrote to `msg_control`.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give pointers to whole control messages inside the buffer, or null.
        let (level, kind, len) = unsafe { ((*control).cmsg_level, (*control).cmsg_type, (*control).cmsg_len) };
        // SAFETY: CMSG_LEN only computes.
        if level == libc::IPPROTO_UDP && kind == UDP_GRO && len >= unsafe { libc::CMSG_LEN(4) } as usize {
            // SAFETY: the length was checked, so there are four bytes of data.
            let size = unsafe { libc::CMSG_DATA(control).cast::<libc::c_int>().read_unaligned() };
            return usize::try_from(size).ok();
        }
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    None
}

fn zeroed_headers<const N: usize>() -> [libc::mmsghdr; N] {
    // SAFETY: plain data with pointers, for which all zeros is a value.
    unsafe { std::mem::zeroed() }
}

fn socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the value is an int of the given length and lives longer than the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) })
}

fn get_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the value is an int of the given length and lives longer than the call.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

fn set_receive_timeout(fd: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval { tv_sec: timeout.as_secs().cast_signed(), tv_usec: timeout.subsec_micros().into() };
    let len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the value is a timeval of the given length and lives longer than the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const value).cast(), len) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The address as the socket's family wants it: IPv4 as itself, or mapped into IPv6 (RFC 4291 §2.5.5.2).
fn sockaddr(address: SocketAddr, v6: bool) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: plain data, for which all zeros is a value.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    match address {
        SocketAddr::V4(v4) if !v6 => {
            let short = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_in` is smaller than `sockaddr_in6` and needs no more alignment.
            unsafe { (&raw mut name).cast::<libc::sockaddr_in>().write(short) };
            (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        _ => {
            let (ip, scope) = match address {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = address.port().to_be();
            name.sin6_addr.s6_addr = ip.octets();
            name.sin6_scope_id = scope;
            (name, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

/// What the kernel wrote as an address; mapped IPv4 becomes IPv4.
fn address(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddrV4::new(v4, port).into(),
                None => SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into(),
            })
        }
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`, which is smaller.
            let short = unsafe { (&raw const *name).cast::<libc::sockaddr_in>().read() };
            Some(SocketAddrV4::new(u32::from_be(short.sin_addr.s_addr).into(), u16::from_be(short.sin_port)).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_both_families() {
        for text in ["10.0.0.1:51820", "[fd00::1]:4789", "[fe80::1%3]:1"] {
            let there: SocketAddr = text.parse().unwrap();
            assert_eq!(address(&sockaddr(there, true).0), Some(there));
            if there.is_ipv4() {
                assert_eq!(address(&sockaddr(there, false).0), Some(there));
            }
        }
    }

    #[test]
    fn a_run_arrives_as_its_datagrams() {
        let (a, b) = (UdpSocket::bind(0).unwrap(), UdpSocket::bind(0).unwrap());
        let port = std::net::UdpSocket::from(b.fd.try_clone().unwrap()).local_addr().unwrap().port();
        let bytes: Vec<u8> = (0..250_u8).collect();
        let run = Run { to: (Ipv4Addr::LOCALHOST, port).into(), bytes: &bytes, size: 100 };
        assert_eq!(a.send(&[run, run]).0, 2);
        let mut buffer = ReceiveBuffer::new();
        let mut datagrams = Vec::new();
        while datagrams.len() < 6 {
            let (arena, received) = buffer.receive(&b, 8).unwrap();
            for r in received {
                datagrams.extend(arena[r.start..r.start + r.len].chunks(r.size).map(<[u8]>::to_vec));
            }
        }
        assert_eq!(datagrams[1], bytes[100..200]);
        assert_eq!(datagrams[5], bytes[200..]);
        assert!(a.path_mtu((Ipv4Addr::LOCALHOST, port).into()).unwrap() > 1400);
    }
}
