//! What the command line tells the tunnel.

use std::path::PathBuf;

/// Where the tunnel lives on this host; everything else comes over the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The unix socket to serve, mode 0600; `<run-dir>/tunnel.sock`.
    pub control_socket: PathBuf,
    /// The file that keeps the tables in force; `<data-dir>/tunnel/tables.json`. Its directory is made if missing.
    pub state_file: PathBuf,
    /// The network namespace that holds the TAPs; `<run-dir>/netns/rcon-overlay`. The UDP socket stays in the caller's.
    pub tap_namespace: PathBuf,
    /// The name that `wg show` knows the tunnel by, and where: the socket is `<directory>/<name>.sock`.
    ///
    /// `wg` looks only into `/var/run/wireguard`. `None` serves no such socket.
    pub wg_socket: Option<PathBuf>,
}
