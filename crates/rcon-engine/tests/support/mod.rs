//! A host for one test: an engine on directories of its own, with an image of Debian's static busybox.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rcon_engine::{CreateRequest, Engine, EngineOptions, LogQuery, NetworkFiles, NetworkNamespace, StreamKind};
use rcon_image::{ImportRequest, Unpacker};
use rcon_types::ContainerId;
use tempfile::TempDir;

/// How long anything of a test may take.
pub const DEADLINE: Duration = Duration::from_secs(20);
const BUSYBOX: &str = "/usr/bin/busybox";

/// Directories, a network namespace and a cgroup parent that go with the value.
pub struct Host {
    dir: TempDir,
    shim: PathBuf,
    runtime: Option<PathBuf>,
    cgroup: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Host {
    /// A host, or none (said out loud) where this machine lacks something.
    pub fn new() -> Option<Self> {
        let Some(shim) = shim_binary() else {
            eprintln!(
                "SKIPPED: there is no rcon-shim; build it with `cargo build -p rcon-shim --profile shim --target x86_64-unknown-linux-gnu` or name it in RCON_SHIM"
            );
            return None;
        };
        if !nix::unistd::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            eprintln!("SKIPPED: containers need root, and {BUSYBOX} of Debian's busybox-static");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let cgroup = format!("/rcon-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let host = Self { dir, shim, runtime: std::env::var_os("RCON_RUNTIME").map(Into::into), cgroup };
        host.make_namespace();
        Some(host)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn options(&self) -> EngineOptions {
        EngineOptions {
            data_dir: self.data_dir(),
            run_dir: self.run_dir(),
            shim_binary: self.shim.clone(),
            runtime: self.runtime.clone(),
            cgroup_parent: self.cgroup.clone().into(),
            unpacker: Unpacker::Thread,
        }
    }

    /// An engine with the image `busybox`.
    pub async fn engine(&self) -> Engine {
        let engine = Engine::open(self.options()).await.unwrap();
        let request = ImportRequest {
            reference: Some("busybox".into()),
            changes: vec!["CMD [\"sh\"]".into(), "ENV PATH=/bin".into()],
            message: String::new(),
        };
        engine.import_image(request, std::io::Cursor::new(root_file_system())).await.unwrap();
        engine
    }

    pub fn namespace(&self) -> NetworkNamespace {
        NetworkNamespace { path: self.dir.path().join("netns") }
    }

    /// Creates and starts a container that runs a line of shell.
    pub async fn run(&self, engine: &Engine, name: &str, script: &str) -> ContainerId {
        let id = create(engine, name, script).await;
        self.start(engine, id).await;
        id
    }

    pub async fn start(&self, engine: &Engine, id: ContainerId) {
        engine.start(id, self.namespace(), NetworkFiles::default()).await.unwrap();
    }

    /// A handle of a fresh network namespace, as the agent makes one.
    fn make_namespace(&self) {
        let path = self.namespace().path;
        fs::write(&path, "").unwrap();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let own = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
            nix::mount::mount(Some(own.as_str()), &path, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();
        })
        .join()
        .unwrap();
    }

    /// Mounts and processes of this host's containers that are still there.
    pub fn leftovers(&self) -> Vec<String> {
        let own = self.dir.path().to_str().unwrap().to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(&own) && !line.contains("netns")).map(str::to_owned);
        let shims = fs::read_dir(self.run_dir().join("shim")).into_iter().flatten().flatten().map(|e| e.path().display().to_string());
        let cgroups = cgroups(&self.cgroup).into_iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        let cgroups = cgroups.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path().display().to_string());
        mounts.chain(shims).chain(cgroups).collect()
    }
}

impl Drop for Host {
    /// Also after a failed test nothing stays: processes first, then mounts, then cgroups.
    fn drop(&mut self) {
        let directories = cgroups(&self.cgroup);
        let below =
            |dir: &PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect::<Vec<_>>();
        for dir in directories.iter().flat_map(below) {
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|line| line.parse().ok()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
        for container in fs::read_dir(self.data_dir().join("containers")).into_iter().flatten().flatten() {
            let _ = nix::mount::umount2(&container.path().join("merged"), nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = nix::mount::umount2(&self.namespace().path, nix::mount::MntFlags::MNT_DETACH);
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        for dir in &directories {
            while fs::remove_dir(dir).is_err() && dir.exists() && std::time::Instant::now() < deadline {
                below(dir).iter().for_each(|child| drop(fs::remove_dir(child)));
                std::thread::yield_now();
            }
        }
    }
}

fn cgroups(parent: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
    roots.map(|root| root.join(parent.trim_start_matches('/'))).filter(|dir| dir.is_dir()).collect()
}

fn shim_binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RCON_SHIM") {
        return Some(path.into());
    }
    let target = std::env::current_exe().ok()?.ancestors().nth(3)?.to_owned();
    let in_checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    [target, in_checkout].into_iter().map(|dir| dir.join("x86_64-unknown-linux-gnu/shim/rcon-shim")).find(|path| path.exists())
}

/// A root file system made of one static busybox, as Debian's tar packs it.
fn root_file_system() -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path);
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir(path(dir)).unwrap();
    }
    fs::copy(BUSYBOX, path("bin/busybox")).unwrap();
    fs::write(path("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n").unwrap();
    fs::write(path("etc/group"), "root:x:0:\nweb:x:33:\nextra:x:44:web\n").unwrap();
    fs::write(path("etc/script"), "no program\n").unwrap();
    for tool in ["sh", "true", "cat", "sleep", "id", "hostname", "seq", "test", "touch"] {
        std::os::unix::fs::symlink("busybox", path("bin").join(tool)).unwrap();
    }
    let packed = std::process::Command::new("tar").arg("-C").arg(root.path()).args(["--owner=0", "--group=0", "-c", "."]).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    packed.stdout
}

/// A container that will run a line of shell.
pub async fn create(engine: &Engine, name: &str, script: &str) -> ContainerId {
    engine.create(request(name, script)).await.unwrap().id
}

pub fn request(name: &str, script: &str) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        image: "busybox".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..CreateRequest::default()
    }
}

/// Everything of a log, as text.
pub async fn log_text(engine: &Engine, id: ContainerId, query: LogQuery) -> String {
    let mut log = engine.logs(id, query).await.unwrap();
    let mut text = String::new();
    while let Some(entry) = within(log.entries.recv()).await {
        let entry = entry.unwrap();
        if entry.stream == StreamKind::Stderr {
            text.push_str("stderr:");
        }
        text.push_str(std::str::from_utf8(&entry.data).unwrap());
    }
    text
}

/// The outcome, if it comes before the deadline.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it took too long")
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come about"));
}
