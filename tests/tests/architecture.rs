//! Who may use whom: the table of the design as data, held against what Cargo says; and the shape of the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate, and which of ours it may use. `*` means all of them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("rcon-types", &[]),
    ("rcon-proto", &["rcon-types"]),
    ("rcon-rpc", &["rcon-types", "rcon-proto", "rcon-identity"]),
    ("rcon-state", &["rcon-types", "rcon-proto"]),
    ("rcon-planner", &["rcon-types", "rcon-state"]),
    ("rcon-identity", &["rcon-types"]),
    ("rcon-raft", &["rcon-types", "rcon-state", "rcon-proto", "rcon-rpc", "rcon-identity"]),
    ("rcon-manager", &["rcon-types", "rcon-state", "rcon-planner", "rcon-raft", "rcon-identity", "rcon-proto", "rcon-rpc"]),
    ("rcon-image", &["rcon-types"]),
    ("rcon-oci", &["rcon-types"]),
    ("rcon-shim", &["rcon-types", "rcon-oci"]),
    ("rcon-engine", &["rcon-types", "rcon-image", "rcon-oci"]),
    ("rcon-netplan", &["rcon-types"]),
    ("rcon-net", &["rcon-types", "rcon-netplan", "rcon-packet"]),
    ("rcon-dns", &["rcon-types", "rcon-netplan"]),
    ("rcon-packet", &["rcon-types"]),
    ("rcon-tunnel", &["rcon-types", "rcon-packet", "rcon-aead"]),
    ("rcon-aead", &[]),
    ("rcon-agent", &["rcon-types", "rcon-proto", "rcon-rpc", "rcon-identity", "rcon-engine", "rcon-image", "rcon-net", "rcon-netplan"]),
    ("rcon-docker", &["rcon-types", "rcon-proto", "rcon-rpc", "rcon-engine", "rcon-agent"]),
    ("rcond", &["*"]),
    ("rconctl", &["rcon-types", "rcon-proto", "rcon-rpc", "rcon-identity"]),
    ("rcon-lab", &["rcon-types", "rcon-rpc"]),
    ("xtask", &["rcon-lab"]),
    ("rcon-tests", &["*"]),
];

/// The daemon uses all libraries, but not the shim, which is a program of its own, nor what only tests need.
const NOT_IN_THE_DAEMON: &[&str] = &["rcon-shim", "rcon-lab", "rcon-tests"];

/// Packages that only these crates may name; a star stands for any ending.
const ALONE: &[(&[&str], &[&str])] = &[
    (&["prost", "prost-types"], &["rcon-proto"]),
    // The stubs are generated from the same files as the messages.
    (&["prost-build", "protox"], &["rcon-proto", "rcon-rpc"]),
    (&["tonic*"], &["rcon-rpc"]),
    (&["imbl"], &["rcon-state"]),
    (&["rcgen", "rustls"], &["rcon-identity"]),
    (&["openraft*", "raft-log"], &["rcon-raft"]),
    (&["oci-client", "tar", "zstd"], &["rcon-image"]),
    // One package has the image format and the runtime format; the shim's second role reads what rcon-oci wrote.
    (&["oci-spec"], &["rcon-oci", "rcon-image", "rcon-shim"]),
    (&["libcontainer"], &["rcon-shim"]),
    (&["redb"], &["rcon-engine"]),
    (&["rtnetlink", "nftables"], &["rcon-net"]),
    (&["hickory-*"], &["rcon-dns"]),
    (&["boringtun"], &["rcon-tunnel"]),
    (&["axum", "bollard-stubs"], &["rcon-docker"]),
    (&["clap"], &["rcond", "rconctl", "xtask"]),
    (&["tracing-subscriber"], &["rcond"]),
    (&["indicatif"], &["rconctl"]),
];

/// Crates below which no tokio is, however deep: what must be right is pure.
const PURE: &[&str] = &["rcon-types", "rcon-proto", "rcon-state", "rcon-planner", "rcon-oci", "rcon-netplan", "rcon-packet", "rcon-aead"];

/// Lines a file may have at most; 250 are usual and 500 a reason to ask.
const MOST_LINES: usize = 1000;

struct Package {
    directory: PathBuf,
    /// Names of the packages it depends on, as its manifest says, for running, building and testing.
    dependencies: Vec<String>,
}

#[test]
fn no_crate_uses_another_that_the_table_does_not_let_it_use() {
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| crate_name == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for used in package.dependencies.iter().filter(|used| packages.contains_key(*used)) {
            let fits = match allowed {
                ["*"] => name != "rcond" || !NOT_IN_THE_DAEMON.contains(&used.as_str()),
                named => named.contains(&used.as_str()),
            };
            if !fits {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "the table of crates does not have these:\n  {}", wrong.join("\n  "));
}

#[test]
fn what_one_crate_alone_may_use_is_used_by_no_other() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        for used in &package.dependencies {
            let rule = ALONE.iter().find(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, used)));
            if let Some((_, allowed)) = rule
                && name != "rcon-tests"
                && !allowed.contains(&name.as_str())
            {
                wrong.push(format!("{name} uses {used}, which belongs to {}", allowed.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "these hold packages of others:\n  {}", wrong.join("\n  "));
}

#[test]
fn no_tokio_is_below_a_pure_crate() {
    let packages = packages();
    for name in PURE.iter().filter(|name| packages.contains_key(**name)) {
        let tree = cargo(&["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", name]);
        let tokio: Vec<&str> = tree.lines().filter(|line| line.starts_with("tokio")).collect();
        assert!(tokio.is_empty(), "{name} depends on {tokio:?}");
    }
}

#[test]
fn every_crate_and_module_says_what_it_is_for() {
    // A file of tests is explained by the names of its tests.
    let sources = sources().into_iter().filter(|(path, _)| !path.ends_with("tests.rs"));
    let silent: Vec<String> = sources.filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path.display().to_string()).collect();
    assert!(silent.is_empty(), "these do not begin with `//!`:\n  {}", silent.join("\n  "));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "longer than {MOST_LINES} lines:\n  {}", long.join("\n  "));
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |beginning| name.starts_with(beginning))
}

fn packages() -> BTreeMap<String, Package> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--offline", "--no-deps", "--format-version", "1"])).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().map(|dependency| text(&dependency["name"]));
        let directory = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned();
        (text(&package["name"]), Package { directory, dependencies: dependencies.collect() })
    });
    packages.collect()
}

/// Every Rust source of ours, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = packages().values().map(|package| package.directory.clone()).collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Asks cargo as a person would, whatever the settings of the cargo that runs this test.
fn cargo(arguments: &[&str]) -> String {
    let kept = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    let environment = kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).env_clear().envs(environment).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
