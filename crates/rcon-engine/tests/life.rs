//! The life of containers, with the real shim and the real kernel.

mod support;

use rcon_engine::{
    AttachRequest, ContainerState, CreateRequest, EngineError, EventKind, ExecRequest, InputFrame, IoSession, ListFilter, LogQuery,
    NetworkFiles, OutputFrame, StopRequest,
};
use rcon_types::FailureKind;
use support::{Host, create, log_text, request, until, within};

/// All output of a session as text, and the exit code.
async fn output(session: &mut IoSession) -> (String, Option<i32>) {
    let mut text = String::new();
    while let Some(frame) = within(session.output.recv()).await {
        match frame {
            OutputFrame::Stdout(data) | OutputFrame::Stderr(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
            OutputFrame::Exit(code) => return (text, Some(code)),
        }
    }
    (text, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_created_runs_ends_and_is_removed() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let mut events = engine.events();
    let id = create(&engine, "first", "echo out; echo err >&2; hostname; pwd; exit 3").await;
    assert_eq!(engine.inspect(id).unwrap().state, ContainerState::Created);
    host.start(&engine, id).await;
    let exit = within(engine.wait(id)).await.unwrap();
    assert_eq!((exit.code, exit.error.as_str(), exit.oom_killed), (3, "", false));
    let record = engine.inspect(id).unwrap();
    assert_eq!((record.state, record.pid, record.exit.as_ref()), (ContainerState::Exited, None, Some(&exit)));
    let log = log_text(&engine, id, LogQuery::default()).await;
    for part in ["out\n", "stderr:err\n", &id.short(), "/\n"] {
        assert!(log.contains(part), "{log}");
    }
    within(engine.remove(id, false)).await.unwrap();
    assert!(matches!(engine.inspect(id), Err(EngineError::Unknown(_))));
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Created, EventKind::Started, EventKind::Exited(exit), EventKind::Removed]);
    assert_eq!(host.leftovers(), Vec::<String>::new());
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_container_keeps_what_it_wrote_and_starts_again() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = host.run(&engine, "again", "test -e /mark && exit 7; touch /mark; sleep 1000").await;
    until("the mark", || host.data_dir().join(format!("containers/{id}/upper/mark")).exists()).await;
    // sh as process 1 ignores SIGTERM, so patience ends in SIGKILL.
    within(engine.stop(id, StopRequest { timeout_s: Some(0), signal: String::new() })).await.unwrap();
    assert_eq!(engine.inspect(id).unwrap().exit.unwrap().code, 137);
    within(engine.stop(id, StopRequest::default())).await.unwrap();
    host.start(&engine, id).await;
    assert_eq!(within(engine.wait(id)).await.unwrap().code, 7);
    assert_eq!(engine.inspect(id).unwrap().run, 2);
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_removal_leaves_nothing_and_wait_sees_the_end_of_it() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let created = engine.create(CreateRequest { auto_remove: true, ..request("", "exit 4") }).await.unwrap();
    assert!(created.name.as_str().contains('_'), "a random name");
    host.start(&engine, created.id).await;
    let exit = within(engine.wait(created.id)).await;
    // Gone before we asked is right, too.
    assert!(exit.is_err() || exit.unwrap().code == 4);
    until("the removal", || engine.list(ListFilter::All).is_empty()).await;
    until("the clearing up", || host.leftovers().is_empty()).await;
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_says_why_with_dockers_exit_codes() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    for (program, code) in [("/no/such", 127), ("nowhere", 127), ("/etc/script", 126), ("/etc", 126)] {
        let created = engine.create(CreateRequest { command: vec![program.into()], ..request("", "") }).await.unwrap();
        let error = within(engine.start(created.id, host.namespace(), NetworkFiles::default())).await.unwrap_err();
        assert!(matches!(&error, EngineError::Start { exit_code, .. } if *exit_code == code), "{program}: {}", error.failure());
        let record = engine.inspect(created.id).unwrap();
        assert_eq!((record.state, record.exit.unwrap().code), (ContainerState::Exited, code));
        within(engine.remove(created.id, false)).await.unwrap();
    }
    let created = engine.create(CreateRequest { user: "nobody-knows".into(), ..request("user", "true") }).await.unwrap();
    let error = within(engine.start(created.id, host.namespace(), NetworkFiles::default())).await.unwrap_err();
    assert!(matches!(error, EngineError::Start { exit_code: 125, .. }), "{error}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_are_refused_with_a_hint() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = host.run(&engine, "taken", "sleep 1000").await;
    let error = engine.create(CreateRequest { image: "unknown".into(), ..request("", "true") }).await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::NotFound);
    assert!(error.failure().to_string().contains("image import"), "{}", error.failure());
    let error = engine.create(request("taken", "true")).await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::AlreadyExists);
    assert!(error.to_string().contains(&id.short()), "{error}");
    let error = engine.start(id, host.namespace(), NetworkFiles::default()).await.unwrap_err();
    assert!(matches!(error, EngineError::Running(_)), "{error}");
    let error = engine.remove(id, false).await.unwrap_err();
    assert!(error.failure().to_string().contains("--force"), "{}", error.failure());
    let error = engine.remove_image("busybox", false).await.unwrap_err();
    assert!(error.failure().to_string().contains("taken"), "{}", error.failure());
    assert!(matches!(engine.kill(id, "SIGNOPE").await, Err(EngineError::Invalid { .. })));
    within(engine.remove(id, true)).await.unwrap();
    let error = engine.kill(id, "TERM").await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::NotFound);
    engine.remove_image("busybox", false).await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_a_running_container() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = host.run(&engine, "target", "sleep 1000").await;
    let exec = |script: &str| ExecRequest { command: vec!["sh".into(), "-c".into(), script.into()], ..ExecRequest::default() };
    let mut session = within(engine.exec(id, exec("echo hello; exit 5"))).await.unwrap();
    assert_eq!(output(&mut session).await, ("hello\n".into(), Some(5)));

    let request = ExecRequest { user: "web".into(), workdir: "/tmp".into(), env: vec!["A=1".into()], ..exec("id -u; id -G; pwd; echo $A") };
    let mut session = within(engine.exec(id, request)).await.unwrap();
    assert_eq!(output(&mut session).await, ("33\n33 44\n/tmp\n1\n".into(), Some(0)));

    let mut session = within(engine.exec(id, ExecRequest { stdin: true, ..exec("cat") })).await.unwrap();
    session.input.send(InputFrame::Stdin("through\n".into())).await.unwrap();
    session.input.send(InputFrame::StdinClosed).await.unwrap();
    assert_eq!(output(&mut session).await, ("through\n".into(), Some(0)));

    let missing = ExecRequest { command: vec!["nowhere".into()], ..ExecRequest::default() };
    let error = within(engine.exec(id, missing)).await.unwrap_err();
    assert!(matches!(error, EngineError::Exec { exit_code: 127, .. }), "{}", error.failure());
    within(engine.remove(id, true)).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_before_the_start_misses_nothing() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = engine.create(CreateRequest { open_stdin: true, ..request("early", "echo first; cat; exit 6") }).await.unwrap().id;
    let mut session = engine.attach(id, AttachRequest { stdin: true }).await.unwrap();
    host.start(&engine, id).await;
    session.input.send(InputFrame::Stdin("second\n".into())).await.unwrap();
    session.input.send(InputFrame::StdinClosed).await.unwrap();
    assert_eq!(output(&mut session).await, ("first\nsecond\n".into(), Some(6)));
    let never = create(&engine, "never", "true").await;
    let mut session = engine.attach(never, AttachRequest::default()).await.unwrap();
    within(engine.remove(never, false)).await.unwrap();
    assert_eq!(output(&mut session).await, (String::new(), None));
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_comes_line_by_line_and_ends_with_the_container() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = host.run(&engine, "talker", "echo one; while ! test -e /go; do sleep 0.02; done; seq 1 5000; echo last").await;
    let mut log = engine.logs(id, LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    let first = within(log.entries.recv()).await.unwrap().unwrap();
    assert_eq!(&first.data[..], b"one\n");
    std::fs::write(host.data_dir().join(format!("containers/{id}/merged/go")), "").unwrap();
    let mut lines = Vec::new();
    while let Some(entry) = within(log.entries.recv()).await {
        lines.push(String::from_utf8(entry.unwrap().data.to_vec()).unwrap());
    }
    assert_eq!(lines.len(), 5001);
    assert_eq!((lines[0].as_str(), lines[4999].as_str(), lines[5000].as_str()), ("1\n", "5000\n", "last\n"));
    assert_eq!(log_text(&engine, id, LogQuery { tail: Some(2), ..LogQuery::default() }).await, "5000\nlast\n");
    within(engine.remove(id, true)).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_network_are_the_agents_and_change_in_place() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let id = create(&engine, "named", "cat /etc/hosts /etc/resolv.conf; sleep 1000").await;
    let mut files = NetworkFiles {
        hosts: vec![("10.1.2.3".parse().unwrap(), vec!["named".into()])],
        nameservers: vec!["127.0.0.11".parse().unwrap()],
        ..NetworkFiles::default()
    };
    engine.start(id, host.namespace(), files.clone()).await.unwrap();
    let mut log = engine.logs(id, LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("nameserver 127.0.0.11") {
        seen += std::str::from_utf8(&within(log.entries.recv()).await.unwrap().unwrap().data).unwrap();
    }
    assert!(seen.contains("10.1.2.3\tnamed"), "{seen}");
    files.hosts[0].0 = "10.9.9.9".parse().unwrap();
    engine.set_network_files(id, files).await.unwrap();
    let exec = ExecRequest { command: vec!["cat".into(), "/etc/hosts".into()], ..ExecRequest::default() };
    let (text, _) = output(&mut within(engine.exec(id, exec)).await.unwrap()).await;
    assert!(text.contains("10.9.9.9\tnamed"), "{text}");
    within(engine.remove(id, true)).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_containers_start_and_end_at_once() {
    let Some(host) = Host::new() else { return };
    let engine = host.engine().await;
    let lives = (0..10).map(|number| {
        let (engine, host) = (&engine, &host);
        async move {
            let id = host.run(engine, &format!("c{number}"), &format!("exit {number}")).await;
            let exit = engine.wait(id).await.unwrap();
            engine.remove(id, false).await.unwrap();
            exit.code
        }
    });
    let codes = within(futures::future::join_all(lives)).await;
    assert_eq!(codes, (0..10).collect::<Vec<_>>());
    assert_eq!(host.leftovers(), Vec::<String>::new());
    engine.close().await;
}
