//! The disk that keeps only what was synced, under a real kernel and real programs.

mod support;

use rcon_lab::DataDisk;
use support::{TestLab, soon};

fn machine_can() -> bool {
    let can = DataDisk::SyncedOnly.is_available();
    if !can {
        eprintln!("SKIPPED: there is no /dev/fuse");
    }
    can && support::machine_can()
}

/// Runs shell lines in the data directory of the only host.
struct Host(TestLab);

impl Host {
    fn up() -> Self {
        Self(TestLab::with(1, |host| host.data = DataDisk::SyncedOnly))
    }

    fn shell(&self, line: &str) -> String {
        let directory = self.0.lab.status().unwrap().hosts[0].data_dir.clone();
        self.0.shell("h1", &format!("cd {} && {line}", directory.display()))
    }

    fn power_off_and_on(&self) {
        self.0.lab.off("h1").unwrap();
        self.0.lab.on("h1").unwrap();
    }
}

#[test]
fn a_power_off_takes_what_was_not_synced_and_nothing_else() {
    if !machine_can() {
        return;
    }
    let host = Host::up();
    host.shell("echo synced > a && echo old > c && sync a c .");
    // A longer file, a new one, one whose own sync came before its last line, a replaced one, a removed one.
    host.shell("echo more >> a && echo lost > b && mkdir d && echo 1 > d/e && sync d/e d . && echo 2 >> d/e");
    host.shell("echo new > c.new && sync c.new . && mv c.new c && rm a");
    assert_eq!(host.shell("ls && cat c d/e"), "b\nc\nd\nnew\n1\n2");
    host.power_off_and_on();
    assert_eq!(host.shell("ls && cat a b c d/e"), "a\nb\nc\nc.new\nd\nsynced\nold\n1");
    // Now with a sync of the directory after it.
    host.shell("mv c.new c && rm a && sync .");
    host.power_off_and_on();
    assert_eq!(host.shell("ls && cat c"), "b\nc\nd\nnew");
}

#[test]
fn killed_programs_lose_nothing_that_they_wrote() {
    if !machine_can() {
        return;
    }
    let host = Host::up();
    host.shell("sh -c 'echo written > a; kill -9 $$' || cat a > b");
    assert_eq!(host.shell("cat a b"), "written\nwritten");
}

#[test]
fn files_behave_as_on_any_other_disk() {
    if !machine_can() {
        return;
    }
    let host = Host::up();
    host.shell("dd if=/dev/urandom of=a bs=1M count=3 conv=fsync status=none && cp a b && sync b . && sha256sum a > sums && sync sums .");
    host.power_off_and_on();
    assert_eq!(host.shell("sha256sum --quiet -c sums && cmp a b && stat -c %s a"), "3145728");
    host.shell("truncate -s 100 b && truncate -s 200 b && fallocate -l 4096 f && ln a h && ln -s a l && sync b f .");
    host.power_off_and_on();
    assert_eq!(host.shell("stat -c %s b f && tail -c 100 b | tr -d '\\0' | wc -c && readlink l && stat -c %h a"), "200\n4096\n0\na\n2");
    // Removing while listing must skip nothing.
    host.shell("mkdir -p t/u && for n in $(seq 300); do : > t/u/$n; done && flock t true && rm -r t && sync .");
    host.power_off_and_on();
    assert_eq!(host.shell("ls"), "a\nb\nf\nh\nl\nsums");
}

#[test]
fn a_host_can_be_frozen_amid_its_writes() {
    if !machine_can() {
        return;
    }
    let host = Host::up();
    host.shell("(while :; do echo x >> a; sync a .; done) > /dev/null 2>&1 &");
    let length = || host.shell("stat -c %s a 2>/dev/null || echo 0").parse::<u64>().unwrap();
    for _ in 0..5 {
        let before = length();
        soon("the writer goes on", || length() > before);
        host.0.lab.freeze("h1").unwrap();
        host.0.lab.thaw("h1").unwrap();
    }
    let before = length();
    host.power_off_and_on();
    assert!(length() + 2 >= before, "{} of {before} bytes are left", length());
}
