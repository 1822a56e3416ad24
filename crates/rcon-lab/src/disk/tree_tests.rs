//! What a power-off leaves, by the order of writes and syncs.

use super::*;

const MAKER: Maker = Maker { mode: 0o600, uid: 0, gid: 0 };

struct Machine {
    medium: tempfile::TempDir,
    tree: Tree,
}

impl Machine {
    fn new() -> Self {
        let medium = tempfile::tempdir().unwrap();
        let tree = Tree::open(medium.path()).unwrap();
        Self { medium, tree }
    }

    fn power_off_and_on(&mut self) {
        self.tree = Tree::open(self.medium.path()).unwrap();
    }

    fn file(&mut self, parent: u64, name: &str, text: &str) -> u64 {
        let number = self.tree.make(parent, name, MAKER, Body::File(Content::default())).unwrap();
        self.write(number, text);
        number
    }

    fn directory(&mut self, parent: u64, name: &str) -> u64 {
        self.tree.make(parent, name, MAKER, Body::Directory(Directory::default())).unwrap()
    }

    fn write(&mut self, number: u64, text: &str) {
        let content = self.tree.content_mut(number).unwrap();
        content.resize(0).unwrap();
        content.write(0, text.as_bytes()).unwrap();
    }

    fn sync(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.tree.sync(*number).unwrap());
    }

    fn names(&self, number: u64) -> Vec<&str> {
        self.tree.directory(number).unwrap().entries.keys().map(String::as_str).collect()
    }

    fn text(&self, path: &str) -> String {
        let number = path.split('/').fold(ROOT, |at, name| self.tree.lookup(at, name).unwrap());
        String::from_utf8(self.tree.content(number).unwrap().read(0, u32::MAX).to_vec()).unwrap()
    }
}

#[test]
fn a_file_survives_when_it_and_its_directory_were_synced() {
    let mut machine = Machine::new();
    let file = machine.file(ROOT, "a", "synced");
    machine.sync(&[file, ROOT]);
    machine.write(file, "not synced");
    machine.power_off_and_on();
    assert_eq!(machine.text("a"), "synced");
}

#[test]
fn a_synced_file_in_a_directory_that_was_not_synced_is_gone() {
    let mut machine = Machine::new();
    let file = machine.file(ROOT, "a", "synced");
    machine.sync(&[file]);
    machine.power_off_and_on();
    assert_eq!(machine.names(ROOT), [""; 0]);
    // Its number is used again, and nothing of it shows through.
    let other = machine.file(ROOT, "b", "");
    machine.sync(&[ROOT]);
    assert_eq!(other, file);
    machine.power_off_and_on();
    assert_eq!(machine.text("b"), "");
}

#[test]
fn a_name_that_was_synced_without_its_file_is_an_empty_file() {
    let mut machine = Machine::new();
    machine.file(ROOT, "a", "not synced");
    let directory = machine.directory(ROOT, "d");
    machine.file(directory, "inside", "not synced");
    machine.sync(&[ROOT]);
    machine.power_off_and_on();
    assert_eq!((machine.names(ROOT), machine.text("a")), (vec!["a", "d"], String::new()));
    assert_eq!(machine.names(machine.tree.lookup(ROOT, "d").unwrap()), [""; 0]);
}

#[test]
fn a_file_that_replaces_another_does_so_only_when_the_directory_is_synced() {
    let mut machine = Machine::new();
    let file = machine.file(ROOT, "a", "old");
    machine.sync(&[file, ROOT]);
    for synced in [false, true] {
        let file = machine.file(ROOT, "a.new", "new");
        machine.sync(&[file]);
        machine.tree.rename((ROOT, "a.new"), (ROOT, "a"), true).unwrap();
        if synced {
            machine.sync(&[ROOT]);
        }
        machine.power_off_and_on();
        assert_eq!((machine.names(ROOT), machine.text("a").as_str()), (vec!["a"], if synced { "new" } else { "old" }));
    }
}

#[test]
fn a_removed_file_comes_back_unless_the_directory_was_synced() {
    let mut machine = Machine::new();
    let file = machine.file(ROOT, "a", "text");
    machine.sync(&[file, ROOT]);
    machine.tree.remove(ROOT, "a", false).unwrap();
    machine.power_off_and_on();
    assert_eq!(machine.text("a"), "text");
    machine.tree.remove(ROOT, "a", false).unwrap();
    machine.sync(&[ROOT]);
    machine.power_off_and_on();
    assert_eq!(machine.names(ROOT), [""; 0]);
}

#[test]
fn a_move_between_directories_is_whole_or_not_at_all() {
    for synced in [0, 1] {
        let mut machine = Machine::new();
        let directories = [machine.directory(ROOT, "from"), machine.directory(ROOT, "to")];
        let file = machine.file(directories[0], "a", "text");
        machine.sync(&[file, directories[0], directories[1], ROOT]);
        machine.tree.rename((directories[0], "a"), (directories[1], "b"), true).unwrap();
        machine.power_off_and_on();
        assert_eq!(machine.text("from/a"), "text");
        machine.tree.rename((directories[0], "a"), (directories[1], "b"), true).unwrap();
        machine.sync(&[directories[synced]]);
        machine.power_off_and_on();
        assert_eq!(machine.text("to/b"), "text");
        assert_eq!(machine.names(directories[0]), [""; 0]);
    }
}

#[test]
fn names_are_taken_and_given_as_the_kernel_expects() {
    let mut machine = Machine::new();
    let directory = machine.directory(ROOT, "d");
    let file = machine.file(directory, "a", "");
    let make = |machine: &mut Machine, parent, name| machine.tree.make(parent, name, MAKER, Body::File(Content::default()));
    assert_eq!(make(&mut machine, directory, "a"), Err(Errno::EEXIST));
    assert_eq!(make(&mut machine, file, "a"), Err(Errno::ENOTDIR));
    assert_eq!(make(&mut machine, 99, "a"), Err(Errno::ENOENT));
    assert_eq!(make(&mut machine, ROOT, &"x".repeat(256)), Err(Errno::ENAMETOOLONG));
    assert_eq!(machine.tree.remove(ROOT, "d", true), Err(Errno::ENOTEMPTY));
    assert_eq!(machine.tree.remove(ROOT, "d", false), Err(Errno::EISDIR));
    assert_eq!(machine.tree.remove(directory, "a", true), Err(Errno::ENOTDIR));
    assert_eq!(machine.tree.link(directory, ROOT, "e"), Err(Errno::EPERM));
    assert_eq!(machine.tree.rename((directory, "a"), (directory, "a"), false), Err(Errno::EEXIST));
    machine.tree.link(file, ROOT, "b").unwrap();
    machine.tree.remember(file);
    machine.tree.remove(directory, "a", false).unwrap();
    machine.tree.remove(ROOT, "b", false).unwrap();
    // Somebody still has it open.
    assert_eq!(machine.tree.inode(file).unwrap().links, 0);
    machine.tree.forget(file, 1);
    assert_eq!(machine.tree.inode(file).err(), Some(Errno::ENOENT));
}
