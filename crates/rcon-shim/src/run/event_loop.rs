//! The shim's state, and the loop that waits for something to happen to it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    fcntl::Flock,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use oci_spec::runtime::Process;
use rcon_oci::shim::{ExitRecord, MAX_DATA_BYTES, Readiness, RunDirectory, ShimOptions, ShimStatus};

use super::{
    client::{Client, Role},
    creation::{abandon, create_container, listen, lock, specified_process},
    error::RunError,
    log_file::LogFile,
    memory::OomCounter,
    runtime::Runtime,
    streams::{Chunk, Streams},
};

/// Connections at once; further ones are closed.
const MAX_CLIENTS: usize = 256;

/// How long a full attachment may hold the container's output up; then it is dropped.
const ATTACHMENT_STALL: Duration = Duration::from_secs(2);

/// A process that runs in the container beside its first.
pub struct Exec {
    /// The client it belongs to.
    pub client: u64,
    /// Its process id, once the runtime has started it.
    pub pid: Option<i32>,
    /// Its streams; of a terminal, once the runtime has sent it.
    pub streams: Streams,
    /// The terminal's first size and where it comes from, until the runtime has started the process.
    pub starting: Option<super::requests::StartingExec>,
    /// When it was started, nanoseconds since 1970.
    pub started_at_ns: u64,
    /// How it ended; its output may not be read yet.
    pub exit: Option<ExitRecord>,
}

/// A command of the OCI runtime that is being executed.
pub enum Job {
    /// `start`, asked for by a client.
    Start(u64),
    /// `exec`.
    Exec(u64),
    /// `delete`.
    Delete,
}

/// How and when a child ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its status, or 128 and the signal.
    pub exit_code: i32,
    /// The signal.
    pub signal: Option<i32>,
    /// When that was seen, nanoseconds since 1970.
    pub at_ns: u64,
}

/// The shim.
pub struct Shim {
    pub(super) id: String,
    pub(super) run_dir: RunDirectory,
    pub(super) runtime: Runtime,
    /// The container's first process, as specified.
    pub(super) process: Process,
    pub(super) pid: i32,
    pub(super) status: ShimStatus,
    pub(super) started_at_ns: u64,
    pub(super) streams: Streams,
    pub(super) stdin_once: bool,
    pub(super) first_ended: Option<Ended>,
    pub(super) exit: Option<ExitRecord>,
    pub(super) ended_at: Option<Instant>,
    pub(super) removed: bool,
    pub(super) left: bool,
    pub(super) log: Option<LogFile>,
    pub(super) oom: Option<OomCounter>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) execs: BTreeMap<u64, Exec>,
    pub(super) jobs: HashMap<i32, Job>,
    /// Children that ended before we knew what they were: of an exec whose runtime has not answered yet.
    pub(super) unclaimed: HashMap<i32, Ended>,
    pub(super) next_number: u64,
    listener: UnixListener,
    signals: SignalFd,
    /// Held for as long as the shim lives.
    _lock: Flock<fs::File>,
}

/// What a descriptor in the loop belongs to.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    FirstInput,
    FirstOutput(usize),
    ExecInput(u64),
    ExecOutput(u64, usize),
    Client(u64),
}

/// What to wait for.
#[derive(Default)]
struct Watch<'a> {
    sources: Vec<Source>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Watch<'a> {
    fn add(&mut self, source: Source, fd: Option<BorrowedFd<'a>>, events: PollFlags) {
        if let Some(fd) = fd {
            self.sources.push(source);
            self.fds.push(PollFd::new(fd, events));
        }
    }

    /// What has happened.
    fn wait(mut self, timeout: PollTimeout) -> Result<Vec<(Source, PollFlags)>, RunError> {
        match poll(&mut self.fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(RunError::System { action: "wait for events", source: errno.into() }),
        }
        let events = self.fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(self.sources.iter().copied().zip(events).filter(|(_, events)| !events.is_empty()).collect())
    }
}

impl Shim {
    /// Creates the container.
    pub fn create(options: &ShimOptions) -> Result<Self, RunError> {
        for path in [&options.bundle, &options.run_dir].into_iter().chain(&options.log).chain(&options.runtime) {
            if !path.is_absolute() {
                return Err(RunError::RelativePath { path: path.clone() });
            }
        }
        let run_dir = RunDirectory::new(&options.run_dir);
        let lock = lock(&run_dir)?;
        let process = specified_process(&options.bundle)?;
        let log = options.log.clone().map(LogFile::open).transpose()?;
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            signals.add(signal);
        }
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let signals = signals.map_err(|errno| RunError::System { action: "take signals by descriptor", source: errno.into() })?;
        let runtime = Runtime::new(options, &run_dir);
        let (streams, pid) = create_container(options, &run_dir, &runtime, &process, &signals)?;
        let listener = listen(&run_dir).inspect_err(|_| abandon(&runtime, &signals))?;
        Ok(Self {
            id: options.id.clone(),
            runtime,
            process,
            pid,
            status: ShimStatus::Created,
            started_at_ns: 0,
            streams,
            stdin_once: options.stdin_once,
            first_ended: None,
            exit: None,
            ended_at: None,
            removed: false,
            left: false,
            log,
            oom: OomCounter::of_process(pid),
            clients: BTreeMap::new(),
            execs: BTreeMap::new(),
            jobs: HashMap::new(),
            unclaimed: HashMap::new(),
            next_number: 1,
            listener,
            signals,
            run_dir,
            _lock: lock,
        })
    }

    /// What to tell the starter.
    pub fn readiness(&self) -> Readiness {
        Readiness::Ready { shim_pid: own_pid(), pid: self.pid }
    }

    /// Serves until the container has ended and the daemon knows, or had time to.
    pub fn run(&mut self) -> Result<(), RunError> {
        let mut buffer = Box::new([0; MAX_DATA_BYTES]);
        // A child may have ended while the container was created, when nobody looked.
        self.reap();
        while !self.left {
            let ready = self.wait()?;
            for (source, events) in ready {
                self.handle(source, events, &mut buffer);
            }
            self.drop_stalled();
            self.drain(&mut buffer);
            self.conclude();
            self.clients.retain(|_, client| !client.is_done());
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, RunError> {
        let mut watch = Watch::default();
        watch.add(Source::Signals, Some(self.signals.as_fd()), PollFlags::POLLIN);
        watch.add(Source::Listener, Some(self.listener.as_fd()), PollFlags::POLLIN);
        watch.add(Source::FirstInput, self.streams.input.wants_write(), PollFlags::POLLOUT);
        if !self.attachments_full() {
            for (index, output) in self.streams.outputs.iter().enumerate() {
                watch.add(Source::FirstOutput(index), output.wants_read(), PollFlags::POLLIN);
            }
        }
        for (number, exec) in &self.execs {
            watch.add(Source::ExecInput(*number), exec.streams.input.wants_write(), PollFlags::POLLOUT);
            if exec.starting.is_none() && !self.clients.get(&exec.client).is_some_and(Client::is_full) {
                for (index, output) in exec.streams.outputs.iter().enumerate() {
                    watch.add(Source::ExecOutput(*number, index), output.wants_read(), PollFlags::POLLIN);
                }
            }
        }
        for (number, client) in &self.clients {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, client.wants_read() && !self.input_full(client.role));
            events.set(PollFlags::POLLOUT, client.wants_write());
            watch.add(Source::Client(*number), Some(client.fd()), events);
        }
        watch.wait(self.timeout())
    }

    fn handle(&mut self, source: Source, events: PollFlags, buffer: &mut [u8; MAX_DATA_BYTES]) {
        match source {
            Source::Signals => {
                while let Ok(Some(_)) = self.signals.read_signal() {}
                self.reap();
            }
            Source::Listener => self.accept(),
            Source::FirstInput => self.streams.input.flush(),
            Source::FirstOutput(index) => drop(self.pump_first(index, buffer)),
            Source::ExecInput(number) => {
                if let Some(exec) = self.execs.get_mut(&number) {
                    exec.streams.input.flush();
                }
            }
            Source::ExecOutput(number, index) => drop(self.pump_exec(number, index, buffer)),
            Source::Client(number) => self.handle_client(number, events, buffer),
        }
    }

    fn handle_client(&mut self, number: u64, events: PollFlags, buffer: &mut [u8; MAX_DATA_BYTES]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if events.contains(PollFlags::POLLOUT) {
            client.flush();
        }
        if events.contains(PollFlags::POLLIN) {
            let ended = client.read(buffer);
            self.serve(number);
            if ended {
                self.input_ended(number);
            }
        } else if events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
            client.break_off();
        }
        if self.clients.get(&number).is_some_and(Client::is_done) {
            self.input_ended(number);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < MAX_CLIENTS
                && let Ok(client) = Client::new(stream)
            {
                let number = self.number();
                self.clients.insert(number, client);
            }
        }
    }

    /// Takes the status of every child that has ended.
    pub(super) fn reap(&mut self) {
        loop {
            let (pid, exit_code, signal) = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid.as_raw(), status, None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            self.child_ended(pid, Ended { exit_code, signal, at_ns: now_ns() });
        }
    }

    /// Passes on what one of the container's streams has; whether there was anything.
    pub(super) fn pump_first(&mut self, index: usize, buffer: &mut [u8; MAX_DATA_BYTES]) -> bool {
        let Some(output) = self.streams.outputs.get_mut(index) else { return false };
        let stream = output.stream;
        match output.read(buffer) {
            Chunk::Data(len) => {
                let bytes = &buffer[..len];
                if let Some(log) = &mut self.log {
                    log.write(stream, bytes, now_ns());
                }
                for client in self.clients.values_mut() {
                    if wants(client.role, stream) {
                        client.output(stream, bytes);
                    }
                }
                true
            }
            Chunk::Nothing => {
                if self.first_ended.is_some() {
                    output.close();
                }
                false
            }
            Chunk::End => false,
        }
    }

    /// Passes on what one of an exec's streams has; whether there was anything.
    pub(super) fn pump_exec(&mut self, number: u64, index: usize, buffer: &mut [u8; MAX_DATA_BYTES]) -> bool {
        let Some(exec) = self.execs.get_mut(&number) else { return false };
        let Some(output) = exec.streams.outputs.get_mut(index) else { return false };
        let stream = output.stream;
        match output.read(buffer) {
            Chunk::Data(len) => {
                // Of a client that is gone, the output is dropped: its process goes on.
                if let Some(client) = self.clients.get_mut(&exec.client).filter(|client| client.role == Role::Exec(number)) {
                    client.output(stream, &buffer[..len]);
                }
                true
            }
            Chunk::Nothing => {
                if exec.exit.is_some() {
                    output.close();
                }
                false
            }
            Chunk::End => false,
        }
    }

    /// Whether an attachment holds the container's output up for now.
    pub(super) fn attachments_full(&self) -> bool {
        self.clients.values().any(|client| matches!(client.role, Role::Attached(_)) && client.full_since.is_some())
    }

    /// Whether what a client sends has nowhere to go for now.
    fn input_full(&self, role: Role) -> bool {
        match role {
            Role::Attached(_) => self.streams.input.is_full(),
            Role::Exec(number) => self.execs.get(&number).is_some_and(|exec| exec.streams.input.is_full()),
            _ => false,
        }
    }

    fn drop_stalled(&mut self) {
        for client in self.clients.values_mut() {
            if matches!(client.role, Role::Attached(_)) && client.full_since.is_some_and(|since| since.elapsed() >= ATTACHMENT_STALL) {
                client.finish(&rcon_oci::shim::Response::Lagged);
            }
        }
    }

    fn timeout(&self) -> PollTimeout {
        let stalls = self.clients.values().filter_map(|client| client.full_since).map(|since| since + ATTACHMENT_STALL);
        let next = stalls.chain(self.leaving_at()).min();
        next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

fn wants(role: Role, stream: rcon_oci::log::LogStream) -> bool {
    match (role, stream) {
        (Role::Attached(streams), rcon_oci::log::LogStream::Stdout) => streams.stdout,
        (Role::Attached(streams), rcon_oci::log::LogStream::Stderr) => streams.stderr,
        _ => false,
    }
}

/// This process.
pub(super) fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
