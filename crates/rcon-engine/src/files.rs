//! A container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, as texts.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::request::NetworkFiles;

/// The text of `/etc/hosts`: loopback as Docker has it, then the networks' names.
pub(crate) fn hosts(files: &NetworkFiles) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (address, names) in &files.hosts {
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
    text
}

/// The text of `/etc/resolv.conf`; without name servers of its own, the host's, but for those on loopback, which the
/// container cannot reach.
pub(crate) fn resolv_conf(files: &NetworkFiles, of_host: &str) -> String {
    if files.nameservers.is_empty() {
        let reachable = |line: &&str| {
            let server = line.split_whitespace().nth(1).filter(|_| line.trim_start().starts_with("nameserver"));
            !server.and_then(|server| server.parse::<IpAddr>().ok()).is_some_and(|server| server.is_loopback())
        };
        return of_host.lines().filter(reachable).fold(String::new(), |text, line| text + line + "\n");
    }
    let mut text = String::new();
    for server in &files.nameservers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (key, words) in [("search", &files.search), ("options", &files.options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{key} {}", words.join(" "));
        }
    }
    text
}

/// Writes a file in place: the container has this very file bound over its own.
pub(crate) fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_has_loopback_and_the_names_of_the_networks() {
        let files =
            NetworkFiles { hosts: vec![("10.0.0.2".parse().unwrap(), vec!["web".into(), "abc".into()])], ..NetworkFiles::default() };
        let text = hosts(&files);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n") && text.ends_with("10.0.0.2\tweb abc\n"));
    }

    #[test]
    fn resolv_conf_is_the_networks_or_the_reachable_part_of_the_hosts() {
        let files =
            NetworkFiles { nameservers: vec!["127.0.0.11".parse().unwrap()], options: vec!["ndots:0".into()], ..NetworkFiles::default() };
        assert_eq!(resolv_conf(&files, "nameserver 1.1.1.1"), "nameserver 127.0.0.11\noptions ndots:0\n");
        let host = "search x\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\n";
        assert_eq!(resolv_conf(&NetworkFiles::default(), host), "search x\nnameserver 10.0.0.1\n");
    }

    #[test]
    fn a_file_is_rewritten_without_becoming_another() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        write_in_place(&path, "long text").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        write_in_place(&path, "short").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }
}
