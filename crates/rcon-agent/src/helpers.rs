//! The processes beside the agent, `rcond tunnel` and `rcond dns`: started when they are needed, found again, never its children's keepers.
//!
//! They outlive the agent. Each serves a unix socket in the run directory; whoever answers there is the running one. A helper is
//! started in a session of its own with its output appended to a file, so that nothing of the agent is held by it.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rcon_types::{Failure, FailureKind};
use tokio::{net::UnixStream, sync::Mutex, time};
use tracing::info;

/// How long a helper may take until it answers at its socket.
const STARTING: Duration = Duration::from_secs(5);
/// How often its socket is tried meanwhile.
const TRY: Duration = Duration::from_millis(5);
/// A helper's log is begun anew when it has this size at the helper's start.
const LOG_BYTES: u64 = 4 * 1024 * 1024;

/// One kind of helper process.
pub struct Helper {
    /// The role's name, which is also the first argument.
    role: &'static str,
    arguments: Vec<String>,
    socket: PathBuf,
    log: PathBuf,
    starting: Mutex<()>,
}

impl Helper {
    /// A helper that serves `socket`; nothing is started yet.
    #[must_use]
    pub fn new(role: &'static str, arguments: Vec<String>, socket: PathBuf, run_dir: &Path) -> Self {
        Self { role, arguments, socket, log: run_dir.join(format!("{role}.log")), starting: Mutex::new(()) }
    }

    /// Where it is spoken to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether it runs.
    pub async fn answers(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// A connection to the running helper, which is started where it does not run.
    ///
    /// # Errors
    /// When it does not answer in time; its log says why.
    pub async fn connect(&self) -> Result<UnixStream, Failure> {
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        let _one = self.starting.lock().await;
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        let started = self.start().map_err(|error| self.failed(error.to_string()))?;
        info!(role = self.role, pid = started, "started a helper process");
        let answered = time::timeout(STARTING, async {
            loop {
                match UnixStream::connect(&self.socket).await {
                    Ok(stream) => return stream,
                    Err(_) => time::sleep(TRY).await,
                }
            }
        });
        answered.await.map_err(|_| self.failed("it does not answer at its socket".to_owned()))
    }

    fn start(&self) -> io::Result<u32> {
        let fresh = fs::metadata(&self.log).is_ok_and(|metadata| metadata.len() > LOG_BYTES);
        let log = OpenOptions::new().create(true).append(!fresh).write(true).truncate(fresh).open(&self.log)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("rcond").arg(self.role).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = command.spawn()?;
        let pid = child.id();
        // Reaps it when it ends before the agent; when the agent ends first, the host's init does.
        std::thread::Builder::new().name(format!("{}-reaper", self.role)).spawn(move || child.wait())?;
        Ok(pid)
    }

    fn failed(&self, why: String) -> Failure {
        Failure::new(FailureKind::Internal, why)
            .during(format!("could not start `rcond {}`", self.role))
            .hint(format!("its log is `{}`", self.log.display()))
    }
}
