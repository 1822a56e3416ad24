//! Faults of the fabric on the real kernel.

mod support;

use rcon_lab::{Direction, LabError};
use support::{TestLab, machine_can};

#[test]
fn a_partition_cuts_hosts_off_from_the_others_until_it_is_healed() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(3);
    test.lab.partition(&["h1", "h2"], Direction::Both).unwrap();
    assert!(test.reaches("h1", "10.99.0.12") && test.reaches("h1", "fd00:99::12"));
    assert!(!test.reaches("h3", "10.99.0.11") && !test.reaches("h2", "fd00:99::13") && !test.reaches("h1", "10.99.0.1"));
    test.lab.heal().unwrap();
    assert!(test.reaches("h3", "10.99.0.11") && test.reaches("h1", "10.99.0.1"));
}

#[test]
fn a_one_way_partition_still_lets_its_hosts_hear() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    // Both know each other's hardware addresses, so that what is dropped is the datagram and not the question for its way.
    assert!(test.reaches("h1", "10.99.0.12") && test.reaches("h2", "10.99.0.11"));
    test.lab.partition(&["h1"], Direction::OneWay).unwrap();
    let received = |host: &str| test.shell(host, "awk '/^Icmp: [0-9]/ {print $2}' /proc/net/snmp").parse::<u64>().unwrap();
    let (before_h1, before_h2) = (received("h1"), received("h2"));
    assert!(!test.reaches("h2", "10.99.0.11"));
    assert!(received("h1") > before_h1, "h1 did not hear");
    assert!(!test.reaches("h1", "10.99.0.12"));
    assert_eq!(received("h2"), before_h2, "h1 was heard");
}

#[test]
fn loss_takes_about_its_share() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    assert!(test.reaches("h1", "10.99.0.12"));
    test.lab.lose(&["h1"], 50.0).unwrap();
    let report = test.output("h1", "ping -q -c 400 -i 0.002 -W 1 10.99.0.12").stdout;
    let report = String::from_utf8(report).unwrap();
    let percent: f64 = report.split("% packet loss").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    // Each of the two ways loses half: 75 are expected, and 65 or 85 are 4.6 standard deviations away.
    assert!((65.0..85.0).contains(&percent), "{report}");
}

#[test]
fn faults_of_unknown_hosts_are_refused_and_name_the_known_ones() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    let error = test.lab.partition(&["h7"], Direction::Both).unwrap_err();
    assert!(matches!(&error, LabError::NoSuchHost { .. }) && error.to_string().ends_with("it has h1, h2"), "{error}");
}
