//! Where the programs of one build are: `rcond`, `rconctl`, `rcon-shim` and the lab's own, all in one directory.

use std::path::{Path, PathBuf};

use crate::error::LabError;

/// Names the directory; without it, it is the one that the running program is in.
pub const VARIABLE: &str = "RCON_BIN_DIR";

/// A directory with the programs of one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The directory that [`VARIABLE`] names, or that of the running program.
    pub fn find() -> Result<Self, LabError> {
        if let Some(directory) = std::env::var_os(VARIABLE) {
            return Self::at(Path::new(&directory));
        }
        let own = std::env::current_exe().map_err(|error| LabError::system("find the running program", error))?;
        let directory = own.parent().unwrap_or(Path::new("/"));
        // Cargo's test programs are one level below the programs they test.
        Self::at(if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory })
    }

    /// That directory, which must have the lab's program in it.
    pub fn at(directory: &Path) -> Result<Self, LabError> {
        let directory = directory.canonicalize().map_err(|error| LabError::file("find", directory, error))?;
        let own = directory.join("rcon-lab-host");
        if !own.is_file() {
            return Err(LabError::Unsupported {
                reason: format!("`{}` is not there", own.display()),
                hint: "`./dev lab` builds all programs and puts them into one directory; `RCON_BIN_DIR` names another",
            });
        }
        Ok(Self { directory })
    }

    /// The directory, absolute.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The program with this name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
