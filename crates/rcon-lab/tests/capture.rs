//! Captures of a real fabric.

mod support;

use std::process::Stdio;

use rcon_lab::capture::{Direction, Ports};
use support::{TestLab, machine_can, soon};

#[test]
fn every_port_is_heard_also_one_that_is_plugged_in_later() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    let capture = test.lab.capture().unwrap();
    test.lab.off("h2").unwrap();
    test.lab.on("h2").unwrap();
    assert!(test.reaches("h1", "10.99.0.12"));
    let recording = capture.stop().unwrap();
    assert_eq!(recording.lost, 0);
    for port in ["h1", "h2"] {
        for direction in [Direction::FromHost, Direction::ToHost] {
            let is_ping = |bytes: &[u8]| bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&1);
            assert!(recording.frames.iter().any(|frame| frame.port == port && frame.direction == direction && is_ping(&frame.bytes)));
        }
    }
}

#[test]
fn plain_text_to_the_control_port_is_an_offence_and_is_found() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    let mut server = test.lab.command("h2", "busybox").unwrap().args(["nc", "-l", "-p", "2377"]).stdout(Stdio::piped()).spawn().unwrap();
    soon("the server listens", || test.shell("h2", "cat /proc/net/tcp /proc/net/tcp6").contains(":0949 "));
    let capture = test.lab.capture().unwrap();
    test.shell("h1", "echo a very secret page | busybox nc 10.99.0.12 2377");
    server.wait().unwrap();
    let recording = capture.stop().unwrap();
    let verdict = recording.judge(Ports::default());
    assert!(recording.find(b"very secret").is_some() && recording.find(b"not said").is_none());
    assert!(!verdict.is_clean() && verdict.counts["control, empty"] > 4, "{verdict}");
    // The payload on both ports; nothing else was there but ARP, ND and MLD.
    assert_eq!(verdict.offending, 2, "{verdict}: {:?}", verdict.offences);
    let file = tempfile::NamedTempFile::new().unwrap();
    recording.write_pcap(file.path()).unwrap();
    let bytes = recording.frames.iter().map(|frame| frame.bytes.len() as u64 + 16).sum::<u64>();
    assert_eq!(file.path().metadata().unwrap().len(), 24 + bytes);
}
