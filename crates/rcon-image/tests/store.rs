//! The image store: import, names, removal, garbage. Needs root, as unpacking does.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use rcon_image::{Digest, ImageError, ImageStore, ImageStoreOptions, ImportRequest, UnpackLimits, Unpacker, Usage};

fn open(dir: &Path) -> ImageStore {
    let options = ImageStoreOptions { data_dir: dir.to_owned(), unpacker: Unpacker::Thread, limits: UnpackLimits::default() };
    ImageStore::open(options).unwrap()
}

fn archive(content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "file", content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn request(name: &str, changes: &[&str]) -> ImportRequest {
    let reference = (!name.is_empty()).then(|| name.to_owned());
    ImportRequest { reference, changes: changes.iter().map(|&change| change.to_owned()).collect(), message: String::new() }
}

/// No container is there.
const NOBODY: Usage<'static> = Usage { users: &|_| Vec::new(), layers: &[] };

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: unpacking sets owners, which needs root");
    }
    root
}

/// Nothing is left but the directories.
fn assert_empty(dir: &Path) {
    for path in ["content/sha256", "content/tmp", "layers/tmp"] {
        assert_eq!(fs::read_dir(dir.join(path)).unwrap().count(), 0, "{path}");
    }
    assert_eq!(fs::read_dir(dir.join("layers")).unwrap().count(), 1);
}

#[test]
fn an_imported_image_is_found_by_name_id_and_start_of_id_also_after_a_restart() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let packed = zstd::encode_all(&archive("1")[..], 0).unwrap();
    let imported = store.import(&request("web", &[r#"CMD ["httpd"]"#, "ENV A=1", "LABEL k=v"]), &mut &packed[..]).unwrap();
    assert_eq!(imported.reference.unwrap().canonical(), "docker.io/library/web:latest");
    for store in [store, open(dir.path())] {
        for text in
            ["web", "library/web:latest", &imported.id.to_string(), &imported.id.hex(), &imported.id.short(), &imported.id.hex()[..3]]
        {
            let image = store.resolve(text).unwrap();
            assert_eq!(image.id, imported.id, "{text}");
            assert_eq!((image.defaults.command.as_slice(), image.size_bytes), (&["httpd".to_owned()][..], 1));
            assert_eq!(image.layers, [Digest::of(&archive("1"))]);
            let layers = store.layer_dirs(&image).unwrap();
            assert_eq!(fs::read_to_string(layers[0].join("file")).unwrap(), "1");
        }
        assert_eq!(store.list().len(), 1);
        for text in ["nothing", "web:2", "sha256:zz", "", "sha256:"] {
            assert!(matches!(store.resolve(text), Err(ImageError::Unknown(_))), "{text}");
        }
    }
}

#[test]
fn a_name_moves_to_the_latest_import_and_the_older_image_stays_without() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = store.import(&request("web", &[]), &mut &archive("1")[..]).unwrap();
    let new = store.import(&request("web", &[]), &mut &archive("2")[..]).unwrap();
    assert_eq!(new.replaced, Some(old.id));
    assert_eq!(store.resolve("web").unwrap().id, new.id);
    assert!(store.resolve(&old.id.hex()).unwrap().references.is_empty());
    let removed = store.remove(&old.id.short(), false, &NOBODY).unwrap();
    assert!(removed.deleted.contains(&old.id) && removed.deleted.contains(&Digest::of(&archive("1"))));
    assert_eq!(store.list().len(), 1);
    store.layer_dirs(&store.resolve("web").unwrap()).unwrap();
}

#[test]
fn images_that_share_content_are_removed_one_by_one() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.import(&request("a", &["USER a"]), &mut &archive("1")[..]).unwrap();
    store.import(&request("b", &["USER b"]), &mut &archive("1")[..]).unwrap();
    store.remove("a", false, &NOBODY).unwrap();
    let image = store.resolve("b").unwrap();
    assert!(store.layer_dirs(&image).unwrap()[0].join("file").exists());
    store.remove("b", false, &NOBODY).unwrap();
    assert_empty(dir.path());
}

#[test]
fn an_image_in_use_is_not_removed_and_by_force_only_loses_its_name() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let imported = store.import(&request("web", &[]), &mut &archive("1")[..]).unwrap();
    let users = Usage { users: &|_| vec!["happy_heron".to_owned()], layers: &[] };
    let error = store.remove("web", false, &users).unwrap_err();
    assert!(error.failure().to_string().contains("happy_heron"), "{error}");
    let removed = store.remove("web", true, &users).unwrap();
    assert!(removed.deleted.is_empty());
    let image = store.resolve(&imported.id.hex()).unwrap();
    assert!(store.layer_dirs(&image).unwrap()[0].exists());
}

#[test]
fn nothing_is_kept_of_an_import_that_fails() {
    if !is_root() {
        return;
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let good = archive("1");
    assert!(matches!(store.import(&request("web", &[]), &mut good[..100].chain(Broken)), Err(ImageError::Input(_))));
    assert!(matches!(store.import(&request("web", &[]), &mut &b"no archive"[..]), Err(ImageError::Unpack(_))));
    assert!(matches!(store.import(&request("No Name", &[]), &mut &good[..]), Err(ImageError::Reference(_))));
    assert!(matches!(store.import(&request("web", &["RUN x"]), &mut &good[..]), Err(ImageError::Change(_))));
    assert!(store.list().is_empty());
    assert_empty(dir.path());
}

#[test]
fn a_failed_import_does_not_take_away_content_that_an_image_has() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.import(&request("web", &[]), &mut &archive("1")[..]).unwrap();
    drop(store);
    let limits = UnpackLimits { entries: 0, ..UnpackLimits::default() };
    let store = ImageStore::open(ImageStoreOptions { data_dir: dir.path().to_owned(), unpacker: Unpacker::Thread, limits }).unwrap();
    store.import(&request("other", &[]), &mut &archive("1")[..]).unwrap_err();
    drop(store);
    fs::remove_dir_all(dir.path().join("layers").join(Digest::of(&archive("1")).hex())).unwrap();
    let store = open(dir.path());
    let image = store.resolve("web").unwrap();
    let layers = store.layer_dirs(&image).unwrap();
    assert_eq!(fs::read_to_string(layers[0].join("file")).unwrap(), "1", "a lost layer is unpacked again from its blob");
}

#[test]
fn a_damaged_image_is_left_out_and_can_be_removed_by_name() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bad = store.import(&request("bad", &[]), &mut &archive("1")[..]).unwrap();
    store.import(&request("good", &[]), &mut &archive("2")[..]).unwrap();
    drop(store);
    fs::write(dir.path().join("content/sha256").join(bad.id.hex()), "damage").unwrap();
    let store = open(dir.path());
    assert!(store.resolve("bad").is_err());
    assert_eq!(store.collect_garbage(&[]).unwrap(), Default::default());
    store.remove("bad", false, &NOBODY).unwrap();
    assert!(!store.collect_garbage(&[]).unwrap().blobs.is_empty());
    assert_eq!(open(dir.path()).list(), store.list());
    store.layer_dirs(&store.resolve("good").unwrap()).unwrap();
}

#[test]
fn layers_that_containers_stand_on_are_no_garbage() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.import(&request("web", &[]), &mut &archive("1")[..]).unwrap();
    let layer = store.resolve("web").unwrap().layers[0];
    fs::remove_file(dir.path().join("images.json")).unwrap();
    let store = open(dir.path());
    assert!(store.collect_garbage(&[layer]).unwrap().layers.is_empty());
    store.import(&request("other", &[]), &mut &archive("2")[..]).unwrap();
    store.remove("other", false, &Usage { layers: &[layer], ..NOBODY }).unwrap();
    assert_eq!(store.collect_garbage(&[]).unwrap().layers, [layer]);
    assert_empty(dir.path());
}

#[test]
fn a_full_disk_is_said_and_the_images_stay_whole() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    // In a mount namespace of a thread: nothing is left to unmount.
    let outcome = std::thread::spawn(move || {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=2m"))?;
        let store = open(&path);
        let kept = store.import(&request("kept", &[]), &mut &archive("1")[..]).unwrap();
        let in_blob = archive(&"x".repeat(3 << 20));
        // Small as it comes, too large when unpacked.
        let in_layer = zstd::encode_all(&in_blob[..], 0).unwrap();
        for archive in [in_blob, in_layer] {
            let error = store.import(&request("large", &[]), &mut &archive[..]).unwrap_err();
            assert_eq!(error.failure().kind, rcon_types::FailureKind::ResourceExhausted, "{error:?}");
        }
        store.import(&request("small", &[]), &mut &archive("2")[..]).unwrap();
        let names: Vec<_> = store.list().iter().flat_map(|image| image.references.iter().map(ToString::to_string)).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(open(&path).resolve("kept").unwrap().id, kept.id);
        Ok::<_, nix::Error>(())
    });
    if let Err(error) = outcome.join().unwrap() {
        eprintln!("SKIPPED: a small disk needs a mount namespace ({error})");
    }
}
