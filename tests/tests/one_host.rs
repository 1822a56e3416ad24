//! One host: a cluster of one manager, images, and containers through the shim.

use rcon_tests::{Cluster, IMAGE, Node, eventually, machine_can};

#[test]
fn a_host_becomes_a_cluster_of_one_and_stays_it_after_its_daemon_was_killed() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(1);
    let leader = [Node { name: "h1".into(), status: "Ready".into(), manager: "Leader".into() }];
    assert_eq!(cluster.rconctl("h1").nodes().unwrap(), leader);
    cluster.lab.kill("h1", None).unwrap();
    cluster.lab.start("h1").unwrap();
    cluster.wait_until_whole(1);
}

#[test]
fn a_cluster_is_not_begun_twice() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::up(1);
    let complaint = cluster.rconctl("h1").fail(&["swarm", "init", "--advertise-addr", "10.99.0.11"]).unwrap();
    assert!(complaint.contains("hint:"), "{complaint}");
}

#[test]
fn a_container_of_an_imported_image_has_its_output_and_exit_status() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(1);
    cluster.import_image("h1");
    let h1 = cluster.rconctl("h1");
    assert_eq!(h1.run(&["run", "--rm", "--network", "none", IMAGE, "echo", "hello"]).unwrap(), "hello");
    for (code, command) in [(42, "exit 42"), (127, "no-such-command")] {
        let finished = h1.finish(&["run", "--rm", "--network", "none", IMAGE, "sh", "-c", command]).unwrap();
        assert_eq!(finished.status.code(), Some(code), "{finished:?}");
    }
    let unknown = h1.finish(&["run", "--rm", "--network", "none", IMAGE, "/no/such/program"]).unwrap();
    assert_eq!(unknown.status.code(), Some(127), "{unknown:?}");
    eventually("nothing is left of them", || {
        let left = h1.rows(&["ps", "--all"])?;
        anyhow::ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
}

#[test]
fn a_container_has_no_more_capabilities_than_dockers_and_neither_has_an_exec() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(1);
    cluster.import_image("h1");
    let h1 = cluster.rconctl("h1");
    h1.run(&["run", "-d", "--name", "one", "--network", "none", IMAGE, "sleep", "1000"]).unwrap();
    // CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE.
    let dockers = "CapEff:\t00000000a80425fb\nSeccomp:\t2";
    assert_eq!(h1.run(&["exec", "one", "grep", "-E", "^(CapEff|Seccomp):", "/proc/1/status"]).unwrap(), dockers);
    assert_eq!(h1.run(&["exec", "one", "grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status"]).unwrap(), dockers);
}

#[test]
fn a_container_outlives_its_daemon_and_is_found_again_with_its_exit_status() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(1);
    cluster.import_image("h1");
    let h1 = cluster.rconctl("h1");
    for (name, command) in [("long", "echo begun; sleep 1000"), ("short", "read line < /tmp/fifo; exit 7")] {
        let command = format!("mkfifo /tmp/fifo; {command}");
        h1.run(&["run", "-d", "--name", name, "--network", "none", IMAGE, "sh", "-c", &command]).unwrap();
    }
    let pid = || h1.object(&["container", "inspect", "long"]).unwrap()["State"]["Pid"].clone();
    let before = pid();
    eventually("short waits", || h1.run(&["exec", "short", "test", "-p", "/tmp/fifo"]));
    let short = h1.object(&["container", "inspect", "short"]).unwrap()["State"]["Pid"].as_i64().unwrap();
    cluster.lab.kill("h1", None).unwrap();
    cluster.lab.run("h1", &["sh", "-c", &format!("echo > /proc/{short}/root/tmp/fifo")]).unwrap().success().unwrap();
    cluster.lab.start("h1").unwrap();
    assert_eq!(pid(), before);
    assert_eq!(h1.run(&["logs", "long"]).unwrap(), "begun");
    assert_eq!(h1.run(&["wait", "short"]).unwrap(), "7");
}

#[test]
fn what_does_not_exist_is_named_with_a_hint() {
    if !machine_can() {
        return;
    }
    let cluster = Cluster::hosts(1);
    let h1 = cluster.rconctl("h1");
    for arguments in [
        &["run", "--rm", "--network", "none", "no-such-image", "true"][..],
        &["rm", "no-such-container"],
        &["exec", "no-such-container", "true"],
        &["node", "ls"],
    ] {
        let complaint = h1.fail(arguments).unwrap();
        assert!(complaint.starts_with("error: ") && complaint.contains("hint:"), "{arguments:?}: {complaint}");
    }
}
