//! How things end: the runtime's commands, execs, the container, the shim itself.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rcon_oci::shim::{ExitRecord, LINGER_MS, MAX_DATA_BYTES, Response, ShimStatus};
use rcon_types::{Failure, FailureKind};

use super::{
    client::{Client, Role},
    creation::read_pid,
    error::RunError,
    event_loop::{Ended, Job, Shim, now_ns},
    streams::Streams,
    terminal::resize,
};

/// How long a slow reader of the last output holds up the end.
const LAST_OUTPUT: Duration = Duration::from_secs(60);

impl Shim {
    /// Finds out what a child was that has ended.
    pub(super) fn child_ended(&mut self, pid: i32, ended: Ended) {
        if let Some(job) = self.jobs.remove(&pid) {
            return self.job_ended(&job, ended.exit_code);
        }
        if pid == self.pid && self.first_ended.is_none() {
            self.first_ended = Some(ended);
            return;
        }
        let known = self.execs.values_mut().find(|exec| exec.pid == Some(pid) && exec.exit.is_none());
        match known {
            Some(exec) => exec.exit = Some(record(ended, exec.started_at_ns)),
            None => {
                // Orphans of the container's are nobody's, unless a runtime is about to tell us of one.
                if self.jobs.values().any(|job| matches!(job, Job::Exec(_))) {
                    self.unclaimed.insert(pid, ended);
                }
            }
        }
    }

    fn job_ended(&mut self, job: &Job, status: i32) {
        match job {
            Job::Start(client) => {
                let response = if status == 0 {
                    self.status = ShimStatus::Running;
                    Response::Done
                } else {
                    self.started_at_ns = 0;
                    failed(&self.runtime.failure("start", status))
                };
                self.set_role(*client, Role::Idle);
                self.respond(*client, &response);
                self.serve(*client);
            }
            Job::Exec(number) => {
                let outcome = self.exec_started(*number, status);
                self.exec_answered(*number, outcome);
                if !self.jobs.values().any(|job| matches!(job, Job::Exec(_))) {
                    self.unclaimed.clear();
                }
            }
            Job::Delete => {
                self.removed = true;
                if status != 0 {
                    eprintln!("error: {}", self.runtime.failure("remove", status).failure());
                }
            }
        }
    }

    fn exec_started(&mut self, number: u64, status: i32) -> Result<i32, RunError> {
        if status != 0 {
            return Err(self.runtime.failure("run a process in", status));
        }
        let Some(exec) = self.execs.get_mut(&number) else { return Ok(0) };
        let Some(mut starting) = exec.starting.take() else { return Ok(0) };
        let pid = read_pid(&starting.pid_file)?;
        exec.pid = Some(pid);
        exec.exit = self.unclaimed.remove(&pid).map(|ended| record(ended, exec.started_at_ns));
        if let Some(console) = starting.console.take() {
            let terminal = console.receive()?;
            if let Some(size) = starting.size {
                let _ = resize(&terminal, size);
            }
            exec.streams = Streams::terminal(terminal).map_err(|source| RunError::System { action: "set up the terminal", source })?;
        }
        Ok(pid)
    }

    fn exec_answered(&mut self, number: u64, outcome: Result<i32, RunError>) {
        let Some(client) = self.execs.get(&number).map(|exec| exec.client) else { return };
        match outcome {
            Ok(pid) => {
                self.set_role(client, Role::Exec(number));
                self.respond(client, &Response::ExecStarted { pid });
                if !self.clients.contains_key(&client)
                    && let Some(exec) = self.execs.get_mut(&number)
                {
                    exec.streams.input.close();
                }
            }
            Err(error) => {
                self.execs.remove(&number);
                self.set_role(client, Role::Idle);
                self.respond(client, &failed(&error));
            }
        }
        self.serve(client);
    }

    /// Reads what processes have left behind that have ended.
    pub(super) fn drain(&mut self, buffer: &mut [u8; MAX_DATA_BYTES]) {
        if self.first_ended.is_some() && self.exit.is_none() {
            for index in 0..self.streams.outputs.len() {
                while !self.attachments_full() && self.pump_first(index, buffer) {}
            }
        }
        let ended: Vec<u64> = self.execs.iter().filter(|(_, exec)| exec.exit.is_some()).map(|(number, _)| *number).collect();
        for number in ended {
            let Some((client, outputs)) = self.execs.get(&number).map(|exec| (exec.client, exec.streams.outputs.len())) else { continue };
            for index in 0..outputs {
                while !self.clients.get(&client).is_some_and(Client::is_full) && self.pump_exec(number, index, buffer) {}
            }
            self.conclude_exec(number);
        }
    }

    fn conclude_exec(&mut self, number: u64) {
        let Some(exec) = self.execs.get(&number).filter(|exec| exec.streams.drained()) else { return };
        let (client, exit) = (exec.client, exec.exit.clone());
        self.execs.remove(&number);
        if let Some(exit) = exit
            && self.clients.get(&client).is_some_and(|client| client.role == Role::Exec(number))
        {
            self.finish(client, &Response::Exited { exit });
        }
    }

    /// Takes the next step towards the end, if there is one to take.
    pub(super) fn conclude(&mut self) {
        if self.exit.is_none()
            && let Some(ended) = self.first_ended
            && self.streams.drained()
            && !self.jobs.values().any(|job| matches!(job, Job::Start(_)))
        {
            self.container_ended(ended);
        }
        let Some(ended_at) = self.ended_at else { return };
        let asked = self.clients.values().any(|client| client.role == Role::Leaving);
        let late = self.leaving_at().is_some_and(|at| Instant::now() >= at);
        if !self.removed {
            if (asked || late) && !self.jobs.values().any(|job| matches!(job, Job::Delete)) {
                self.begin_removal();
            }
            return;
        }
        for client in self.clients.values_mut().filter(|client| client.role == Role::Leaving) {
            client.finish(&Response::Done);
        }
        let sending = !asked && self.clients.values().any(Client::wants_write) && ended_at.elapsed() < LAST_OUTPUT;
        if !sending {
            for file in [self.run_dir.socket(), self.run_dir.init_pid_file(), self.run_dir.runtime_log(), self.run_dir.pid_file()] {
                let _ = fs::remove_file(file);
            }
            let _ = fs::remove_dir_all(self.run_dir.runtime_root());
            self.left = true;
        }
    }

    /// When the shim leaves by itself.
    pub(super) fn leaving_at(&self) -> Option<Instant> {
        let ended_at = self.ended_at?;
        let sending = self.clients.values().any(Client::wants_write);
        Some(ended_at + if sending { LAST_OUTPUT } else { Duration::from_millis(LINGER_MS) })
    }

    fn container_ended(&mut self, ended: Ended) {
        if let Some(log) = &mut self.log {
            log.finish(now_ns());
        }
        let mut exit = record(ended, self.started_at_ns);
        exit.oom_killed = self.oom.as_ref().is_some_and(|oom| oom.counted());
        if let Err(error) = self.write_exit(&exit) {
            eprintln!("error: {}", error.failure());
        }
        self.exit = Some(exit.clone());
        self.status = ShimStatus::Exited;
        self.ended_at = Some(Instant::now());
        let numbers: Vec<u64> = self.clients.keys().copied().collect();
        for number in numbers {
            match self.clients.get(&number).map(|client| client.role) {
                Some(Role::Attached(_)) => self.finish(number, &Response::Exited { exit: exit.clone() }),
                Some(Role::Waiting) => {
                    self.set_role(number, Role::Idle);
                    self.respond(number, &Response::Exited { exit: exit.clone() });
                    self.serve(number);
                }
                _ => {}
            }
        }
    }

    /// As a whole or not at all, and there after a crash of the machine.
    fn write_exit(&self, exit: &ExitRecord) -> Result<(), RunError> {
        let path = self.run_dir.exit_file();
        let written = || -> io::Result<()> {
            let bytes = exit.to_json().map_err(io::Error::other)?;
            let temporary = path.with_extension("json.new");
            let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(self.run_dir.path())?.sync_all()
        };
        written().map_err(|source| RunError::File { action: "write", path: path.clone(), source })
    }

    /// The daemon knows the end, or wants it.
    pub(super) fn shutdown(&mut self, number: u64, force: bool) {
        if self.exit.is_none() {
            if !force {
                let failure = Failure::new(FailureKind::FailedPrecondition, "the container has not ended");
                return self.respond(number, &Response::Failed { failure, exit_code: None });
            }
            if self.first_ended.is_none() {
                // Our child, not reaped: the id is its.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), Signal::SIGKILL);
            }
        }
        self.set_role(number, Role::Leaving);
    }

    fn begin_removal(&mut self) {
        match self.runtime.delete() {
            Ok(call) => drop(self.jobs.insert(call.as_raw(), Job::Delete)),
            Err(error) => {
                eprintln!("error: {}", error.failure());
                self.removed = true;
            }
        }
    }
}

fn failed(error: &RunError) -> Response {
    Response::Failed { failure: error.failure(), exit_code: error.exit_code() }
}

fn record(ended: Ended, started_at_ns: u64) -> ExitRecord {
    ExitRecord {
        exit_code: ended.exit_code,
        signal: ended.signal,
        oom_killed: false,
        started_at_ns,
        finished_at_ns: ended.at_ns,
        error: None,
    }
}
