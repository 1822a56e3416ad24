//! Dockerfile instructions applied to an image's defaults.
//!
//! The forms are those of Docker's `import --change`: one instruction a text, without line continuations and variables.

use thiserror::Error;

use crate::{image::Defaults, limits::CHANGES};

/// Why an instruction cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// An instruction that an import does not know.
    #[error("`{0}` is no instruction of an import: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR")]
    Unknown(String),
    /// An instruction with arguments that do not fit.
    #[error("`{instruction}`: {reason}")]
    Arguments {
        /// The instruction as given.
        instruction: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More instructions than are allowed.
    #[error("at most {CHANGES} changes are allowed, these are {0}")]
    TooMany(usize),
}

/// Applies instructions in order.
///
/// # Errors
/// At the first that is unknown or whose arguments do not fit.
pub fn apply(defaults: &mut Defaults, changes: &[String]) -> Result<(), ChangeError> {
    if changes.len() > CHANGES {
        return Err(ChangeError::TooMany(changes.len()));
    }
    changes.iter().try_for_each(|change| apply_one(defaults, change))
}

fn apply_one(defaults: &mut Defaults, change: &str) -> Result<(), ChangeError> {
    let change = change.trim();
    let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let rest = rest.trim();
    let refuse = |reason| ChangeError::Arguments { instruction: change.to_owned(), reason };
    let argument = || if rest.is_empty() { Err(refuse("it needs an argument")) } else { Ok(rest.to_owned()) };
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => defaults.command = command(rest).map_err(refuse)?,
        "ENTRYPOINT" => {
            defaults.entrypoint = command(rest).map_err(refuse)?;
        }
        "ENV" => {
            for (key, value) in pairs(&argument()?).map_err(refuse)? {
                defaults.env.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != key));
                defaults.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => defaults.labels.extend(pairs(&argument()?).map_err(refuse)?),
        "EXPOSE" => {
            for port in argument()?.split_whitespace() {
                let port = port_of(port).ok_or_else(|| refuse("a port is like 80, 80/tcp or 53/udp"))?;
                if !defaults.exposed_ports.contains(&port) {
                    defaults.exposed_ports.push(port);
                }
            }
        }
        "VOLUME" => {
            let volumes = if rest.starts_with('[') { json_words(rest).map_err(refuse)? } else { words(&argument()?).map_err(refuse)? };
            for volume in volumes {
                if !volume.starts_with('/') {
                    return Err(refuse("a volume is an absolute path"));
                }
                if !defaults.volumes.contains(&volume) {
                    defaults.volumes.push(volume);
                }
            }
        }
        "WORKDIR" => {
            let dir = argument()?;
            defaults.workdir = if dir.starts_with('/') { dir } else { format!("{}/{dir}", defaults.workdir.trim_end_matches('/')) };
        }
        "USER" => defaults.user = argument()?,
        "STOPSIGNAL" => defaults.stop_signal = argument()?,
        _ => return Err(ChangeError::Unknown(instruction.to_owned())),
    }
    Ok(())
}

/// `["program", "argument"]`, or a line for the shell.
fn command(text: &str) -> Result<Vec<String>, &'static str> {
    if text.starts_with('[') {
        return json_words(text);
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn json_words(text: &str) -> Result<Vec<String>, &'static str> {
    serde_json::from_str(text).map_err(|_| "what begins with `[` is a JSON list of texts")
}

/// `KEY=VALUE…` with quotes, or the old `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace).ok_or("it is KEY=VALUE")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is KEY=VALUE"),
    };
    words(text)?.into_iter().map(pair).collect()
}

/// Words with the quotes and backslashes of a shell.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next().ok_or("it ends with a backslash")?),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

fn port_of(text: &str) -> Option<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = matches!(protocol, "tcp" | "udp" | "sctp");
    (known && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| format!("{port}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> Result<Defaults, ChangeError> {
        let mut defaults = Defaults::default();
        apply(&mut defaults, &changes.iter().map(|&change| change.to_owned()).collect::<Vec<_>>())?;
        Ok(defaults)
    }

    #[test]
    fn a_command_is_a_json_list_or_a_line_for_the_shell() {
        assert_eq!(applied(&[r#"CMD ["httpd", "-f"]"#]).unwrap().command, ["httpd", "-f"]);
        assert_eq!(applied(&["cmd httpd -f"]).unwrap().command, ["/bin/sh", "-c", "httpd -f"]);
        assert_eq!(applied(&["ENTRYPOINT [\"/init\"]", "ENTRYPOINT []"]).unwrap().entrypoint, Vec::<String>::new());
    }

    #[test]
    fn variables_and_labels_take_quotes_and_the_last_one_wins() {
        let defaults = applied(&[r#"ENV A=1 B="two words" C=a\ b"#, "ENV A 2 and more", "LABEL x=y 'k k'='v'"]).unwrap();
        assert_eq!(defaults.env, ["B=two words", "C=a b", "A=2 and more"]);
        assert_eq!(defaults.labels["k k"], "v");
    }

    #[test]
    fn the_other_instructions_set_what_they_name() {
        let defaults =
            applied(&["WORKDIR /srv", "WORKDIR www", "USER www-data", "EXPOSE 80 53/udp", "STOPSIGNAL SIGINT", "VOLUME /data"]).unwrap();
        assert_eq!(defaults.workdir, "/srv/www");
        assert_eq!((defaults.user.as_str(), defaults.stop_signal.as_str()), ("www-data", "SIGINT"));
        assert_eq!(defaults.exposed_ports, ["80/tcp", "53/udp"]);
        assert_eq!(defaults.volumes, ["/data"]);
    }

    #[test]
    fn instructions_that_make_no_sense_are_refused() {
        for change in [
            "RUN true",
            "",
            "ENV",
            "ENV A",
            "ENV =x",
            "CMD [\"x\"",
            "CMD [1]",
            "EXPOSE 0",
            "EXPOSE x",
            "VOLUME data",
            "LABEL a=\"b",
            "USER",
        ] {
            assert!(applied(&[change]).is_err(), "{change}");
        }
    }
}
