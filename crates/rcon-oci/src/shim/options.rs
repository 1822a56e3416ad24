//! The command line of `rcon-shim run`, made by the daemon and read by the shim.

use std::{ffi::OsString, path::PathBuf};

use thiserror::Error;

/// What a shim is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimOptions {
    /// The container's id.
    pub id: String,
    /// The OCI bundle: a directory with `config.json`.
    pub bundle: PathBuf,
    /// The run directory, which exists.
    pub run_dir: PathBuf,
    /// The log file, and the stem of its rotated ones; absent: nothing is kept.
    pub log: Option<PathBuf>,
    /// Another OCI runtime than the shim itself, e.g. `/usr/sbin/runc`.
    pub runtime: Option<PathBuf>,
    /// Keep standard input open for attachments; else it is empty.
    pub stdin: bool,
    /// Close standard input when the first attachment with input leaves, as `docker run -i` does.
    pub stdin_once: bool,
}

/// A command line that `rcon-shim run` does not understand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// An unknown word.
    #[error("`{argument}` is not an option of rcon-shim run")]
    Unknown {
        /// The word.
        argument: String,
    },
    /// An option at the end, without its value.
    #[error("`{option}` needs a value")]
    NoValue {
        /// The option.
        option: &'static str,
    },
    /// An option that must be there.
    #[error("`{option}` is missing")]
    Missing {
        /// The option.
        option: &'static str,
    },
}

impl ShimOptions {
    /// The arguments after the program's name: `run --id …`.
    #[must_use]
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["run".into(), "--id".into(), self.id.clone().into()];
        let mut path = |option: &str, value: &PathBuf| args.extend([OsString::from(option), value.clone().into_os_string()]);
        path("--bundle", &self.bundle);
        path("--run-dir", &self.run_dir);
        if let Some(log) = &self.log {
            path("--log", log);
        }
        if let Some(runtime) = &self.runtime {
            path("--runtime", runtime);
        }
        if self.stdin {
            args.push("--stdin".into());
        }
        if self.stdin_once {
            args.push("--stdin-once".into());
        }
        args
    }

    /// The options from the arguments after `run`.
    ///
    /// # Errors
    /// When a word is unknown, or one that is needed is not there.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let (mut id, mut bundle, mut run_dir, mut log, mut runtime) = (None, None, None, None, None);
        let (mut stdin, mut stdin_once) = (false, false);
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            let mut value = |option| args.next().ok_or(OptionsError::NoValue { option });
            match argument.to_str() {
                Some("--id") => id = Some(value("--id")?),
                Some("--bundle") => bundle = Some(PathBuf::from(value("--bundle")?)),
                Some("--run-dir") => run_dir = Some(PathBuf::from(value("--run-dir")?)),
                Some("--log") => log = Some(PathBuf::from(value("--log")?)),
                Some("--runtime") => runtime = Some(PathBuf::from(value("--runtime")?)),
                Some("--stdin") => stdin = true,
                Some("--stdin-once") => stdin_once = true,
                _ => return Err(OptionsError::Unknown { argument: argument.to_string_lossy().into_owned() }),
            }
        }
        Ok(Self {
            id: id.ok_or(OptionsError::Missing { option: "--id" })?.to_string_lossy().into_owned(),
            bundle: bundle.ok_or(OptionsError::Missing { option: "--bundle" })?,
            run_dir: run_dir.ok_or(OptionsError::Missing { option: "--run-dir" })?,
            log,
            runtime,
            stdin,
            stdin_once,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_command_line() {
        let full = ShimOptions {
            id: "abc".into(),
            bundle: "/b".into(),
            run_dir: "/r".into(),
            log: Some("/l".into()),
            runtime: Some("/usr/sbin/runc".into()),
            stdin: true,
            stdin_once: true,
        };
        let bare = ShimOptions { log: None, runtime: None, stdin: false, stdin_once: false, ..full.clone() };
        for options in [full, bare] {
            let args = options.to_args();
            assert_eq!(args[0], "run");
            assert_eq!(ShimOptions::parse(args.into_iter().skip(1)).unwrap(), options);
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        let parse = |words: &[&str]| ShimOptions::parse(words.iter().map(OsString::from)).unwrap_err();
        assert_eq!(parse(&["--id"]), OptionsError::NoValue { option: "--id" });
        assert_eq!(parse(&["--fly"]), OptionsError::Unknown { argument: "--fly".into() });
        assert_eq!(parse(&["--id", "x", "--bundle", "/b"]), OptionsError::Missing { option: "--run-dir" });
    }
}
