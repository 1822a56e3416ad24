//! `demo`: a story of three hosts, told step by step with the real commands, each step checked.
//!
//! A step is a title, what it is about, and a function that runs commands and says why it does not hold. The story ends
//! with the first step that does not. The lab is taken down at the end, also after a failure or Ctrl-C, unless it is to be kept.

mod cluster;
mod containers;
mod network;
mod proof;
mod story;
mod teller;
mod trouble;

use std::process::ExitCode;

use clap::Args;
use rcon_lab::{Lab, LabName, LabOptions, wait};

use story::Story;
use teller::Teller;

/// Hosts of the story: h1, h2 and h3.
const HOSTS: usize = 3;

/// How the story is told.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Print one line a step, for scripts: `ok N title` or `not ok N title: why`
    #[arg(long)]
    check: bool,
    /// Leave the hosts up afterwards, for `./dev lab`
    #[arg(long)]
    keep: bool,
    /// Which lab the hosts are, when there are several
    #[arg(long = "lab", value_name = "ID", env = rcon_lab::ID_VARIABLE, default_value = "default")]
    id: String,
}

/// One step of the story.
struct Step {
    /// Ends in the report: `ok 4 page read by name across hosts`.
    title: &'static str,
    /// What happens here and why it matters, in a sentence or two.
    about: &'static str,
    /// Does it. The text is what there is to say about how it went.
    run: fn(&mut Story<'_>) -> anyhow::Result<String>,
}

/// The chapters, in order.
const CHAPTERS: &[&[Step]] = &[
    cluster::FIRST_MANAGER,
    cluster::THREE_MANAGERS,
    containers::ON_ONE_HOST,
    network::ENCRYPTED,
    proof::NOTHING_IN_CLEAR,
    trouble::LEADER,
    trouble::POWER,
];

/// Tells the story; the exit status is 0 only if each step held.
pub fn run(arguments: &DemoArgs) -> anyhow::Result<ExitCode> {
    let name = LabName::new(&arguments.id)?;
    let mut options = LabOptions::new(name.clone(), HOSTS);
    options.temporary = !arguments.keep;
    wait::stop_on_signals()?;
    let teller = Teller::new(arguments.check);
    let lab = Lab::up(&options)?;
    teller.opening(&lab);
    let held = tell(Story::new(&lab, &teller), &teller);
    if arguments.keep {
        teller.aside("The hosts are still up: `./dev lab status`, `./dev lab exec h1 -- rconctl node ls`, `./dev lab down`.");
    } else {
        wait::forget_interrupt();
        Lab::down(&name)?;
    }
    Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(story: anyhow::Result<Story<'_>>, teller: &Teller) -> anyhow::Result<bool> {
    let mut story = story?;
    for (index, step) in CHAPTERS.iter().copied().flatten().enumerate() {
        teller.begin(index + 1, step.title, step.about);
        match (step.run)(&mut story) {
            Ok(remark) => teller.held(index + 1, step.title, &remark),
            Err(error) => {
                teller.failed(index + 1, step.title, &error);
                return Ok(false);
            }
        }
    }
    Ok(true)
}
