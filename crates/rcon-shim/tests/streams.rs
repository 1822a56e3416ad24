//! Streams through the shim: whole, in order, fast, and none in another's way.

mod common;

use std::time::Instant;

use common::{Container, can_run, exec_process, wait_until};
use rcon_oci::{
    log::LogStream,
    shim::{ExecProcess, Frame, MAX_DATA_BYTES, Request, Response, WindowSize},
};

/// Bytes that are no text, and not the same twice.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn an_exec_of_cat_gives_64_mib_back_as_they_were() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let sent = noise(64 << 20);
    let mut client = container.connect();
    client.exec(ExecProcess { stdin: true, ..exec_process(&["cat"]) });
    let mut sender = client.sender();
    let start = Instant::now();
    let (stdout, _, code) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in sent.chunks(MAX_DATA_BYTES) {
                sender.send_frame(&Frame::Stdin(piece.to_vec()));
            }
            sender.send_frame(&Frame::StdinClosed);
        });
        client.rest()
    });
    eprintln!("64 MiB through exec cat in {:?}", start.elapsed());
    assert_eq!(code, 0);
    assert!(stdout == sent, "what came back differs");
}

#[test]
fn several_attachments_see_the_same_and_input_comes_from_any() {
    if !can_run() {
        return;
    }
    let mut container = Container::new(&["cat"], |_| {});
    container.options.stdin = true;
    container.options.stdin_once = true;
    container.create();
    let mut clients: Vec<_> = (0..3).map(|_| container.connect()).collect();
    for client in &mut clients {
        client.attach(true);
    }
    assert_eq!(container.connect().ask(&Request::Start), Response::Done);
    clients[1].send_frame(&Frame::Stdin(b"hello\n".to_vec()));
    for client in &mut clients {
        assert_eq!(client.frame(), Some(Frame::Stdout(b"hello\n".to_vec())));
    }
    clients[2].send_frame(&Frame::StdinClosed);
    for client in &mut clients {
        assert_eq!(client.rest(), (Vec::new(), Vec::new(), 0));
    }
}

#[test]
fn a_reader_that_does_not_read_stops_neither_the_container_nor_its_log() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x; echo; echo the end"], |_| {});
    container.create();
    let mut lazy = container.connect();
    lazy.attach(false);
    assert_eq!(container.connect().ask(&Request::Start), Response::Done);
    assert_eq!(container.wait().exit_code, 0);
    let logged = container.logged(LogStream::Stdout);
    assert_eq!(logged.len(), 6_000_000 + 1 + 8);
    assert!(logged.ends_with("the end\n"));
    // It finds what was kept for it, and that it missed the rest.
    let mut got = 0;
    loop {
        match lazy.frame() {
            Some(Frame::Stdout(bytes)) => got += bytes.len(),
            Some(Frame::Message(bytes)) => {
                assert_eq!(Response::from_bytes(&bytes).unwrap(), Response::Lagged);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(got >= 1 << 20, "{got}");
    assert_eq!(lazy.frame(), None);
}

#[test]
fn a_reader_that_reads_gets_everything_of_a_fast_writer() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x"], |_| {});
    container.create();
    let mut client = container.connect();
    client.attach(false);
    assert_eq!(container.connect().ask(&Request::Start), Response::Done);
    let (stdout, _, code) = client.rest();
    assert_eq!((stdout.len(), code), (20_000_000, 0));
}

#[test]
fn an_exec_nobody_reads_waits_and_one_whose_client_left_goes_on() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let mut client = container.connect();
    client.exec(exec_process(&["sh", "-c", "yes | head -c 8000000; touch /tmp/done"]));
    drop(client);
    wait_until("it has gone on", || container.root().join("tmp/done").exists());
    wait_until("it is forgotten", || container.connect().state().execs == 0);
}

#[test]
fn an_exec_ends_though_a_child_keeps_its_output_open() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let (stdout, _, code) = container.exec(&["sh", "-c", "echo now; sleep 1000 & exit 4"]);
    assert_eq!((stdout, code), (b"now\n".to_vec(), 4));
}

#[test]
fn a_terminal_has_a_size_and_echoes() {
    if !can_run() {
        return;
    }
    let container =
        Container::new(&["sh", "-c", "read line; stty size; test -t 0 && test -t 1 && test -t 2 && echo \"got $line\""], |spec| {
            spec.tty = true
        });
    container.create();
    let mut client = container.connect();
    assert_eq!(client.ask(&Request::Resize { size: WindowSize { rows: 33, columns: 99 } }), Response::Done);
    client.attach(true);
    assert_eq!(container.connect().ask(&Request::Start), Response::Done);
    client.send_frame(&Frame::Stdin(b"hi\n".to_vec()));
    let (stdout, stderr, code) = client.rest();
    let text = String::from_utf8(stdout).unwrap();
    assert_eq!((text.as_str(), stderr.len(), code), ("hi\r\n33 99\r\ngot hi\r\n", 0, 0));
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let mut client = container.connect();
    let process = ExecProcess {
        tty: true,
        stdin: true,
        size: Some(WindowSize { rows: 12, columns: 34 }),
        ..exec_process(&["sh", "-c", "stty size; read x; stty size; echo $TERM"])
    };
    client.exec(process);
    assert_eq!(client.frame(), Some(Frame::Stdout(b"12 34\r\n".to_vec())));
    client.send(&Request::Resize { size: WindowSize { rows: 5, columns: 6 } });
    client.send_frame(&Frame::Stdin(b"\n".to_vec()));
    let (stdout, _, code) = client.rest();
    assert_eq!((String::from_utf8(stdout).unwrap().trim(), code), ("5 6\r\nxterm", 0));
}

#[test]
fn an_exec_gets_signals_through_its_stream() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    let mut client = container.connect();
    client.exec(exec_process(&["sleep", "1000"]));
    client.send(&Request::Kill { signal: 15 });
    assert_eq!(client.rest().2, 143);
}

#[test]
fn many_execs_at_once_do_not_mix() {
    if !can_run() {
        return;
    }
    let container = Container::new(&["sleep", "1000"], |_| {});
    container.start();
    std::thread::scope(|scope| {
        for number in 0..12 {
            let container = &container;
            scope.spawn(move || {
                let (stdout, _, code) = container.exec(&["sh", "-c", &format!("echo {number}; exit {number}")]);
                assert_eq!((String::from_utf8(stdout).unwrap(), code), (format!("{number}\n"), number));
            });
        }
    });
}
