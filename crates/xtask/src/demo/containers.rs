//! An image out of nothing, and a container of it on one host.

use std::time::Duration;

use anyhow::ensure;

use super::Step;
use super::story::{IMAGE, Story};

/// How long a container may take to be removed after its end.
const REMOVED: Duration = Duration::from_secs(5);

/// No network is needed for these.
pub const ON_ONE_HOST: &[Step] = &[
    Step {
        title: "image imported",
        about: "A root file system made of Debian's busybox-static becomes an image: checked, unpacked, found by its digest. No registry is asked.",
        run: import,
    },
    Step {
        title: "container run on one host",
        about: "Its own processes, mounts and cgroup, Docker's capabilities and seccomp profile; the exit status is the command's.",
        run: run_one,
    },
];

fn import(story: &mut Story<'_>) -> anyhow::Result<String> {
    for host in ["h1", "h2", "h3"] {
        story.on(host, &format!("tar -C {} -c . | rconctl image import - {IMAGE}", story.rootfs().display()))?;
    }
    story.on("h1", "rconctl image ls")?;
    let images = story.rows("h1", "rconctl image ls")?;
    ensure!(images.iter().any(|image| image["Repository"].as_str().is_some_and(|name| name.ends_with(IMAGE))), "{images:?}");
    Ok("every host has the image".into())
}

fn run_one(story: &mut Story<'_>) -> anyhow::Result<String> {
    let printed = story.on("h1", &format!("rconctl run --rm --network none {IMAGE} sh -c 'echo I am process $$ of my own world'"))?;
    ensure!(printed == "I am process 1 of my own world", "it printed `{printed}`");
    let finished = story.lab.run("h1", &["rconctl", "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "exit 42"])?;
    ensure!(finished.status.code() == Some(42), "`exit 42` gave {}", finished.status);
    story.eventually("nothing is left of them", REMOVED, || {
        let left = story.rows("h1", "rconctl ps --all")?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    Ok("it ran, its exit status came through, nothing is left of it".into())
}
