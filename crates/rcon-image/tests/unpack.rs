//! Archives, friendly and hostile, against the real kernel. They need root: owners and device nodes are set.

use std::{
    collections::BTreeMap,
    fs,
    io::{Seek, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use rcon_image::{Digest, UnpackLimits, UnpackReport, Unpacker, unpack::UnpackError};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// An archive being made, with entries that no sane tool would write.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        // The setters refuse what these tests are about.
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn header(mut self, change: impl FnOnce(&mut Header), data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, path: &str, data: &str) -> Self {
        self.entry(EntryType::Regular, path, "", data.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length.to_string().len() + rest != length {
                length = length.to_string().len() + rest;
            }
            data.extend(format!("{length} {key}=").bytes().chain(value.iter().copied()).chain([b'\n']));
        }
        self.entry(EntryType::XHeader, "pax", "", &data)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A directory to unpack into, beside a witness that must not be touched.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("witness"), "untouched").unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn unpack_with(&self, unpacker: &Unpacker, archive: &[u8], limits: &UnpackLimits) -> Result<UnpackReport, UnpackError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let outcome = unpacker.unpack(file, &self.root(), limits);
        self.check();
        outcome
    }

    fn unpack(&self, archive: &[u8]) -> Result<UnpackReport, UnpackError> {
        self.unpack_with(&Unpacker::Thread, archive, &UnpackLimits::default())
    }

    /// Nothing beside the root has appeared or changed.
    fn check(&self) {
        let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "witness"]);
        assert_eq!(fs::read_to_string(self.dir.path().join("witness")).unwrap(), "untouched");
        assert_eq!(fs::metadata(self.dir.path().join("witness")).unwrap().nlink(), 1);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

fn child() -> Unpacker {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/unpack");
    assert!(program.exists(), "build it with `cargo build -p rcon-image --examples`");
    Unpacker::Process { program, args: Vec::new() }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: unpacking sets owners, which needs root");
    }
    root
}

#[test]
fn a_root_file_system_is_unpacked_with_owners_modes_and_times() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let archive = Archive::new()
        .dir("./")
        .dir("./bin")
        .header(
            |header| {
                header.set_path("./bin/su").unwrap();
                header.set_mode(0o4755);
                header.set_uid(12);
                header.set_gid(34);
                header.set_mtime(7);
            },
            b"su",
        )
        .symlink("bin/sh", "/bin/su")
        .hard_link("bin/su2", "bin/su")
        .file("deep/er/file", "made its parents")
        .bytes();
    let report = place.unpack(&archive).unwrap();
    assert_eq!((report.entries, report.size_bytes), (6, 18));
    assert_eq!(report.diff_id, Digest::of(&archive));
    let su = fs::metadata(place.root().join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.mtime(), su.nlink()), (0o4755, 12, 34, 7, 2));
    assert_eq!(fs::read_link(place.root().join("bin/sh")).unwrap(), Path::new("/bin/su"));
    assert_eq!(fs::metadata(place.root().join("bin")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(place.read("deep/er/file"), "made its parents");
}

#[test]
fn a_child_under_landlock_unpacks_the_same_as_a_thread() {
    if !is_root() {
        return;
    }
    let archive =
        Archive::new().file("a", "1").dir("d").file("d/.wh.gone", "").file("d/.wh..wh..opq", "").symlink("l", "../../etc").bytes();
    let (thread, process) = (Place::new(), Place::new());
    let limits = UnpackLimits::default();
    let by_thread = thread.unpack_with(&Unpacker::Thread, &archive, &limits).unwrap();
    let by_process = process.unpack_with(&child(), &archive, &limits).unwrap();
    assert_eq!(by_thread, by_process);
    for place in [&thread, &process] {
        let whiteout = fs::symlink_metadata(place.root().join("d/gone")).unwrap();
        assert!(whiteout.file_type().is_char_device());
        assert_eq!(whiteout.rdev(), 0);
        assert_eq!(xattr(&place.root().join("d"), "trusted.overlay.opaque"), Some(b"y".to_vec()));
    }
    let error = process.unpack_with(&child(), b"no archive", &limits).unwrap_err();
    assert!(matches!(error, UnpackError::Malformed { .. }), "{error}");
    let lost = Unpacker::Process { program: "/bin/false".into(), args: Vec::new() };
    assert!(matches!(process.unpack_with(&lost, &archive, &limits), Err(UnpackError::Process(_))));
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn gzip_and_zstd_are_unpacked_and_the_digest_is_that_of_the_plain_archive() {
    if !is_root() {
        return;
    }
    let archive = Archive::new().file("a", "1").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&archive).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(&archive[..], 0).unwrap()] {
        let place = Place::new();
        assert_eq!(place.unpack(&packed).unwrap().diff_id, Digest::of(&archive));
        assert_eq!(place.read("a"), "1");
        let cut = &packed[..packed.len() - 6];
        assert!(Place::new().unpack(cut).is_err(), "an archive that was cut is refused");
    }
}

#[test]
fn paths_that_leave_the_root_are_refused_and_absolute_ones_stay_inside() {
    if !is_root() {
        return;
    }
    for path in ["../witness", "a/../../witness", "/../witness", "..", "./.."] {
        let place = Place::new();
        let error = place.unpack(&Archive::new().file(path, "evil").bytes()).unwrap_err();
        assert!(matches!(error, UnpackError::Refused { .. }), "{path}: {error}");
    }
    let place = Place::new();
    place.unpack(&Archive::new().file("/etc/passwd", "inside").bytes()).unwrap();
    assert_eq!(place.read("etc/passwd"), "inside");
}

#[test]
fn links_lead_no_entry_out_of_the_root() {
    if !is_root() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let target = outside.path().to_str().unwrap();
    let escapes = [
        Archive::new().symlink("out", target).file("out/file", "evil"),
        Archive::new().symlink("out", "../..").file("out/witness", "evil"),
        Archive::new().symlink("a", "b").symlink("b", "..").file("a/witness", "evil"),
        Archive::new().symlink("out", target).hard_link("stolen", "out/secret"),
        Archive::new().hard_link("stolen", "../witness"),
        Archive::new().hard_link("stolen", &format!("{target}/secret")),
        Archive::new().symlink("out", target).dir("out"),
        Archive::new().symlink("f", "../witness").file("f", "replaces the link, not its target"),
        Archive::new().symlink("out", target).file("out/.wh.secret", ""),
        Archive::new().symlink("out", target).file("out/.wh..wh..opq", ""),
        Archive::new().symlink("out", target).entry(EntryType::Fifo, "out/fifo", "", b""),
        Archive::new().symlink("proc", "/proc/self/root").file("proc/witness", "evil"),
    ];
    for (number, archive) in escapes.into_iter().enumerate() {
        let place = Place::new();
        let outcome = place.unpack(&archive.bytes());
        let names: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "archive {number}: {outcome:?}");
        assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
        assert_eq!(fs::metadata(outside.path().join("secret")).unwrap().nlink(), 1);
    }
}

#[test]
fn links_within_the_root_are_followed_as_in_the_container() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let archive = Archive::new().dir("usr").dir("usr/lib").symlink("lib", "/usr/lib").file("lib/a", "1").hard_link("b", "lib/a").bytes();
    place.unpack(&archive).unwrap();
    assert_eq!(place.read("usr/lib/a"), "1");
    assert_eq!(fs::metadata(place.root().join("b")).unwrap().nlink(), 2);
    assert!(fs::symlink_metadata(place.root().join("lib")).unwrap().is_symlink());
}

#[test]
fn later_entries_replace_earlier_ones_of_any_kind() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let archive = Archive::new()
        .dir("x")
        .file("x/inner", "1")
        .file("x", "now a file")
        .symlink("y", "x")
        .dir("y")
        .file("y/z", "a directory after all")
        .symlink("d", "y")
        .file("d/through", "1")
        .dir("d")
        .file("d/own", "2")
        .hard_link("x2", "x")
        .file("x", "new inode")
        .bytes();
    place.unpack(&archive).unwrap();
    assert_eq!((place.read("x"), place.read("x2")), ("new inode".into(), "now a file".into()));
    assert_eq!(place.read("y/z"), "a directory after all");
    assert_eq!((place.read("d/own"), place.read("y/through")), ("2".into(), "1".into()));
    assert!(!place.root().join("y/own").exists());
}

#[test]
fn device_nodes_are_made_as_docker_makes_them() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let device = |path: &'static str, kind, major, minor| {
        move |header: &mut Header| {
            header.set_path(path).unwrap();
            header.set_entry_type(kind);
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        }
    };
    let archive = Archive::new()
        .header(device("dev/null", EntryType::Char, 1, 3), b"")
        .header(device("dev/sda", EntryType::Block, 8, 0), b"")
        .entry(EntryType::Fifo, "fifo", "", b"")
        .bytes();
    place.unpack(&archive).unwrap();
    let null = fs::metadata(place.root().join("dev/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), nix::sys::stat::makedev(1, 3));
    assert!(fs::metadata(place.root().join("dev/sda")).unwrap().file_type().is_block_device());
    assert!(fs::metadata(place.root().join("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn pax_headers_name_and_size_entries_and_bring_only_harmless_attributes() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let long = format!("{}/file", "d".repeat(200));
    let archive = Archive::new()
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"12.5"),
            ("uid", b"70000000"),
            ("SCHILY.xattr.user.note", b"with\nnewline"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .file("short", "1")
        .bytes();
    place.unpack(&archive).unwrap();
    let file = place.root().join(&long);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.mtime(), metadata.mtime_nsec()), (70_000_000, 12, 500_000_000));
    assert_eq!(xattr(&file, "user.note"), Some(b"with\nnewline".to_vec()));
    assert_eq!(xattr(&file, "trusted.overlay.redirect"), None);
}

#[test]
fn pax_headers_that_lie_are_refused() {
    if !is_root() {
        return;
    }
    let lies: [&[(&str, &[u8])]; 7] = [
        &[("path", b"../witness")],
        &[("path", b"")],
        &[("path", b"a\0b")],
        &[("size", b"99999999999")],
        &[("size", b"-1")],
        &[("uid", b"4294967295")],
        &[("GNU.sparse.map", b"0,1")],
    ];
    for lie in lies {
        let place = Place::new();
        let outcome = place.unpack(&Archive::new().pax(lie).file("a", "1").bytes());
        assert!(outcome.is_err(), "{lie:?}");
    }
    // A size says where the next header is, so a smaller one turns data into headers, and these are none.
    let place = Place::new();
    assert!(place.unpack(&Archive::new().pax(&[("size", b"1")]).file("a", &"x".repeat(2000)).bytes()).is_err());
    let huge = Archive::new()
        .header(
            |header| {
                header.set_entry_type(EntryType::XHeader);
                header.set_size(1 << 40);
            },
            b"",
        )
        .bytes();
    assert!(matches!(Place::new().unpack(&huge), Err(UnpackError::Limit { .. })));
}

#[test]
fn an_archive_that_grows_beyond_the_limits_is_refused() {
    if !is_root() {
        return;
    }
    let limits = UnpackLimits { entries: 10, unpacked_bytes: 1 << 20, ratio: 20, ratio_free_bytes: 64 << 10 };
    let many = (0..11).fold(Archive::new(), |archive, number| archive.file(&format!("f{number}"), "")).bytes();
    let large = Archive::new().file("large", &"x".repeat(2 << 20)).bytes();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&Archive::new().file("zeros", &"\0".repeat(900 << 10)).bytes()).unwrap();
    let zstd_bomb = zstd::encode_all(&Archive::new().file("zeros", &"\0".repeat(900 << 10)).bytes()[..], 19).unwrap();
    for archive in [many, large, bomb.finish().unwrap(), zstd_bomb] {
        let place = Place::new();
        let error = place.unpack_with(&Unpacker::Thread, &archive, &limits).unwrap_err();
        assert!(matches!(error, UnpackError::Limit { .. }), "{error}");
    }
}

#[test]
fn links_cannot_stack_directories_deeper_than_the_limit() {
    if !is_root() {
        return;
    }
    let half = "d/".repeat(45);
    let mut archive = Archive::new();
    let mut from = String::new();
    for number in 0..7 {
        let path = format!("{from}{half}");
        archive = archive.dir(&path);
        archive = archive.symlink(&format!("l{number}"), path.trim_end_matches('/'));
        from = format!("l{number}/");
    }
    let place = Place::new();
    let error = place.unpack(&archive.bytes()).unwrap_err();
    assert!(matches!(error, UnpackError::Write { .. }), "{error}");
}

#[test]
fn damaged_archives_are_refused_with_a_reason() {
    if !is_root() {
        return;
    }
    let whole = Archive::new().file("a", &"x".repeat(1000)).bytes();
    let mut flipped = whole.clone();
    flipped[1] ^= 1;
    for archive in [&[][..], &[7; 300], &[7; 512], &whole[..600], &whole[..100], &flipped] {
        assert!(matches!(Place::new().unpack(archive), Err(UnpackError::Malformed { .. })));
    }
    Place::new().unpack(&[0; 1024]).unwrap();
    for kind in [b'S', b'D', b'M', b'Z'] {
        let archive = Archive::new().entry(EntryType::new(kind), "x", "", b"").bytes();
        assert!(matches!(Place::new().unpack(&archive), Err(UnpackError::Refused { .. })));
    }
}

/// What an archive that means harm is made of.
fn hostile_entry() -> impl Strategy<Value = (u8, String, String, Vec<u8>)> {
    let component = prop::sample::select(vec!["..", ".", "a", "b", "", ".wh.a", ".wh..wh..opq", ".wh...", "witness", "/"]);
    let path = || prop::collection::vec(component.clone(), 1..6).prop_map(|parts| parts.join("/"));
    let kind = prop::sample::select(b"01234567LKxgS\0".to_vec());
    (kind, path(), path(), prop::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_archive_of_hostile_entries_escapes_or_panics(entries in prop::collection::vec(hostile_entry(), 1..12), flip in any::<Option<(u16, u8)>>()) {
        if nix::unistd::geteuid().is_root() {
            let mut archive = entries.iter().fold(Archive::new(), |archive, (kind, path, link, data)| {
                archive.entry(EntryType::new(*kind), path, link, data)
            }).bytes();
            if let Some((at, bits)) = flip {
                let at = usize::from(at) % archive.len();
                archive[at] ^= bits;
            }
            let place = Place::new();
            let outcome = place.unpack(&archive);
            prop_assert!(!matches!(outcome, Err(UnpackError::Process(_))), "{:?}", outcome);
        }
    }

    #[test]
    fn no_random_bytes_escape_or_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])) {
        let place = Place::new();
        let outcome = place.unpack(&[magic, &bytes].concat());
        prop_assert!(!matches!(outcome, Err(UnpackError::Process(_))), "{:?}", outcome);
    }
}

#[test]
fn a_directory_that_root_may_not_enter_by_mode_is_filled_all_the_same() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let archive = Archive::new().header(
        |header| {
            header.set_path("closed").unwrap();
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0);
        },
        b"",
    );
    place.unpack(&archive.file("closed/file", "1").bytes()).unwrap();
    assert_eq!(fs::metadata(place.root().join("closed")).unwrap().permissions().mode() & 0o7777, 0);
    let listed: BTreeMap<_, _> = fs::read_dir(place.root().join("closed")).unwrap().map(|entry| (entry.unwrap().file_name(), ())).collect();
    assert_eq!(listed.len(), 1);
}
