//! What the fabric has carried so far, frame by frame.

use std::path::PathBuf;

use anyhow::bail;
use rcon_lab::capture::Ports;

use super::Step;
use super::story::Story;

/// From the first command until now.
pub const NOTHING_IN_CLEAR: &[Step] = &[Step {
    title: "nothing in clear text on the fabric",
    about: "Since before the first command every frame on every port was recorded, without a filter. Each must be ARP, ND or MLD, a TLS record on 2377/tcp, or a WireGuard message on 51820/udp; the page's text must be in none.",
    run: prove,
}];

fn prove(story: &mut Story<'_>) -> anyhow::Result<String> {
    let recording = story.stop_capture()?;
    let verdict = recording.judge(Ports::default());
    story.remark(&format!("{} frames: {verdict}", recording.frames.len()));
    let leak = recording.find(story.secret.as_bytes());
    if verdict.is_clean() && leak.is_none() {
        return Ok("every frame is accounted for, and the page is in none of them".into());
    }
    let file = PathBuf::from(format!("/var/tmp/rcon-demo-{}.pcap", std::process::id()));
    recording.write_pcap(&file)?;
    if let Some(frame) = leak {
        bail!("the page's text is in a frame on the port of {}; the recording is in {}", frame.port, file.display());
    }
    let offences = verdict.offences.join("; ");
    bail!("{} frames should not be there: {offences}; the recording is in {}", verdict.offending, file.display())
}
