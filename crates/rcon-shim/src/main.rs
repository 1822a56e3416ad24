//! `rcon-shim`: the process beside each container, and the OCI runtime that makes containers.
//!
//! Roles by the first argument: `run` (the shim: lives as long as its container), `oci` (an OCI runtime's command line: lives
//! milliseconds) and `init` (process 1 of a container that was asked to have one). Small, static, one thread; the first two run from a
//! sealed copy of the file in memory, so that no container can reach it (CVE-2019-5736).

mod init;
mod oci;
mod run;
mod seal;
mod signals;

use std::{ffi::OsString, process::ExitCode};

const USAGE: &str = "usage: rcon-shim run --id ID --bundle DIR --run-dir DIR [--log FILE] [--runtime FILE] [--stdin] [--stdin-once]
       rcon-shim oci [--root DIR] [--log FILE] create|start|state|kill|delete|exec … ID
       rcon-shim init -- COMMAND…";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next();
    let rest: Vec<OsString> = args.collect();
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("run") => sealed(|| run::main(rest)),
        Some("oci") => sealed(|| oci::main(rest)),
        // As the container's init it is called with `--` and the command, see `rcon_oci::INIT_DESTINATION`.
        Some("init" | "--") => init::main(rest),
        Some("--version" | "version") => {
            println!("rcon-shim {}, protocol {}", env!("CARGO_PKG_VERSION"), rcon_oci::shim::PROTOCOL_VERSION);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Continues in a sealed copy first, where this is none yet.
fn sealed(role: impl FnOnce() -> ExitCode) -> ExitCode {
    match seal::ensure_sealed() {
        Ok(()) => role(),
        Err(error) => {
            eprintln!("error: could not run from a sealed copy in memory\n  caused by: {error}");
            ExitCode::FAILURE
        }
    }
}
