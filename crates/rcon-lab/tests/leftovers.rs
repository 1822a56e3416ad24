//! What a lab leaves behind: nothing, however it ends.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcon_lab::{Daemon, Lab, LabError, LabName};
use support::{TestLab, machine_can, options, soon};

/// Cgroups of the lab and processes of its directory.
fn traces(name: &LabName) -> Vec<String> {
    let pattern = format!("rcon-lab-{}-*", name.id);
    let cgroups = Command::new("find").args(["/sys/fs/cgroup", "-name", &pattern]).output().unwrap();
    let cgroups: Vec<String> = String::from_utf8_lossy(&cgroups.stdout).lines().map(str::to_owned).collect();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let directory = name.path().to_string_lossy().into_owned();
    let processes = processes.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(&directory));
    cgroups.into_iter().chain(processes).collect()
}

#[test]
fn a_lab_that_was_taken_down_leaves_no_process_and_no_file() {
    if !machine_can() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("labs");
    let lab = Lab::up(&options(&place, 2, |_| {})).unwrap();
    assert!(traces(lab.name()).len() > 3);
    lab.lose(&["h1"], 1.0).unwrap();
    Lab::down(lab.name()).unwrap();
    assert_eq!(traces(lab.name()), Vec::<String>::new());
    assert!(!place.exists());
    assert!(matches!(Lab::down(lab.name()), Err(LabError::NoSuchLab { .. })));
}

#[test]
fn a_lab_whose_daemon_does_not_start_is_taken_down_again_and_the_error_quotes_it() {
    if !machine_can() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("labs");
    let failing = options(&place, 2, |host| host.daemon = Daemon::Command(vec!["/nowhere/daemon".into()]));
    let error = Lab::up(&failing).unwrap_err();
    assert!(error.to_string().contains("could not run `/nowhere/daemon`: No such file or directory"), "{error}");
    assert_eq!(traces(&failing.name), Vec::<String>::new());
    assert!(!place.exists());
}

#[test]
fn two_labs_run_beside_each_other() {
    if !machine_can() {
        return;
    }
    let (one, other) = (TestLab::up(1), TestLab::up(2));
    assert!(one.reaches("h1", "10.99.0.1") && other.reaches("h1", "10.99.0.12"));
    assert!(!one.reaches("h1", "10.99.0.12"));
}

#[test]
fn the_same_lab_is_not_made_twice() {
    if !machine_can() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), 1, |_| {});
    let lab = Lab::up(&options).unwrap();
    assert!(matches!(Lab::up(&options), Err(LabError::AlreadyUp { .. })));
    Lab::down(lab.name()).unwrap();
}

/// Runs as the process that is killed while it makes a lab; see the test below.
#[test]
#[ignore = "run by the test below"]
fn make_a_lab_and_be_killed() {
    let (Ok(place), Ok(id)) = (std::env::var("LAB_DIRECTORY"), std::env::var("LAB_ID")) else { return };
    let mut options = options(Path::new(&place), 4, |_| {});
    options.name.id = id;
    options.temporary = true;
    let _ = Lab::up(&options);
    // Complete: wait to be killed.
    std::thread::park();
}

fn start_maker(name: &LabName) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["make_a_lab_and_be_killed", "--exact", "--ignored"])
        .envs([("LAB_DIRECTORY", name.directory.as_os_str()), ("LAB_ID", name.id.as_ref())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_lab_abandoned_at_any_moment_of_its_making_goes_without_trace() {
    if !machine_can() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("labs");
    let name = LabName { id: format!("abandoned{}", std::process::id()), directory: place.clone() };
    for delay_ms in [0_u64, 15, 40, 70, 110, 160, 250, 400] {
        let mut maker = start_maker(&name);
        soon("the lab has a directory", || name.path().exists());
        std::thread::park_timeout(std::time::Duration::from_millis(delay_ms));
        maker.kill().unwrap();
        maker.wait().unwrap();
        Lab::down(&name).unwrap();
        assert_eq!(traces(&name), Vec::<String>::new(), "after {delay_ms} ms");
        assert!(!place.exists());
    }
}

#[test]
fn a_temporary_lab_of_a_dead_process_goes_when_the_next_lab_is_made() {
    if !machine_can() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("labs");
    let abandoned = LabName { id: format!("forgotten{}", std::process::id()), directory: place.clone() };
    let mut maker = start_maker(&abandoned);
    soon("the lab is up", || Lab::open(abandoned.clone()).is_ok());
    maker.kill().unwrap();
    maker.wait().unwrap();
    let lab = Lab::up(&options(&place, 1, |_| {})).unwrap();
    assert!(!abandoned.path().exists());
    Lab::down(lab.name()).unwrap();
    assert_eq!(traces(&abandoned), Vec::<String>::new());
}
