//! Generates the gRPC stubs; their messages are those of `rcon-proto`.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = ["control", "session", "ca", "raft", "local"].map(|name| root.join(format!("rcon/v1/{name}.proto")));
    let descriptors = protox::compile(files, [&root])?;
    tonic_prost_build::configure().build_transport(false).extern_path(".rcon.v1", "::rcon_proto::v1").compile_fds(descriptors)?;
    Ok(())
}
