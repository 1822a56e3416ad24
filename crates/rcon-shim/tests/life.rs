//! A container's life with a real kernel: start, streams, log, exit, what is left behind.

mod common;

use std::{fs, process::Command};

use common::{Container, can_run, exec_process, shim_program, wait_until};
use rcon_oci::{
    log::LogStream,
    shim::{ExitRecord, Frame, Readiness, Request, Response, ShimStatus},
};

#[test]
fn a_containers_output_and_exit_code_are_kept() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sh", "-c", "echo out; echo err >&2; printf 'no end'; exit 3"], |_| {});
    container.start();
    let exit = container.wait();
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (3, None, false));
    assert!(exit.started_at_ns > 0 && exit.finished_at_ns >= exit.started_at_ns);
    assert_eq!(container.logged(LogStream::Stdout), "out\nno end");
    assert_eq!(container.logged(LogStream::Stderr), "err\n");
    assert!(!container.cgroups().is_empty());
    container.shutdown();
    assert_eq!(container.cgroups(), Vec::<std::path::PathBuf>::new());
    let file = fs::read(container.run_dir().exit_file()).unwrap();
    assert_eq!(ExitRecord::from_json(&file).unwrap(), exit);
    assert!(!container.run_dir().runtime_root().exists());
}

#[test]
fn nothing_runs_before_start() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["touch", "/tmp/ran"], |_| {});
    let pid = container.create();
    let mut client = container.connect();
    let state = client.state();
    assert_eq!((state.status, state.pid, state.started_at_ns), (ShimStatus::Created, pid, 0));
    assert!(!container.root().join("tmp/ran").exists());
    assert_eq!(client.ask(&Request::Start), Response::Done);
    assert_eq!(container.wait().exit_code, 0);
    assert!(container.root().join("tmp/ran").exists());
    assert!(matches!(client.ask(&Request::Start), Response::Failed { .. }));
}

#[test]
fn a_signal_ends_a_container_with_128_and_its_number() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let mut client = container.connect();
    // Process 1 of a namespace takes no signal that it does not handle, but for KILL.
    assert_eq!(client.ask(&Request::Kill { signal: 9 }), Response::Done);
    let exit = container.wait();
    assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    assert!(matches!(client.ask(&Request::Kill { signal: 9 }), Response::Failed { .. }));
    assert!(matches!(client.ask(&Request::Kill { signal: 9999 }), Response::Failed { .. }));
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    if !can_run() {
        return;
    }
    for (program, code) in [("nope", 127), ("/nope", 127), ("/etc/passwd", 126), ("/etc", 126)] {
        let container = Container::new(&[program], |_| {});
        let Readiness::Failed { failure, exit_code } = container.launch() else { panic!("{program} was started") };
        assert_eq!(exit_code, Some(code), "{program}: {failure}");
        assert!(failure.to_string().contains(program), "{failure}");
        assert!(failure.hint.is_some());
        assert_eq!(container.cgroups(), Vec::<std::path::PathBuf>::new());
        assert!(!container.run_dir().socket().exists());
    }
}

#[test]
fn a_file_that_is_no_program_ends_with_126_and_says_so_in_the_log() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["/bin/odd"], |_| {});
    let path = container.root().join("bin/odd");
    fs::write(&path, "no program\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    container.start();
    assert_eq!(container.wait().exit_code, 126);
    assert!(container.logged(LogStream::Stderr).contains("exec format error"));
}

#[test]
fn a_bundle_that_cannot_be_made_a_container_says_why_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["true"], |spec| {
        spec.mounts.push(rcon_oci::MountSpec {
            destination: "/data".into(),
            kind: rcon_oci::MountKind::Bind { source: "/does/not/exist".into(), propagation: None },
            read_only: false,
        });
    });
    let Readiness::Failed { failure, exit_code } = container.launch() else { panic!("it was started") };
    assert_eq!(exit_code, None);
    assert!(failure.to_string().contains("/does/not/exist"), "{failure}");
    assert_eq!(container.cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_container_outlives_its_starter_and_can_be_attached_to_again() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["cat"], |_| {});
    container.options.stdin = true;
    // The starter is killed while the container runs; it is a shell, the shim's parent.
    let mut starter = Command::new("sh")
        .args(["-c", "\"$0\" \"$@\"; exec sleep 1000"])
        .arg(shim_program())
        .args(container.options.to_args())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the socket is there", || container.run_dir().socket().exists());
    assert_eq!(container.connect().ask(&Request::Start), Response::Done);
    starter.kill().unwrap();
    starter.wait().unwrap();
    for round in ["one\n", "two\n"] {
        let mut client = container.connect();
        client.attach(true);
        client.send_frame(&Frame::Stdin(round.as_bytes().to_vec()));
        assert_eq!(client.frame(), Some(Frame::Stdout(round.as_bytes().to_vec())));
    }
    assert_eq!(container.connect().ask(&Request::CloseStdin), Response::Done);
    assert_eq!(container.wait().exit_code, 0);
    assert_eq!(container.logged(LogStream::Stdout), "one\ntwo\n");
}

#[test]
fn a_shim_that_nobody_asks_leaves_and_the_exit_stays() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sh", "-c", "exit 5"], |_| {});
    container.start();
    wait_until("the shim has left", || !container.run_dir().pid_file().exists());
    let exit = ExitRecord::from_json(&fs::read(container.run_dir().exit_file()).unwrap()).unwrap();
    assert_eq!(exit.exit_code, 5);
    assert_eq!(container.cgroups(), Vec::<std::path::PathBuf>::new());
    assert!(!container.run_dir().socket().exists());
}

#[test]
fn two_shims_do_not_share_a_run_directory() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let Readiness::Failed { failure, .. } = container.launch() else { panic!("a second shim started") };
    assert!(failure.to_string().contains("another shim has"), "{failure}");
    assert_eq!(container.connect().state().status, ShimStatus::Running);
}

#[test]
fn a_container_that_takes_too_much_memory_is_known_as_such() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sh", "-c", "x=$(yes | head -c 200000000); echo ${#x}"], |spec| {
        spec.resources.memory_bytes = Some(16 << 20);
        spec.resources.memory_swap_bytes = Some(16 << 20);
    });
    container.start();
    let exit = container.wait();
    assert!(exit.oom_killed, "{exit:?}");
    assert_ne!(exit.exit_code, 0);
}

#[test]
fn an_init_passes_signals_on_and_reaps() {
    if !can_run() {
        return;
    }
    let shim = shim_program();
    if Command::new("ldd").arg(&shim).output().is_ok_and(|o| o.status.success()) {
        // A container without a C library cannot execute it; the static build is what is shipped.
        eprintln!("SKIPPED: this build of rcon-shim is not static");
        return;
    }
    let container = Container::new(&["sleep", "1000"], |spec| spec.init = Some(shim));
    let pid = container.start();
    // Process 1 takes no signal before it is ready for it.
    wait_until("the command runs", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().any(|child| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "sleep\n"))
    });
    assert_eq!(container.connect().ask(&Request::Kill { signal: 15 }), Response::Done);
    assert_eq!(container.wait().exit_code, 143);
}

#[test]
fn an_exec_ends_with_its_container() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let mut client = container.connect();
    client.exec(exec_process(&["sleep", "1000"]));
    assert_eq!(container.connect().ask(&Request::Kill { signal: 9 }), Response::Done);
    assert_eq!(client.rest().2, 137);
    assert_eq!(container.wait().exit_code, 137);
}
