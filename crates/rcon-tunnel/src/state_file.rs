//! The tables in force, in a file, so that a tunnel that starts again needs nobody. It holds public keys and the path of the
//! private one, never the private key itself.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rcon_packet::control::{self, Tables, ValidTables};

use crate::TunnelError;

/// Replaces the file, so that a crash leaves either the old tables or the new ones.
pub(crate) fn save(path: &Path, tables: &Tables) -> Result<(), TunnelError> {
    let failed = |operation| move |source| TunnelError::StateFile { operation, path: path.to_owned(), source };
    let body = serde_json::to_vec(tables).map_err(|error| failed("encode")(error.into()))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("make the directory of"))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("write"))
}

/// The tables in the file, or `None` where there is no file.
pub(crate) fn load(path: &Path) -> Result<Option<ValidTables>, TunnelError> {
    let failed = |source| TunnelError::StateFile { operation: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut body = Vec::new();
    file.take(control::MAX_MESSAGE_BYTES as u64 + 1).read_to_end(&mut body).map_err(failed)?;
    let tables: Tables = control::decode(&body).map_err(TunnelError::Message)?;
    ValidTables::try_from(tables).map(Some).map_err(TunnelError::Tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcon_types::Revision;

    #[test]
    fn tables_survive_and_damage_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tunnel/tables.json");
        assert_eq!(load(&path).unwrap(), None);
        let tables = Tables {
            revision: Revision(3),
            private_key_file: "/key".into(),
            vtep: [100, 96, 0, 1].into(),
            listen_port: 51820,
            peers: vec![],
            networks: vec![],
        };
        save(&path, &tables).unwrap();
        save(&path, &tables).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().get(), &tables);
        fs::write(&path, b"{").unwrap();
        assert!(matches!(load(&path), Err(TunnelError::Message(_))));
    }
}
