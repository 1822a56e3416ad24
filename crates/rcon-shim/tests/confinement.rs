//! What a container's processes may do: the kernel's own account of them, compared with runc's.

mod common;

use std::{fs, path::PathBuf};

use common::{Container, can_run, exec_process, shim_program, status_line, wait_until};
use rcon_oci::{
    ContainerSpec, ProcessUser, SeccompChoice,
    log::LogStream,
    shim::{ExecProcess, Frame, Request, Response},
};

/// What must be the same under every runtime.
const COMPARED: [&str; 11] = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk"];

/// What makes a container different from the default.
type Change = fn(&mut ContainerSpec);

/// The compared lines of a container's first process, and of an exec's.
fn accounts(change: Change, runtime: Option<&str>) -> [Vec<String>; 2] {
    let mut container = Container::new(&["sleep", "1000"], change);
    container.options.runtime = runtime.map(PathBuf::from);
    let pid = container.start();
    // The runtime's last steps come after its answer.
    wait_until("the program runs", || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n"));
    let first = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let (stdout, stderr, code) = container.exec(&["cat", "/proc/self/status"]);
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&stderr));
    let later = String::from_utf8(stdout).unwrap();
    [first, later].map(|status| COMPARED.iter().map(|key| format!("{key} {}", status_line(&status, key))).collect())
}

#[test]
fn the_default_is_dockers_for_init_and_for_exec() {
    if !can_run() {
        return;
    }
    for account in accounts(|_| {}, None) {
        for line in ["CapBnd 00000000a80425fb", "CapEff 00000000a80425fb", "CapInh 0000000000000000", "NoNewPrivs 0", "Seccomp 2"] {
            assert!(account.iter().any(|own| own == line), "{line} is not in {account:?}");
        }
    }
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["cat", "/proc/self/status"], |_| {});
    container.start();
    assert_eq!(container.wait().exit_code, 0);
    let status = container.logged(LogStream::Stdout);
    for key in ["SigIgn", "SigBlk"] {
        assert_eq!(status_line(&status, key), "0000000000000000", "{key}");
    }
}

#[test]
fn every_runtime_gives_the_same_account() {
    if !can_run() {
        return;
    }
    if !PathBuf::from("/usr/sbin/runc").exists() {
        eprintln!("SKIPPED: runc is not installed");
        return;
    }
    let cases: [(&str, Change); 6] = [
        ("default", |_| {}),
        ("no new privileges", |spec| spec.no_new_privileges = true),
        ("user", |spec| spec.user = ProcessUser { uid: 1000, gid: 1000, additional_gids: vec![1000, 10, 999] }),
        ("user, no new privileges", |spec| {
            spec.user = ProcessUser { uid: 1000, gid: 100, additional_gids: vec![100] };
            spec.no_new_privileges = true;
        }),
        ("capabilities", |spec| {
            spec.capabilities.add = vec!["SYS_ADMIN".into()];
            spec.capabilities.drop = vec!["CHOWN".into(), "SETPCAP".into()];
        }),
        ("nothing at all", |spec| {
            spec.capabilities.drop = vec!["ALL".into()];
            spec.seccomp = SeccompChoice::Unconfined;
        }),
    ];
    for (name, change) in cases {
        let [first, later] = accounts(change, None);
        let [runc_first, runc_later] = accounts(change, Some("/usr/sbin/runc"));
        assert_eq!(first, runc_first, "{name}: the first process");
        assert_eq!(later, runc_later, "{name}: of an exec");
    }
}

#[test]
fn calls_are_refused_as_the_profile_has_it() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    for command in ["unshare -m true", "mount -t tmpfs x /tmp", "unshare -U true"] {
        let (_, stderr, code) = container.exec(&["sh", "-c", command]);
        assert_ne!(code, 0, "{command}");
        let text = String::from_utf8(stderr).unwrap();
        assert!(text.contains("not permitted") || text.contains("ermission denied"), "{command}: {text}");
    }
    // Processes can be made: the comparison of clone's flags is the right way round.
    assert_eq!(container.exec(&["sh", "-c", "(true); true | true"]).2, 0);
    // Changes of the root file system are allowed, and so is what root may do without other namespaces.
    assert_eq!(container.exec(&["sh", "-c", "mkdir /tmp/x && touch /tmp/x/y"]).2, 0);
}

#[test]
fn the_file_systems_are_dockers() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |spec| spec.hostname = "web".into());
    container.start();
    let run = |command: &str| {
        let (stdout, stderr, code) = container.exec(&["sh", "-c", command]);
        assert_eq!(code, 0, "{command}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap().trim().to_owned()
    };
    let devices = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %a %t:%T' $d; done";
    assert_eq!(run(devices), "null 666 1:3\nzero 666 1:5\nfull 666 1:7\nrandom 666 1:8\nurandom 666 1:9\ntty 666 5:0");
    assert_eq!(run("stat -c '%a' /dev/shm /dev/mqueue /tmp | head -n 2"), "1777\n1777");
    assert!(run("grep ' /dev/shm ' /proc/mounts").contains("size=65536k"));
    assert!(run("grep ' /sys ' /proc/mounts").contains("ro,"));
    assert_eq!(run("cat /proc/keys /proc/timer_list /proc/interrupts | wc -c"), "0");
    assert_eq!(run("ls /sys/firmware | wc -l"), "0");
    assert_ne!(container.exec(&["sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"]).2, 0);
    assert_ne!(container.exec(&["sh", "-c", "echo x > /sys/kernel/y"]).2, 0);
    assert_eq!(run("cat /proc/sys/kernel/hostname; echo $HOSTNAME"), "web\nweb");
    assert_eq!(run("echo x > /dev/null; cat /proc/1/comm"), "sleep");
    assert_eq!(run("ls /proc/self/fd | wc -l"), "4", "no descriptor leaks into an exec");
    assert_eq!(run("ls /proc/1/fd | wc -l"), "3", "no descriptor leaks into the first process");
    // Device nodes beyond the list can be made, and not opened.
    let dd = container.exec(&["sh", "-c", "echo | dd of=/dev/kmsg 2>&1; test ! -e /dev/kmsg -o -f /dev/kmsg"]);
    assert_eq!(dd.2, 0);
}

#[test]
fn an_exec_has_its_own_user_directory_and_environment() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |spec| {
        spec.env = vec!["A=first".into(), "B=kept".into()];
        spec.limits = vec![rcon_oci::Limit { kind: rcon_oci::LimitKind::Nofile, soft: 77, hard: 99 }];
    });
    container.start();
    let mut client = container.connect();
    client.exec(ExecProcess {
        env: vec!["A=second".into()],
        cwd: Some("/tmp".into()),
        user: Some(ProcessUser { uid: 1000, gid: 1000, additional_gids: vec![1000, 7] }),
        ..exec_process(&["sh", "-c", "id -u; id -G; pwd; echo $A $B $HOME; ulimit -n; ulimit -Hn; grep CapEff /proc/self/status"])
    });
    let (stdout, _, code) = client.rest();
    assert_eq!(code, 0);
    let expected = "1000\n1000 7\n/tmp\nsecond kept /tmp\n77\n99\nCapEff:\t0000000000000000\n";
    assert_eq!(String::from_utf8(stdout).unwrap(), expected);
}

#[test]
fn an_exec_that_cannot_run_says_why_with_dockers_code() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    fs::write(container.root().join("bin/odd"), "no program\n").unwrap();
    fs::set_permissions(container.root().join("bin/odd"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut client = container.connect();
    for (program, code) in [("nope", 127), ("/nope", 127), ("/etc/passwd", 126), ("/bin/odd", 126)] {
        match client.ask(&Request::Exec { process: exec_process(&[program]) }) {
            Response::Failed { failure, exit_code } => assert_eq!(exit_code, Some(code), "{program}: {failure}"),
            other => panic!("{program}: {other:?}"),
        }
    }
    // The connection and the container are as before.
    client.exec(exec_process(&["true"]));
    assert_eq!(client.rest().2, 0);
    let left: Vec<_> = fs::read_dir(&container.options.run_dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("exec-")), "{left:?}");
}

#[test]
fn an_entrypoint_of_proc_self_exe_reaches_nothing() {
    if !can_run() {
        return;
    }
    let before = fs::read(shim_program()).unwrap();
    let container = Container::new(&["/proc/self/exe", "init", "--", "sh", "-c", "echo ran"], |_| {});
    container.start();
    // Statically linked it runs, from a file that nobody can write; dynamically it does not even load.
    let exit = container.wait();
    let ran = container.logged(LogStream::Stdout).contains("ran");
    assert!(exit.exit_code == if ran { 0 } else { 127 } || exit.exit_code == 126, "{exit:?} {}", container.logged(LogStream::Stderr));
    let writer = Container::new(&["sleep", "1000"], |_| {});
    let pid = writer.create();
    // Between create and start the first process is the runtime's program still: in a container's reach, and sealed.
    let error =
        fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/exe")).and_then(|mut file| std::io::Write::write(&mut file, b"x"));
    assert!(error.is_err());
    assert!(fs::read_link(format!("/proc/{pid}/exe")).unwrap().to_string_lossy().starts_with("/memfd:rcon-shim"));
    assert_eq!(fs::read(shim_program()).unwrap(), before);
}

#[test]
fn a_client_that_breaks_the_protocol_is_cut_off_alone() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    for bytes in [&[0xff; 64][..], &[0, 0, 0, 0, 9], &[0, 0, 0, 2, 3, b'x', b'y']] {
        let mut client = container.connect();
        client.send_raw(bytes);
        assert_eq!(client.frame(), None);
    }
    let mut client = container.connect();
    client.send_frame(&Frame::Message(b"not json".to_vec()));
    assert!(matches!(client.receive(), Some(Response::Failed { .. })));
    assert!(matches!(client.ask(&Request::Resize { size: rcon_oci::shim::WindowSize { rows: 1, columns: 1 } }), Response::Failed { .. }));
    assert_eq!(client.state().pid, container.connect().state().pid);
}
