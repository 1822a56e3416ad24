//! The lab's program inside its hosts; [`rcon_lab::role`] says what it does. People use `./dev lab`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rcon_lab::role::main(std::env::args().collect())
}
