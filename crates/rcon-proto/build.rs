//! Compiles `proto/rcon/v1/*.proto` with protox, so that no protoc is needed.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = ["objects", "state", "control", "session", "ca", "raft", "local"].map(|name| root.join(format!("rcon/v1/{name}.proto")));
    let descriptors = protox::compile(files, [&root])?;
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
