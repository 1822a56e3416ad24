//! What a container is to be, from what was asked and what its image says. Pure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rcon_image::{Defaults, Image};
use rcon_oci::{ContainerSpec, EtcFiles, NetworkNamespace, user::ResolvedUser};
use rcon_types::{ContainerId, ContainerName};

use crate::{
    error::EngineError,
    limits::{COMMAND_BYTES, STOP_TIMEOUT_S},
    paths::ContainerPaths,
    record::{ContainerRecord, ContainerState},
    request::CreateRequest,
    signal::parse_signal,
};

/// Longest host name (sethostname(2): HOST_NAME_MAX).
const HOSTNAME_BYTES: usize = 64;

/// A new container's record.
pub(crate) fn record(
    request: CreateRequest,
    image: &Image,
    id: ContainerId,
    name: ContainerName,
    created_ms: u64,
) -> Result<ContainerRecord, EngineError> {
    let defaults = &image.defaults;
    let args = args(&request, defaults)?;
    let env = env(&defaults.env, &request.env)?;
    let invalid = |what, reason: &str| EngineError::Invalid { what, reason: reason.to_owned() };
    if args.iter().chain(&env).map(String::len).sum::<usize>() > COMMAND_BYTES {
        return Err(invalid("command", "arguments and environment are too long together"));
    }
    let hostname = if request.hostname.is_empty() { id.short() } else { request.hostname };
    if hostname.len() > HOSTNAME_BYTES || hostname.bytes().any(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'-' | b'.' | b'_')) {
        return Err(invalid("host name", "it has up to 64 letters, digits, `-`, `_` and `.`"));
    }
    let workdir = first_set([&request.workdir, &defaults.workdir], "/");
    if !workdir.starts_with('/') || Path::new(&workdir).components().any(|part| part == std::path::Component::ParentDir) {
        return Err(invalid("working directory", "it is an absolute path without `..`"));
    }
    let mut labels = defaults.labels.clone();
    labels.extend(request.labels);
    Ok(ContainerRecord {
        id,
        name,
        image: request.image,
        image_id: image.id,
        layers: image.layers.clone(),
        args,
        env,
        workdir,
        user: first_set([&request.user, &defaults.user], ""),
        hostname,
        labels,
        tty: request.tty,
        open_stdin: request.open_stdin,
        auto_remove: request.auto_remove,
        stop_signal: parse_signal(&first_set([&request.stop_signal, &defaults.stop_signal], "TERM"))?,
        stop_timeout_s: request.stop_timeout_s.unwrap_or(STOP_TIMEOUT_S),
        notes: request.notes,
        state: ContainerState::Created,
        run: 0,
        pid: None,
        created_ms,
        started_ms: None,
        exit: None,
    })
}

fn first_set(choices: [&String; 2], otherwise: &str) -> String {
    choices.into_iter().find(|choice| !choice.is_empty()).cloned().unwrap_or_else(|| otherwise.to_owned())
}

/// Docker's rules: an entrypoint of one's own takes the image's command away, too; a command replaces the image's alone.
fn args(request: &CreateRequest, defaults: &Defaults) -> Result<Vec<String>, EngineError> {
    let (mut args, command) = match &request.entrypoint {
        Some(entrypoint) => (Vec::from_iter(Some(entrypoint.clone()).filter(|text| !text.is_empty())), &request.command),
        None if request.command.is_empty() => (defaults.entrypoint.clone(), &defaults.command),
        None => (defaults.entrypoint.clone(), &request.command),
    };
    args.extend(command.iter().cloned());
    if args.first().is_none_or(String::is_empty) {
        return Err(EngineError::Invalid { what: "command", reason: "neither the request nor the image has one".into() });
    }
    if args.iter().any(|text| text.contains('\0')) {
        return Err(EngineError::Invalid { what: "command", reason: "it has a NUL".into() });
    }
    Ok(args)
}

/// The image's variables, then the request's; a later one replaces an earlier one in its place, a bare key takes it away.
fn env(of_image: &[String], of_request: &[String]) -> Result<Vec<String>, EngineError> {
    let mut env: Vec<(String, Option<String>)> = Vec::new();
    for text in of_image.iter().chain(of_request) {
        let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(key, value)| (key, Some(value.to_owned())));
        if key.is_empty() || text.contains('\0') {
            return Err(EngineError::Invalid { what: "environment", reason: format!("`{}` is not KEY=VALUE", text.escape_debug()) });
        }
        match env.iter_mut().find(|(known, _)| known == key) {
            Some(known) => known.1 = value,
            None => env.push((key.to_owned(), value)),
        }
    }
    Ok(env.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect())
}

/// What the runtime is told.
pub(crate) fn specification(
    record: &ContainerRecord,
    paths: &ContainerPaths,
    user: &ResolvedUser,
    namespace: &Path,
    cgroup_parent: &Path,
) -> ContainerSpec {
    let mut env = record.env.clone();
    if !env.iter().any(|text| text.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    ContainerSpec {
        env,
        cwd: PathBuf::from(&record.workdir),
        user: user.user.clone(),
        tty: record.tty,
        hostname: record.hostname.clone(),
        etc_files: EtcFiles { hosts: Some(paths.hosts()), hostname: Some(paths.hostname()), resolv_conf: Some(paths.resolv_conf()) },
        network: NetworkNamespace::Path(namespace.to_owned()),
        cgroup_path: cgroup_parent.join(record.id.to_string()),
        labels: BTreeMap::clone(&record.labels),
        ..ContainerSpec::new(record.id.to_string(), paths.merged(), record.args.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn image(entrypoint: &[&str], command: &[&str]) -> Image {
        let digest = rcon_image::Digest::of(b"");
        let defaults = Defaults {
            entrypoint: words(entrypoint),
            command: words(command),
            env: words(&["PATH=/bin", "A=1"]),
            labels: BTreeMap::from([("k".into(), "image".into()), ("i".into(), "1".into())]),
            stop_signal: "SIGINT".into(),
            ..Defaults::default()
        };
        Image { id: digest, manifest: digest, references: Vec::new(), defaults, layers: vec![digest], size_bytes: 0, created_ms: 0 }
    }

    fn planned(request: CreateRequest, image: &Image) -> Result<ContainerRecord, EngineError> {
        record(request, image, ContainerId::from_bytes([0xab; 32]), "name".parse().unwrap(), 5)
    }

    #[test]
    fn entrypoint_and_command_combine_as_in_docker() {
        for (entrypoint, command, expected) in [
            (None, &[][..], &["e", "c"][..]),
            (None, &["x"], &["e", "x"]),
            (Some("own"), &[], &["own"]),
            (Some("own"), &["x", "y"], &["own", "x", "y"]),
            (Some(""), &["x"], &["x"]),
        ] {
            let request = CreateRequest { entrypoint: entrypoint.map(str::to_owned), command: words(command), ..CreateRequest::default() };
            assert_eq!(planned(request, &image(&["e"], &["c"])).unwrap().args, expected);
        }
        assert!(planned(CreateRequest::default(), &image(&[], &[])).is_err());
        let cleared = CreateRequest { entrypoint: Some(String::new()), ..CreateRequest::default() };
        assert!(planned(cleared, &image(&["e"], &["c"])).is_err());
    }

    #[test]
    fn what_is_asked_for_goes_over_what_the_image_says() {
        let request = CreateRequest {
            env: words(&["A=2", "B=3", "PATH"]),
            labels: BTreeMap::from([("k".into(), "own".into())]),
            ..CreateRequest::default()
        };
        let record = planned(request, &image(&[], &["c"])).unwrap();
        assert_eq!(record.env, ["A=2", "B=3"]);
        assert_eq!((record.labels["k"].as_str(), record.labels["i"].as_str()), ("own", "1"));
        assert_eq!((record.stop_signal, record.workdir.as_str(), record.hostname.as_str()), (2, "/", "abababababab"));
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let request = CreateRequest { command: words(&["c"]), ..CreateRequest::default() };
        for bad in [
            CreateRequest { env: words(&["=x"]), ..request.clone() },
            CreateRequest { workdir: "relative".into(), ..request.clone() },
            CreateRequest { workdir: "/a/../b".into(), ..request.clone() },
            CreateRequest { hostname: "two words".into(), ..request.clone() },
            CreateRequest { stop_signal: "SIGNOPE".into(), ..request.clone() },
            CreateRequest { command: words(&["a\0b"]), ..request.clone() },
            CreateRequest { command: vec!["x".repeat(COMMAND_BYTES + 1)], ..request },
        ] {
            assert!(matches!(planned(bad, &image(&[], &[])), Err(EngineError::Invalid { .. })));
        }
    }
}
