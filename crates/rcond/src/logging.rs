//! Logs go to standard error, for the journal: text, or JSON with `--log-format json`.

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What is logged when `RCON_LOG` is not set: what changed. openraft warns of a peer that is down several times a second; that a manager
/// is down is said once, by the manager's own liveness.
const DEFAULT_FILTER: &str = "info,openraft=error,raft_log=warn,chunked_wal=warn";

/// Starts logging; `RCON_LOG` holds a filter such as `debug` or `rcon_agent=debug,info`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("RCON_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
