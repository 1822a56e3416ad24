//! `rcond`: configuration, then wiring, then signals. Its other roles are told by the first argument:
//!
//! - `rcond` is the agent, and a manager when its node is one;
//! - `rcond tunnel …` is the encrypted datapath;
//! - `rcond dns …` answers the containers' queries;
//! - `rcond unpack …` writes an image's layer to disk in a sandbox.

mod config;
mod control;
mod daemon;
mod logging;
mod node;
mod roles;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _program = arguments.next();
    match arguments.next().as_deref().and_then(|role| role.to_str()) {
        Some("tunnel") => roles::tunnel(arguments.collect()),
        Some("dns") => roles::dns(arguments.collect()),
        Some("unpack") => roles::unpack(arguments.collect()),
        _ => roles::agent(),
    }
}
