//! A root file system for images, made of Debian's busybox-static: no registry is needed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::LabError;

/// Where Debian's busybox-static has its program.
const BUSYBOX: &str = "/bin/busybox";
const DIRECTORIES: [&str; 9] = ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "www", "www/cgi-bin"];
/// A page that never ends: a line ten times a second.
const TICKS: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nwhile :; do echo tick; sleep 0.1; done\n";

/// Makes it at `root`: busybox with all its applets, a user table, and for its web server `page` at `/www/index.html` and an endless
/// stream at `/www/cgi-bin/ticks`.
pub fn make(root: &Path, page: &str) -> Result<(), LabError> {
    let applets = command::run(Command::new(BUSYBOX).arg("--list"))?;
    write(root, &applets, page).map_err(|error| LabError::file("fill", root, error))
}

fn write(root: &Path, applets: &str, page: &str) -> std::io::Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::write(root.join("www/index.html"), page)?;
    let ticks = root.join("www/cgi-bin/ticks");
    fs::write(&ticks, TICKS)?;
    fs::set_permissions(ticks, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_shell_a_web_server_and_the_page() {
        if !Path::new(BUSYBOX).exists() {
            eprintln!("SKIPPED: no {BUSYBOX}; Debian's package busybox-static has it");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), "a page").unwrap();
        assert!(directory.path().join("bin/sh").exists() && directory.path().join("bin/httpd").exists());
        assert_eq!(fs::read_to_string(directory.path().join("www/index.html")).unwrap(), "a page");
    }
}
