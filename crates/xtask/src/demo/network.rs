//! An encrypted network between containers on different hosts.

use anyhow::{Context, ensure};

use super::Step;
use super::story::{IMAGE, Story};

/// Made once, there everywhere.
pub const ENCRYPTED: &[Step] = &[
    Step {
        title: "encrypted network created",
        about: "One entry in the cluster's log. A host sets it up when it first has a container there, with a WireGuard key that never leaves the host.",
        run: create,
    },
    Step { title: "web server started on h2", about: "A container with one page, on that network.", run: serve },
    Step {
        title: "page read by name across hosts",
        about: "A container on h3 asks for `web`: the name comes out of the cluster's log, the packets go through WireGuard.",
        run: read,
    },
    Step { title: "ping across hosts", about: "The same way, there and back.", run: ping },
];

fn create(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.on("h1", "rconctl network create --driver overlay --opt encrypted --attachable backend")?;
    story.on("h3", "rconctl network ls")?;
    let networks = story.rows("h3", "rconctl network ls")?;
    ensure!(networks.iter().any(|network| network["Name"] == "backend" && network["Driver"] == "overlay"), "{networks:?}");
    Ok("created on h1, known on h3".into())
}

fn serve(story: &mut Story<'_>) -> anyhow::Result<String> {
    story.on("h2", &format!("rconctl run -d --name web --network backend {IMAGE} httpd -f -h /www"))?;
    story.on("h2", "rconctl ps")?;
    let running = story.rows("h2", "rconctl ps")?;
    ensure!(running.iter().any(|container| container["Names"] == "web" && container["State"] == "running"), "{running:?}");
    Ok("web runs on h2".into())
}

fn read(story: &mut Story<'_>) -> anyhow::Result<String> {
    let page = story.on("h3", &format!("rconctl run --rm --network backend {IMAGE} wget -qO- http://web/"))?;
    ensure!(page.contains(&story.secret), "the page was `{page}`");
    Ok("h3 has read the page that h2 serves".into())
}

fn ping(story: &mut Story<'_>) -> anyhow::Result<String> {
    let report = story.on("h3", &format!("rconctl run --rm --network backend {IMAGE} ping -c 10 -i 0.1 -W 2 web"))?;
    ensure!(report.contains(" 0% packet loss"), "some were lost: {report}");
    let times = report.lines().find_map(|line| line.strip_prefix("round-trip min/avg/max = ")).context("no round-trip times")?;
    Ok(format!("10 of 10 came back; round trip min/avg/max {times}"))
}
