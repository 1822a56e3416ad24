//! The command line, as runc has it.

use std::{ffi::OsString, path::PathBuf};

use nix::sys::signal::Signal;
use thiserror::Error;

/// Where state lives when `--root` is not given.
const DEFAULT_ROOT: &str = "/run/rcon-oci";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Directory of the containers' state.
    pub root: PathBuf,
    /// File that gets JSON lines.
    pub log: Option<PathBuf>,
    /// What to do.
    pub verb: Verb,
    /// With which container.
    pub id: String,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    /// Set everything up and wait for start.
    Create(CreateArguments),
    /// Run the program.
    Start,
    /// Print the state as JSON.
    State,
    /// Send a signal to the first process.
    Kill {
        /// Which.
        signal: Signal,
    },
    /// Remove cgroup and state.
    Delete {
        /// Also of a container that runs: kill it.
        force: bool,
    },
    /// Run another process in it.
    Exec(ExecArguments),
}

/// Of `create`.
#[derive(Debug, PartialEq, Eq)]
pub struct CreateArguments {
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// File that gets the first process' id.
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the terminal.
    pub console_socket: Option<PathBuf>,
}

/// Of `exec`; always detached.
#[derive(Debug, PartialEq, Eq)]
pub struct ExecArguments {
    /// File with an OCI process.
    pub process: PathBuf,
    /// File that gets the process' id.
    pub pid_file: Option<PathBuf>,
    /// Socket that gets the terminal.
    pub console_socket: Option<PathBuf>,
}

/// A command line that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgumentsError {
    /// No verb, or another.
    #[error("`{verb}` is not one of create, start, state, kill, delete, exec")]
    UnknownVerb {
        /// As given.
        verb: String,
    },
    /// An option of no verb, or of another.
    #[error("`{option}` is not an option here")]
    UnknownOption {
        /// As given.
        option: String,
    },
    /// An option at the end, without its value.
    #[error("`{option}` needs a value")]
    NoValue {
        /// The option.
        option: String,
    },
    /// Something that must be there.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// No signal.
    #[error("`{signal}` is not a signal")]
    UnknownSignal {
        /// As given.
        signal: String,
    },
    /// A name that cannot be a directory's.
    #[error("`{id}` cannot be a container's id")]
    BadId {
        /// As given.
        id: String,
    },
}

#[derive(Default)]
struct Found {
    bundle: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    process: Option<PathBuf>,
    force: bool,
    plain: Vec<String>,
}

impl Arguments {
    /// Parses what follows `oci`.
    pub fn parse(args: Vec<OsString>) -> Result<Self, ArgumentsError> {
        let mut args = args.into_iter();
        let (mut root, mut log, mut verb) = (None, None, None);
        while let Some(word) = args.next() {
            let mut value = || args.next().map(PathBuf::from).ok_or(ArgumentsError::NoValue { option: lossy(&word) });
            match word.to_str() {
                Some("--root") => root = Some(value()?),
                Some("--log") => log = Some(value()?),
                Some("--log-format") => drop(value()?),
                _ => {
                    verb = Some(lossy(&word));
                    break;
                }
            }
        }
        let verb = verb.ok_or(ArgumentsError::Missing { what: "the command" })?;
        let found = Found::read(args)?;
        let id = found.plain.first().cloned().ok_or(ArgumentsError::Missing { what: "the container's id" })?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
        if id.is_empty() || id.starts_with('.') || id.len() > 128 || !id.chars().all(fits) {
            return Err(ArgumentsError::BadId { id });
        }
        Ok(Self { root: root.unwrap_or_else(|| DEFAULT_ROOT.into()), log, verb: found.verb(&verb)?, id })
    }
}

impl Found {
    fn read(mut args: impl Iterator<Item = OsString>) -> Result<Self, ArgumentsError> {
        let mut found = Self::default();
        while let Some(word) = args.next() {
            let mut value = || args.next().map(PathBuf::from).ok_or(ArgumentsError::NoValue { option: lossy(&word) });
            match word.to_str() {
                Some("--bundle" | "-b") => found.bundle = Some(value()?),
                Some("--pid-file") => found.pid_file = Some(value()?),
                Some("--console-socket") => found.console_socket = Some(value()?),
                Some("--process" | "-p") => found.process = Some(value()?),
                Some("--force" | "-f") => found.force = true,
                Some("--detach" | "-d") => {}
                Some(option) if option.starts_with("--") => return Err(ArgumentsError::UnknownOption { option: option.to_owned() }),
                _ => found.plain.push(lossy(&word)),
            }
        }
        Ok(found)
    }

    fn verb(self, verb: &str) -> Result<Verb, ArgumentsError> {
        let Self { bundle, pid_file, console_socket, process, force, plain } = self;
        Ok(match verb {
            "create" => {
                let bundle = bundle.ok_or(ArgumentsError::Missing { what: "--bundle" })?;
                Verb::Create(CreateArguments { bundle, pid_file, console_socket })
            }
            "exec" => {
                let process = process.ok_or(ArgumentsError::Missing { what: "--process" })?;
                Verb::Exec(ExecArguments { process, pid_file, console_socket })
            }
            "start" => Verb::Start,
            "state" => Verb::State,
            "delete" => Verb::Delete { force },
            "kill" => Verb::Kill { signal: parse_signal(plain.get(1).map_or("TERM", String::as_str))? },
            other => return Err(ArgumentsError::UnknownVerb { verb: other.to_owned() }),
        })
    }
}

/// A number, or a name with or without `SIG`.
fn parse_signal(text: &str) -> Result<Signal, ArgumentsError> {
    let refuse = || ArgumentsError::UnknownSignal { signal: text.to_owned() };
    if let Ok(number) = text.parse::<i32>() {
        return Signal::try_from(number).map_err(|_| refuse());
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse().map_err(|_| refuse())
}

fn lossy(word: &OsString) -> String {
    word.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentsError> {
        Arguments::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn command_lines_for_runc_are_understood() {
        let create = parse("--root /r --log /l --log-format json create --bundle /b --pid-file /p abc").unwrap();
        assert_eq!((create.root, create.id.as_str()), ("/r".into(), "abc"));
        let Verb::Create(create) = create.verb else { panic!("not create") };
        assert_eq!((create.bundle, create.pid_file, create.console_socket), ("/b".into(), Some("/p".into()), None));
        assert!(matches!(parse("exec --process /x --detach abc").unwrap().verb, Verb::Exec(_)));
        assert_eq!(parse("kill abc 9").unwrap().verb, Verb::Kill { signal: Signal::SIGKILL });
        assert_eq!(parse("kill abc hup").unwrap().verb, Verb::Kill { signal: Signal::SIGHUP });
        assert_eq!(parse("delete --force abc").unwrap().verb, Verb::Delete { force: true });
    }

    #[test]
    fn wrong_command_lines_say_what_is_wrong() {
        for (line, text) in [
            ("", "the command is missing"),
            ("fly abc", "`fly` is not one of create, start, state, kill, delete, exec"),
            ("start", "the container's id is missing"),
            ("create abc", "--bundle is missing"),
            ("start --fly abc", "`--fly` is not an option here"),
            ("start ../x", "`../x` cannot be a container's id"),
            ("kill abc FLY", "`FLY` is not a signal"),
            ("--root", "`--root` needs a value"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), text, "{line}");
        }
    }
}
