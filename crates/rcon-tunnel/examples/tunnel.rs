//! The tunnel as a process of its own, for tests and measurements: `tunnel serve DIRECTORY NAMESPACE` runs one with all its files in
//! DIRECTORY and its TAPs in NAMESPACE; `tunnel ask DIRECTORY` sends it the command on standard input, as JSON, and prints the reply.

use std::{
    error::Error,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rcon_packet::control::{self, HEADER_BYTES, Reply, Request};
use rcon_tunnel::Options;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", directory, namespace] => {
            let directory = PathBuf::from(directory);
            rcon_tunnel::run(Options {
                control_socket: directory.join("tunnel.sock"),
                state_file: directory.join("tables.json"),
                tap_namespace: namespace.into(),
                wg_socket: Some(directory.join("wg.sock")),
            })?;
        }
        ["ask", directory] => ask(Path::new(directory))?,
        _ => return Err("usage: tunnel serve DIRECTORY NAMESPACE | tunnel ask DIRECTORY".into()),
    }
    Ok(())
}

fn ask(directory: &Path) -> Result<(), Box<dyn Error>> {
    let command = serde_json::from_reader(std::io::stdin())?;
    let mut stream = UnixStream::connect(directory.join("tunnel.sock"))?;
    stream.write_all(&control::encode(&Request::new(command))?)?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let mut body = vec![0; control::body_length(header)?];
    stream.read_exact(&mut body)?;
    let reply: Reply = control::decode(&body)?;
    println!("{}", serde_json::to_string_pretty(&reply)?);
    Ok(())
}
