//! Containers for the tests: a root file system of busybox, a bundle, a shim, and a client of its socket.
#![allow(dead_code)]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rcon_oci::{
    Architecture, CgroupVersion, ContainerSpec, HostFacts, KernelVersion, log, runtime_spec,
    shim::{
        ExecProcess, ExitRecord, Frame, FrameBuffer, PROTOCOL_VERSION, Readiness, Request, Response, RunDirectory, ShimOptions, ShimState,
        StreamSet,
    },
};

const DEADLINE: Duration = Duration::from_secs(20);
const APPLETS: &str =
    "sh true false cat sleep ls id grep echo dd head tail seq yes ps kill mount env stty wc sha256sum touch stat mkdir unshare tr";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether containers can be made here; says out loud why not.
pub fn can_run() -> bool {
    let reason = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if !Path::new("/bin/busybox").exists() {
        "busybox-static is not installed"
    } else {
        return true;
    };
    eprintln!("SKIPPED: {reason}");
    false
}

/// The program under test: that of this build, or that which `RCON_SHIM` names, e.g. the static one that is shipped.
pub fn shim_program() -> PathBuf {
    std::env::var_os("RCON_SHIM").map_or_else(|| env!("CARGO_BIN_EXE_rcon-shim").into(), PathBuf::from)
}

/// What this host is.
pub fn host() -> HostFacts {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    HostFacts {
        architecture: if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 },
        kernel: KernelVersion::parse(&release).unwrap(),
        cgroup: if v2 { CgroupVersion::V2 } else { CgroupVersion::V1 },
        hard_limits: std::collections::BTreeMap::new(),
        thermal_throttle_cpus: 0,
        apparmor_profile: None,
    }
}

/// A container's directories and cgroup; all of it goes when it is dropped.
pub struct Container {
    pub directory: tempfile::TempDir,
    pub spec: ContainerSpec,
    pub options: ShimOptions,
    cgroup_parent: String,
}

impl Container {
    /// Of a command, not yet created; `change` may alter the description.
    pub fn new(args: &[&str], change: impl FnOnce(&mut ContainerSpec)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "root"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in APPLETS.split(' ') {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/tmp:/bin/sh\n").unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{:032x}", std::process::id(), number);
        let cgroup_parent = format!("rcon-shim-test-{}-{number}", std::process::id());
        let mut spec = ContainerSpec::new(id.clone(), &root, args.iter().map(|s| (*s).to_owned()).collect());
        spec.cgroup_path = Path::new("/").join(&cgroup_parent).join(&id);
        change(&mut spec);
        let run_dir = directory.path().join("run");
        fs::create_dir(&run_dir).unwrap();
        let options = ShimOptions {
            id,
            bundle: directory.path().join("bundle"),
            run_dir,
            log: Some(directory.path().join("log")),
            runtime: None,
            stdin: false,
            stdin_once: false,
        };
        fs::create_dir(&options.bundle).unwrap();
        let this = Self { directory, spec, options, cgroup_parent };
        this.write_bundle();
        this
    }

    /// Writes `config.json` from the description.
    pub fn write_bundle(&self) {
        let oci = runtime_spec(&self.spec, &host()).unwrap();
        oci.save(self.options.bundle.join("config.json")).unwrap();
    }

    pub fn root(&self) -> PathBuf {
        self.spec.root.path.clone()
    }

    pub fn run_dir(&self) -> RunDirectory {
        RunDirectory::new(&self.options.run_dir)
    }

    /// Starts the shim; what it says.
    pub fn launch(&self) -> Readiness {
        let output =
            Command::new(shim_program()).args(self.options.to_args()).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        Readiness::from_line(&String::from_utf8(output.stdout).unwrap()).unwrap_or_else(|error| panic!("{error}: {}", self.shim_log()))
    }

    /// Starts the shim, which must be ready; the container's first process.
    pub fn create(&self) -> i32 {
        match self.launch() {
            Readiness::Ready { pid, .. } => pid,
            Readiness::Failed { failure, .. } => panic!("{failure}"),
        }
    }

    /// Creates and starts it.
    pub fn start(&self) -> i32 {
        let pid = self.create();
        assert_eq!(self.connect().ask(&Request::Start), Response::Done);
        pid
    }

    pub fn connect(&self) -> Client {
        Client::connect(&self.run_dir())
    }

    /// Waits for the end; how it was.
    pub fn wait(&self) -> ExitRecord {
        match self.connect().ask(&Request::Wait) {
            Response::Exited { exit } => exit,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the shim go.
    pub fn shutdown(&self) {
        let mut client = self.connect();
        assert_eq!(client.ask(&Request::Shutdown { force: true }), Response::Done);
        wait_until("the socket is gone", || !self.run_dir().socket().exists());
    }

    /// Runs a command in it to its end.
    pub fn exec(&self, args: &[&str]) -> (Vec<u8>, Vec<u8>, i32) {
        let mut client = self.connect();
        let pid = client.exec(exec_process(args));
        assert!(pid > 0);
        client.rest()
    }

    /// The texts of a stream in the log.
    pub fn logged(&self, stream: log::LogStream) -> String {
        let text = fs::read(self.options.log.as_ref().unwrap()).unwrap_or_default();
        let records = text.split_inclusive(|b| *b == b'\n').map(|line| log::LogRecord::parse(line).unwrap());
        records.filter(|record| record.stream == stream).map(|record| record.log).collect()
    }

    pub fn shim_log(&self) -> String {
        fs::read_to_string(self.run_dir().shim_log()).unwrap_or_default()
    }

    /// The container's directories of all cgroup hierarchies that are there.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        hierarchies().map(|mount| mount.join(&self.cgroup_parent).join(&self.options.id)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut client) = Client::try_connect(&self.run_dir()) {
            client.send(&Request::Shutdown { force: true });
            let _ = client.receive();
        }
        for mount in hierarchies() {
            let _ = fs::remove_dir(mount.join(&self.cgroup_parent).join(&self.options.id));
            let _ = fs::remove_dir(mount.join(&self.cgroup_parent));
        }
    }
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).chain(["/sys/fs/cgroup".into()])
}

pub fn exec_process(args: &[&str]) -> ExecProcess {
    ExecProcess {
        args: args.iter().map(|s| (*s).to_owned()).collect(),
        env: Vec::new(),
        cwd: None,
        user: None,
        tty: false,
        stdin: false,
        size: None,
    }
}

/// A client of a shim's socket that waits for answers.
pub struct Client {
    stream: UnixStream,
    frames: FrameBuffer,
}

impl Client {
    pub fn try_connect(run_dir: &RunDirectory) -> Option<Self> {
        let stream = UnixStream::connect(run_dir.socket()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut client = Self { stream, frames: FrameBuffer::new() };
        client.send(&Request::Hello { version: PROTOCOL_VERSION });
        matches!(client.receive(), Some(Response::Hello { .. })).then_some(client)
    }

    pub fn connect(run_dir: &RunDirectory) -> Self {
        Self::try_connect(run_dir).expect("the shim answers")
    }

    pub fn send(&mut self, request: &Request) {
        self.send_frame(&request.to_frame().unwrap());
    }

    pub fn send_frame(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.to_bytes().unwrap()).unwrap();
    }

    /// Bytes that are no frame, for a bad client.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, request: &Request) -> Response {
        self.send(request);
        self.receive().expect("an answer")
    }

    pub fn state(&mut self) -> ShimState {
        match self.ask(&Request::State) {
            Response::State { state } => state,
            other => panic!("{other:?}"),
        }
    }

    pub fn attach(&mut self, stdin: bool) {
        let streams = StreamSet { stdin, stdout: true, stderr: true };
        assert_eq!(self.ask(&Request::Attach { streams }), Response::Attached);
    }

    pub fn exec(&mut self, process: ExecProcess) -> i32 {
        match self.ask(&Request::Exec { process }) {
            Response::ExecStarted { pid } => pid,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame; none at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 128 * 1024];
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut buffer).expect("a frame before the deadline") {
                0 => return None,
                len => self.frames.push(&buffer[..len]),
            }
        }
    }

    pub fn receive(&mut self) -> Option<Response> {
        match self.frame()? {
            Frame::Message(bytes) => Some(Response::from_bytes(&bytes).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// A second handle, to send while this one receives.
    pub fn sender(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), frames: FrameBuffer::new() }
    }

    /// Everything up to the end: standard output, standard error, exit code.
    pub fn rest(&mut self) -> (Vec<u8>, Vec<u8>, i32) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.frame() {
                Some(Frame::Stdout(bytes)) => stdout.extend(bytes),
                Some(Frame::Stderr(bytes)) => stderr.extend(bytes),
                Some(Frame::Message(bytes)) => match Response::from_bytes(&bytes).unwrap() {
                    Response::Exited { exit } => return (stdout, stderr, exit.exit_code),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Looks until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// A line of `/proc/<pid>/status`.
pub fn status_line(status: &str, key: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}
