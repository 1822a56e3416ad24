//! What to do about a container after a start of the daemon. Pure: record and shim in, decision out.

use rcon_oci::shim::{ExitRecord, ShimStatus};

use crate::{
    record::{ContainerRecord, Exit},
    shim::Observed,
};

/// The exit code of a container that the host went down under, or whose shim was killed.
pub(crate) const LOST_EXIT_CODE: i32 = 255;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It rests as its record says; whatever is left of a run is cleared away.
    Rest,
    /// It runs: watch it.
    Adopt {
        /// Its first process.
        pid: u32,
        /// When it was started, in ms since 1970.
        started_ms: u64,
    },
    /// It has ended while nobody looked.
    Ended {
        /// How.
        exit: Exit,
        /// When it was started, in ms since 1970, where that is known.
        started_ms: Option<u64>,
    },
    /// It was being set up and never started: take that back.
    TakeBack,
}

/// Decides. The run directory of a shim is the proof of a run: the record on disk may be older.
pub(crate) fn decide(record: &ContainerRecord, observed: &Observed, now_ms: u64) -> Recovery {
    match observed {
        Observed::Alive(state) => match (state.status, u32::try_from(state.pid)) {
            (ShimStatus::Created, _) => Recovery::TakeBack,
            (ShimStatus::Running, Ok(pid)) => Recovery::Adopt { pid, started_ms: state.started_at_ns / 1_000_000 },
            _ => match &state.exit {
                Some(exit) => ended(exit),
                None => lost(now_ms, "its shim does not know how it ended"),
            },
        },
        Observed::Dead { exit: Some(exit) } => ended(exit),
        Observed::Dead { exit: None } => lost(now_ms, "its shim was killed"),
        Observed::Absent if record.is_alive() => lost(now_ms, "the host went down"),
        Observed::Absent => Recovery::Rest,
    }
}

fn ended(exit: &ExitRecord) -> Recovery {
    let started_ms = (exit.started_at_ns > 0).then_some(exit.started_at_ns / 1_000_000);
    Recovery::Ended { exit: exit_of(exit), started_ms }
}

fn lost(now_ms: u64, error: &str) -> Recovery {
    let exit = Exit { code: LOST_EXIT_CODE, error: error.to_owned(), oom_killed: false, finished_ms: now_ms };
    Recovery::Ended { exit, started_ms: None }
}

/// A shim's record of an end as the engine keeps it.
pub(crate) fn exit_of(exit: &ExitRecord) -> Exit {
    Exit {
        code: exit.exit_code,
        error: exit.error.clone().unwrap_or_default(),
        oom_killed: exit.oom_killed,
        finished_ms: exit.finished_at_ns / 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use rcon_oci::shim::ShimState;

    use super::*;
    use crate::record::tests::record;

    fn state(status: ShimStatus, exit: Option<ExitRecord>) -> Observed {
        Observed::Alive(ShimState {
            status,
            shim_pid: 10,
            pid: 11,
            started_at_ns: 5_000_000,
            exit,
            execs: 0,
            oom_killed: false,
            lost_log_records: 0,
        })
    }

    fn exit_record() -> ExitRecord {
        ExitRecord { exit_code: 3, signal: None, oom_killed: true, started_at_ns: 5_000_000, finished_at_ns: 9_000_000, error: None }
    }

    #[test]
    fn a_living_shim_says_what_its_container_is_whatever_the_record_says() {
        let created = record(1, "c");
        let exited = created.starting().unwrap().exited(Exit { code: 0, error: String::new(), oom_killed: false, finished_ms: 1 }).unwrap();
        for record in [created, exited] {
            assert_eq!(decide(&record, &state(ShimStatus::Running, None), 100), Recovery::Adopt { pid: 11, started_ms: 5 });
            assert_eq!(decide(&record, &state(ShimStatus::Created, None), 100), Recovery::TakeBack);
            let Recovery::Ended { exit, started_ms } = decide(&record, &state(ShimStatus::Exited, Some(exit_record())), 100) else {
                panic!("not ended")
            };
            assert_eq!((exit.code, exit.oom_killed, exit.finished_ms, started_ms), (3, true, 9, Some(5)));
        }
    }

    #[test]
    fn a_dead_shim_has_left_the_exit_or_it_is_lost() {
        let running = record(1, "c").starting().unwrap().running(11, 5).unwrap();
        assert_eq!(decide(&running, &Observed::Dead { exit: Some(exit_record()) }, 100), ended(&exit_record()));
        let Recovery::Ended { exit, .. } = decide(&running, &Observed::Dead { exit: None }, 100) else { panic!("not ended") };
        assert_eq!((exit.code, exit.finished_ms), (LOST_EXIT_CODE, 100));
    }

    #[test]
    fn without_a_shim_only_what_was_running_has_ended() {
        let created = record(1, "c");
        let running = created.starting().unwrap().running(11, 5).unwrap();
        assert_eq!(decide(&created, &Observed::Absent, 100), Recovery::Rest);
        let Recovery::Ended { exit, .. } = decide(&running, &Observed::Absent, 100) else { panic!("not ended") };
        assert_eq!(exit.error, "the host went down");
    }
}
