//! Hosts of the lab on the real kernel: what each has for itself, and what happens to its processes.

mod support;

use rcon_lab::{DataDisk, LabError};
use support::{TestLab, machine_can, soon};

#[test]
fn a_host_has_its_own_name_processes_devices_run_directory_and_cgroup_root() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    assert_eq!(test.shell("h2", "hostname"), "h2");
    assert_eq!(test.shell("h1", "cat /proc/1/comm"), "rcon-lab-host");
    assert_eq!(test.shell("h1", "ls /sys/class/net | tr '\\n' ' '"), "eth0 lo");
    assert_eq!(test.shell("h1", "ls /run"), "");
    assert_eq!(test.shell("h1", "grep -c ':/$\\|:/init$' /proc/self/cgroup"), test.shell("h1", "wc -l < /proc/self/cgroup"));
    assert_eq!(test.shell("h1", "cat /proc/sys/net/ipv4/ip_forward"), "0");
    assert_eq!(test.shell("h1", "mkdir -p /sys/fs/cgroup/$(ls /sys/fs/cgroup | grep -x memory)/rcon && echo made"), "made");
}

#[test]
fn hosts_reach_each_other_and_the_outside_in_both_families() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    for address in ["10.99.0.12", "fd00:99::12", "198.51.100.1", "2001:db8:100::1"] {
        assert!(test.reaches("h1", address), "{address}");
    }
}

#[test]
fn a_command_has_its_input_output_and_exit_status() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(1);
    assert_eq!(test.output("h1", "exit 42").status.code(), Some(42));
    assert_eq!(test.output("h1", "kill -TERM $$").status.code(), Some(143));
    assert_eq!(test.lab.command("h1", "no-such-program").unwrap().status().unwrap().code(), Some(127));
    assert_eq!(test.shell("h1", "echo $RCON_HOST"), "/run/rcond/rcond.sock");
    let output = test.lab.command("h1", "cat").unwrap().stdin(std::fs::File::open("/proc/version").unwrap()).output().unwrap();
    assert_eq!(output.stdout, std::fs::read("/proc/version").unwrap());
}

#[test]
fn killing_the_daemon_leaves_its_children_to_the_host() {
    if !machine_can() {
        return;
    }
    let test = TestLab::with(1, |host| {
        host.daemon = rcon_lab::Daemon::Command(vec!["sh".into(), "-c".into(), "sleep 12345 & wait".into()]);
    });
    let parent = || test.shell("h1", "ps -o ppid= -C sleep || true");
    soon("the child sleeps", || !parent().is_empty());
    assert_ne!(parent().trim(), "1");
    assert_eq!(test.lab.kill("h1", None).unwrap().len(), 1);
    assert_eq!(parent().trim(), "1");
}

#[test]
fn a_killed_daemon_can_be_started_again_but_not_twice() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(1);
    assert_eq!(test.lab.kill("h1", None).unwrap().len(), 1);
    assert!(matches!(test.lab.kill("h1", None), Err(LabError::NoSuchProcess { .. })));
    test.lab.start("h1").unwrap();
    assert!(matches!(test.lab.start("h1"), Err(LabError::HostState { .. })));
}

#[test]
fn powering_off_ends_everything_but_the_data_and_powering_on_brings_the_host_back() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(2);
    let data = test.lab.status().unwrap().hosts[0].data_dir.clone();
    test.shell("h1", &format!("echo kept > {}/file; echo lost > /run/file", data.display()));
    let mut running =
        test.lab.command("h1", "sh").unwrap().args(["-c", "echo; exec sleep 100000"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(running.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    test.lab.off("h1").unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(137));
    let off = test.lab.status().unwrap().hosts.remove(0);
    assert_eq!((off.pid, off.netns, off.socket), (None, None, None));
    assert!(!test.reaches("h2", "10.99.0.11"));
    assert!(matches!(test.lab.command("h1", "true"), Err(LabError::HostState { .. })));
    assert!(matches!(test.lab.off("h1"), Err(LabError::HostState { .. })));
    test.lab.on("h1").unwrap();
    assert_eq!(test.shell("h1", &format!("cat {}/file; ls /run", data.display())), "kept");
    assert!(test.reaches("h2", "10.99.0.11"));
}

#[test]
fn a_frozen_host_answers_nothing_until_it_is_thawed_and_can_be_powered_off() {
    if !machine_can() {
        return;
    }
    let test = TestLab::up(1);
    let mut ticking =
        test.lab.command("h1", "sh").unwrap().args(["-c", "read line; echo $line"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    test.lab.freeze("h1").unwrap();
    assert!(matches!(test.lab.command("h1", "true"), Err(LabError::HostState { .. })));
    drop(ticking.stdin.take());
    assert!(ticking.try_wait().unwrap().is_none());
    test.lab.thaw("h1").unwrap();
    assert!(ticking.wait().unwrap().success());
    test.lab.freeze("h1").unwrap();
    test.lab.off("h1").unwrap();
    test.lab.on("h1").unwrap();
    assert_eq!(test.shell("h1", "hostname"), "h1");
}

#[test]
fn a_small_disk_is_soon_full_and_outlives_a_power_off() {
    if !machine_can() {
        return;
    }
    let test = TestLab::with(1, |host| host.data = DataDisk::Small { mebibytes: 16 });
    let data = test.lab.status().unwrap().hosts[0].data_dir.clone();
    let full = test.output("h1", &format!("dd if=/dev/zero of={}/filling bs=1M count=64", data.display()));
    assert!(String::from_utf8_lossy(&full.stderr).contains("No space left on device"));
    test.shell("h1", &format!("rm {0}/filling; echo kept > {0}/file; sync", data.display()));
    test.lab.off("h1").unwrap();
    test.lab.on("h1").unwrap();
    assert_eq!(test.shell("h1", &format!("cat {}/file", data.display())), "kept");
}
