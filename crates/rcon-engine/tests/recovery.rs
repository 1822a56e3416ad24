//! What an engine finds when the one before it was killed at the worst moment.

mod support;

use std::fs;

use rcon_engine::{ContainerState, CreateRequest, Engine, EngineError, ExecRequest, ListFilter, LogQuery, OutputFrame};
use rcon_types::FailureKind;
use support::{Host, create, log_text, request, until, within};

/// Runs work with an engine, and then lets the engine's whole runtime go without a word, as SIGKILL would: nothing is
/// closed, no task ends its work. (The lock and the store's file are let go, as the kernel would.)
fn killed<T: Send + 'static>(work: impl FnOnce(tokio::runtime::Handle) -> T + Send + 'static) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let outcome = std::thread::spawn(move || work(handle)).join().unwrap();
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

/// An engine after the one before it was killed; that one's threads may need a moment to go.
async fn reopen(host: &Host) -> Engine {
    let opening = async {
        loop {
            match Engine::open(host.options()).await {
                Err(EngineError::Locked { .. }) => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    };
    within(opening).await
}

#[test]
fn a_running_container_is_found_again_with_its_log_whole_and_can_be_worked_with() {
    let Some(host) = Host::new() else { return };
    let host = std::sync::Arc::new(host);
    let of_first = host.clone();
    let (id, pid) = killed(move |runtime| {
        runtime.block_on(async {
            let engine = of_first.engine().await;
            let script =
                "i=0; while test $i -lt 200; do echo $i; i=$((i+1)); sleep 0.002; done; while ! test -e /end; do sleep 0.02; done; exit 9";
            let id = of_first.run(&engine, "survivor", script).await;
            (id, engine.inspect(id).unwrap().pid)
        })
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = reopen(&host).await;
        let record = engine.inspect(id).unwrap();
        assert_eq!((record.state, record.pid, record.run), (ContainerState::Running, pid, 1));
        let exec = ExecRequest { command: vec!["touch".into(), "/end".into()], ..ExecRequest::default() };
        let mut session = within(engine.exec(id, exec)).await.unwrap();
        while let Some(frame) = within(session.output.recv()).await {
            assert_eq!(frame, OutputFrame::Exit(0));
        }
        assert_eq!(within(engine.wait(id)).await.unwrap().code, 9);
        let expected: String = (0..200).map(|number| format!("{number}\n")).collect();
        assert_eq!(log_text(&engine, id, LogQuery::default()).await, expected);
        within(engine.remove(id, false)).await.unwrap();
        assert_eq!(host.leftovers(), Vec::<String>::new());
        engine.close().await;
    });
}

#[test]
fn an_end_while_nobody_looked_is_known_afterwards() {
    let Some(host) = Host::new() else { return };
    let host = std::sync::Arc::new(host);
    let of_first = host.clone();
    let (kept, automatic) = killed(move |runtime| {
        runtime.block_on(async {
            let engine = of_first.engine().await;
            let script = "while ! test -e /end; do sleep 0.02; done; exit 11";
            let kept = of_first.run(&engine, "kept", script).await;
            let automatic = engine.create(CreateRequest { auto_remove: true, ..request("automatic", script) }).await.unwrap().id;
            of_first.start(&engine, automatic).await;
            (kept, automatic)
        })
    });
    for id in [kept, automatic] {
        fs::write(host.data_dir().join(format!("containers/{id}/merged/end")), "").unwrap();
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let exit_file = |id| host.run_dir().join(format!("shim/{id}/exit.json")).exists();
        until("both ends", || exit_file(kept) && exit_file(automatic)).await;
        let engine = reopen(&host).await;
        assert_eq!(within(engine.wait(kept)).await.unwrap().code, 11);
        assert!(engine.inspect(automatic).is_err());
        assert_eq!(host.leftovers(), Vec::<String>::new());
        engine.close().await;
        // It is in the store, too.
        let engine = Engine::open(host.options()).await.unwrap();
        assert_eq!(engine.inspect(kept).unwrap().exit.unwrap().code, 11);
        engine.close().await;
    });
}

#[test]
fn a_power_off_ends_what_ran_and_clears_what_was_half_done() {
    let Some(host) = Host::new() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = host.engine().await;
        let created = create(&engine, "created", "true").await;
        let running = host.run(&engine, "running", "sleep 1000").await;
        // A removal that had come as far as its rename.
        let doomed = create(&engine, "doomed", "true").await;
        engine.close().await;
        let dir = |name: &str| host.data_dir().join("containers").join(name);
        fs::rename(dir(&doomed.to_string()), dir(&format!("removed-{doomed}"))).unwrap();
        // Directories of containers that have no record, or were never synced.
        fs::create_dir_all(dir(&"ab".repeat(32)).join("upper")).unwrap();
        fs::create_dir_all(dir("removed-x")).unwrap();
        fs::remove_dir_all(dir(&created.to_string())).unwrap();
        fs::create_dir_all(host.run_dir().join("shim").join("cd".repeat(32))).unwrap();
        // The shim and all it holds vanish, as they do with the power.
        let pid = fs::read_to_string(host.run_dir().join(format!("shim/{running}/shim.pid"))).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        until("the death of the shim", || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))).await;

        let engine = within(Engine::open(host.options())).await.unwrap();
        let record = engine.inspect(running).unwrap();
        assert_eq!((record.state, record.exit.unwrap().code), (ContainerState::Exited, 255));
        assert!(engine.inspect(doomed).is_err());
        assert_eq!(engine.list(ListFilter::All).len(), 2);
        assert_eq!(host.leftovers(), Vec::<String>::new());
        assert!(!dir(&"ab".repeat(32)).exists() && !dir("removed-x").exists());
        // What was lost of the created one is only its empty directories.
        host.start(&engine, created).await;
        assert_eq!(within(engine.wait(created)).await.unwrap().code, 0);
        engine.close().await;
        let again = Engine::open(host.options()).await.unwrap();
        assert_eq!(again.list(ListFilter::All).len(), 2, "a second repair finds nothing to do");
        again.close().await;
    });
}

#[test]
fn two_daemons_on_one_directory_are_one_too_many() {
    let Some(host) = Host::new() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = Engine::open(host.options()).await.unwrap();
        let error = Engine::open(host.options()).await.err().unwrap();
        assert_eq!(error.failure().kind, FailureKind::FailedPrecondition);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        engine.close().await;
        Engine::open(host.options()).await.unwrap().close().await;
    });
}
