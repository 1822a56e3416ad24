//! What clients ask for, and what their streams carry.

use std::{fs, path::PathBuf};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use oci_spec::runtime::{BoxBuilder, Process, UserBuilder};
use rcon_oci::shim::{ExecProcess, Frame, PROTOCOL_VERSION, Request, Response, ShimState, ShimStatus, StreamSet, WindowSize};
use rcon_types::{Failure, FailureKind};

use super::{
    client::Role,
    event_loop::{Exec, Job, Shim, now_ns, own_pid},
    runtime::CallFiles,
    streams::{ProcessEnds, Streams},
    terminal::{ConsoleSocket, resize},
};

/// Processes of execs at once.
const MAX_EXECS: usize = 1024;

/// What an exec needs until the runtime has started it.
pub struct StartingExec {
    /// Gets the process id.
    pub pid_file: PathBuf,
    /// The process as the runtime reads it.
    pub process_file: PathBuf,
    /// Where the terminal comes from.
    pub console: Option<ConsoleSocket>,
    /// The terminal's first size.
    pub size: Option<WindowSize>,
}

impl StartingExec {
    fn remove_files(&self) {
        let _ = fs::remove_file(&self.pid_file);
        let _ = fs::remove_file(&self.process_file);
    }
}

impl Drop for StartingExec {
    fn drop(&mut self) {
        self.remove_files();
    }
}

fn refuse(kind: FailureKind, message: &str) -> Response {
    Response::Failed { failure: Failure::new(kind, message), exit_code: None }
}

impl Shim {
    /// Handles the frames that a client has sent, as far as it may go on.
    pub(super) fn serve(&mut self, number: u64) {
        loop {
            let Some(client) = self.clients.get_mut(&number) else { return };
            if matches!(client.role, Role::Busy | Role::Waiting | Role::Leaving | Role::Closing) {
                return;
            }
            let role = client.role;
            let Some(frame) = client.next_frame() else { return };
            match (role, frame) {
                (Role::New | Role::Idle, Frame::Message(bytes)) => self.request(number, role, &bytes),
                (Role::Attached(streams), Frame::Stdin(bytes)) if streams.stdin => self.streams.input.push(&bytes),
                (Role::Attached(_), Frame::StdinClosed) => self.attached_input_ended(),
                (Role::Attached(_), Frame::Message(bytes)) => self.attached_message(number, &bytes),
                (Role::Exec(exec), frame) => self.exec_frame(exec, frame),
                _ => self.break_off(number),
            }
        }
    }

    fn request(&mut self, number: u64, role: Role, bytes: &[u8]) {
        let request = match Request::from_bytes(bytes) {
            Ok(request) => request,
            Err(error) => {
                let failure = Failure::from_error(FailureKind::InvalidArgument, &error);
                return self.respond(number, &Response::Failed { failure, exit_code: None });
            }
        };
        match (role, request) {
            (Role::New, Request::Hello { .. }) => {
                self.set_role(number, Role::Idle);
                self.respond(number, &Response::Hello { version: PROTOCOL_VERSION, id: self.id.clone() });
            }
            (Role::New, _) => self.respond(number, &refuse(FailureKind::FailedPrecondition, "the first request must be hello")),
            (_, Request::Hello { .. }) => self.respond(number, &refuse(FailureKind::InvalidArgument, "hello was said already")),
            (_, Request::State) => {
                let state = self.state();
                self.respond(number, &Response::State { state });
            }
            (_, Request::Start) => self.start(number),
            (_, Request::Kill { signal }) => {
                let response = self.kill_first(signal);
                self.respond(number, &response);
            }
            (_, Request::Exec { process }) => self.exec(number, &process),
            (_, Request::Attach { streams }) => self.attach(number, streams),
            (_, Request::Resize { size }) => {
                let response = resize_response(&self.streams, size);
                self.respond(number, &response);
            }
            (_, Request::CloseStdin) => {
                self.streams.input.close();
                self.respond(number, &Response::Done);
            }
            (_, Request::Wait) => match self.exit.clone() {
                Some(exit) => self.respond(number, &Response::Exited { exit }),
                None => self.set_role(number, Role::Waiting),
            },
            (_, Request::Shutdown { force }) => self.shutdown(number, force),
        }
    }

    fn state(&self) -> ShimState {
        ShimState {
            status: self.status,
            shim_pid: own_pid(),
            pid: if self.first_ended.is_some() { 0 } else { self.pid },
            started_at_ns: self.started_at_ns,
            exit: self.exit.clone(),
            execs: u32::try_from(self.execs.len()).unwrap_or(u32::MAX),
            oom_killed: self.exit.as_ref().map_or_else(|| self.oom.as_ref().is_some_and(|oom| oom.counted()), |exit| exit.oom_killed),
            lost_log_records: self.log.as_ref().map_or(0, |log| log.lost_records()),
        }
    }

    fn start(&mut self, number: u64) {
        let starting = self.jobs.values().any(|job| matches!(job, Job::Start(_)));
        if self.status != ShimStatus::Created || self.first_ended.is_some() || starting {
            return self.respond(number, &refuse(FailureKind::FailedPrecondition, "the container was started already"));
        }
        match self.runtime.start() {
            Ok(call) => {
                self.started_at_ns = now_ns();
                self.jobs.insert(call.as_raw(), Job::Start(number));
                self.set_role(number, Role::Busy);
            }
            Err(error) => self.respond(number, &Response::Failed { failure: error.failure(), exit_code: error.exit_code() }),
        }
    }

    fn kill_first(&self, signal: i32) -> Response {
        // The process is our child and not reaped, so that its id cannot be another's.
        if self.first_ended.is_some() {
            return refuse(FailureKind::FailedPrecondition, "the container has ended");
        }
        signal_process(self.pid, signal)
    }

    fn attach(&mut self, number: u64, streams: StreamSet) {
        if let Some(exit) = self.exit.clone() {
            self.respond(number, &Response::Attached);
            return self.finish(number, &Response::Exited { exit });
        }
        if streams.stdin && !self.streams.input.is_open() {
            return self.respond(number, &refuse(FailureKind::FailedPrecondition, "the container's standard input is not open"));
        }
        self.set_role(number, Role::Attached(streams));
        self.respond(number, &Response::Attached);
    }

    fn attached_message(&mut self, number: u64, bytes: &[u8]) {
        match Request::from_bytes(bytes) {
            Ok(Request::Resize { size }) => drop(resize_response(&self.streams, size)),
            Ok(Request::Kill { signal }) => drop(self.kill_first(signal)),
            _ => self.break_off(number),
        }
    }

    /// `docker run -i`: the end of the client's input is that of the container's.
    fn attached_input_ended(&mut self) {
        if self.stdin_once {
            self.streams.input.close();
        }
    }

    fn exec_frame(&mut self, number: u64, frame: Frame) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        match frame {
            Frame::Stdin(bytes) => exec.streams.input.push(&bytes),
            Frame::StdinClosed => exec.streams.input.close(),
            Frame::Message(bytes) => match Request::from_bytes(&bytes) {
                Ok(Request::Resize { size }) => drop(resize_response(&exec.streams, size)),
                Ok(Request::Kill { signal }) => {
                    if let (Some(pid), None) = (exec.pid, &exec.exit) {
                        let _ = signal_process(pid, signal);
                    }
                }
                _ => {
                    let client = exec.client;
                    self.break_off(client);
                }
            },
            Frame::Stdout(_) | Frame::Stderr(_) => {
                let client = exec.client;
                self.break_off(client);
            }
        }
    }

    /// A client sends nothing any more, or is gone.
    pub(super) fn input_ended(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match client.role {
            Role::Exec(exec) => {
                if let Some(exec) = self.execs.get_mut(&exec) {
                    exec.streams.input.close();
                }
            }
            Role::Attached(streams) if streams.stdin => self.attached_input_ended(),
            Role::Attached(_) | Role::Busy | Role::Waiting | Role::Leaving | Role::Closing => {}
            Role::New | Role::Idle => client.break_off(),
        }
    }

    fn exec(&mut self, number: u64, wanted: &ExecProcess) {
        if self.status != ShimStatus::Running || self.first_ended.is_some() {
            return self.respond(number, &refuse(FailureKind::FailedPrecondition, "the container is not running"));
        }
        if self.execs.len() >= MAX_EXECS {
            return self.respond(number, &refuse(FailureKind::ResourceExhausted, "too many processes were started in the container"));
        }
        match self.begin_exec(number, wanted) {
            Ok((call, exec)) => {
                let exec_number = self.number();
                self.execs.insert(exec_number, exec);
                self.jobs.insert(call, Job::Exec(exec_number));
                self.set_role(number, Role::Busy);
            }
            Err(failure) => self.respond(number, &Response::Failed { failure, exit_code: None }),
        }
    }

    fn begin_exec(&mut self, client: u64, wanted: &ExecProcess) -> Result<(i32, Exec), Failure> {
        let process = exec_process(&self.process, wanted)?;
        let stem = format!("exec-{}", self.number());
        let file = |end: &str| self.run_dir.path().join(format!("{stem}.{end}"));
        let starting =
            StartingExec { pid_file: file("pid"), process_file: file("json"), console: None, size: wanted.size.filter(|_| wanted.tty) };
        let bytes = serde_json::to_vec(&process).map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        fs::write(&starting.process_file, bytes).map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        let mut starting = starting;
        let (mut streams, mut ends) =
            Streams::pipes(wanted.stdin && !wanted.tty).map_err(|error| Failure::from_error(FailureKind::ResourceExhausted, &error))?;
        if wanted.tty {
            let console = ConsoleSocket::bind(self.run_dir.path(), &format!("{stem}.sock")).map_err(|error| error.failure())?;
            starting.console = Some(console);
            (streams, ends) = (Streams::default(), ProcessEnds { stdin: None, stdout: None, stderr: None });
        }
        let console_socket = starting.console.as_ref().map(|console| console.path().to_owned());
        let files = CallFiles { pid_file: starting.pid_file.clone(), console_socket };
        let call = self.runtime.exec(&starting.process_file, &files, ends).map_err(|error| error.failure())?;
        let exec = Exec { client, pid: None, streams, starting: Some(starting), started_at_ns: now_ns(), exit: None };
        Ok((call.as_raw(), exec))
    }

    pub(super) fn respond(&mut self, number: u64, response: &Response) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.respond(response);
        }
    }

    pub(super) fn finish(&mut self, number: u64, response: &Response) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.finish(response);
        }
    }

    pub(super) fn set_role(&mut self, number: u64, role: Role) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.role = role;
        }
    }

    fn break_off(&mut self, number: u64) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.break_off();
        }
    }
}

/// The container's first process, changed to what is wanted: capabilities, limits and the rest are its.
fn exec_process(first: &Process, wanted: &ExecProcess) -> Result<Process, Failure> {
    if wanted.args.first().is_none_or(String::is_empty) {
        return Err(Failure::new(FailureKind::InvalidArgument, "there is no command to run"));
    }
    let mut process = first.clone();
    process.set_args(Some(wanted.args.clone())).set_terminal(Some(wanted.tty));
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = wanted.env.iter().map(|entry| key(entry)).collect();
    let mut env: Vec<String> = first.env().iter().flatten().filter(|entry| !replaced.contains(&key(entry))).cloned().collect();
    env.extend(wanted.env.iter().cloned());
    if wanted.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process.set_env(Some(env));
    if let Some(cwd) = &wanted.cwd {
        process.set_cwd(cwd.into());
    }
    let internal = |error: oci_spec::OciSpecError| Failure::from_error(FailureKind::Internal, &error);
    if let Some(user) = &wanted.user {
        let mut built = UserBuilder::default().uid(user.uid).gid(user.gid).additional_gids(user.additional_gids.clone());
        if let Some(umask) = first.user().umask() {
            built = built.umask(umask);
        }
        process.set_user(built.build().map_err(internal)?);
    }
    let size = wanted.size.filter(|_| wanted.tty);
    let size = size.map(|size| BoxBuilder::default().height(u64::from(size.rows)).width(u64::from(size.columns)).build());
    process.set_console_size(size.transpose().map_err(internal)?);
    Ok(process)
}

fn resize_response(streams: &Streams, size: WindowSize) -> Response {
    match &streams.terminal {
        None => refuse(FailureKind::FailedPrecondition, "there is no terminal"),
        Some(terminal) => match resize(terminal, size) {
            Ok(()) => Response::Done,
            Err(error) => Response::Failed { failure: Failure::from_error(FailureKind::Internal, &error), exit_code: None },
        },
    }
}

fn signal_process(pid: i32, signal: i32) -> Response {
    let Ok(signal) = Signal::try_from(signal) else { return refuse(FailureKind::InvalidArgument, "there is no such signal") };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) => Response::Done,
        Err(errno) => Response::Failed { failure: Failure::from_error(FailureKind::Internal, &errno), exit_code: None },
    }
}
