//! What people run through `./dev`: the lab, the demo and the benches. It builds nothing; `./dev` has done that.

mod bench;
mod demo;
mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rcon_lab::LabError;

/// The exit status of our own failures, which `exec` leaves to us as container engines do.
const OWN_FAILURE: u8 = 125;

/// Labs, demo and benches of rcon.
#[derive(Debug, Parser)]
#[command(name = "./dev", arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the story of three hosts, with the real commands, each step checked
    Demo(demo::DemoArgs),
    /// Measure, beside the peers that are installed
    Bench(bench::BenchArgs),
    /// Hosts on this machine, and faults for them
    Lab(lab::LabArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Lab(arguments) => lab::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        for cause in error.chain().skip(1) {
            eprintln!("  caused by: {cause}");
        }
        if let Some(hint) = error.downcast_ref::<LabError>().and_then(LabError::hint) {
            eprintln!("  hint: {hint}");
        }
        ExitCode::from(OWN_FAILURE)
    })
}
