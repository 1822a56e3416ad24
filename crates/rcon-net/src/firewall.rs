//! Loading tables with `nft`, and noticing cheaply whether they are still what was loaded.
//!
//! The kernel numbers the generations of a namespace's ruleset. While the number is the one after our own load, nothing
//! changed. When it is another one, somebody changed something, and our tables are listed and compared.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    process::{Command, Output, Stdio},
};

use rcon_netplan::kernel::{Namespace, NamespaceState, Table};

use crate::{
    NetError, attribute,
    handle::Handle,
    socket::{Message, Netlink},
};

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a type.
pub(crate) const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_GETGEN` in `include/uapi/linux/netfilter/nf_tables.h`.
const GET_GENERATION: u16 = SUBSYSTEM | 16;
/// `NFTA_GEN_ID`.
const GENERATION_ID: u16 = 1;
/// Length of `struct nfgenmsg`.
pub(crate) const HEADER: usize = 4;
/// How much of what `nft` says is kept for a message.
const MAX_STDERR_BYTES: usize = 600;

/// What was loaded, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Firewall {
    loaded: HashMap<Namespace, Loaded>,
}

#[derive(Debug, Default)]
struct Loaded {
    /// The ruleset's generation after our load; `None`: somebody else changed something at the same time.
    generation: Option<u32>,
    tables: BTreeMap<&'static str, Table>,
    /// How `nft` lists each table, once that was asked for.
    listings: BTreeMap<&'static str, String>,
}

/// The number of the namespace's ruleset; it changes with each transaction of anybody.
pub(crate) fn generation(socket: &mut Netlink) -> io::Result<u32> {
    let body = socket.get(&Message { kind: GET_GENERATION, flags: 0, body: vec![0; HEADER] })?;
    let value = body.get(HEADER..).and_then(|rest| attribute::find(rest, GENERATION_ID)).and_then(|value| value.first_chunk::<4>());
    value.map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADMSG))
}

impl Firewall {
    /// The tables of `wanted` as far as they are in the kernel; one that was tampered with has no structure.
    pub(crate) fn observe(
        &mut self,
        namespace: Namespace,
        handle: &mut Handle,
        wanted: &NamespaceState,
    ) -> Result<BTreeMap<&'static str, Table>, NetError> {
        let now = generation(&mut handle.netfilter).map_err(|source| NetError::Observe { what: "the firewall", source })?;
        let Some(loaded) = self.loaded.get_mut(&namespace) else {
            // Nothing is remembered from before a restart. What is not wanted is looked for, so that it can be removed.
            return Ok(unknown(handle, wanted));
        };
        if loaded.generation != Some(now) {
            loaded.verify(handle);
            loaded.generation = Some(now);
        }
        Ok(loaded.tables.clone())
    }

    /// Carries out a script of ours, after which the namespace has `wanted`.
    pub(crate) fn load(
        &mut self,
        namespace: Namespace,
        handle: &mut Handle,
        script: &str,
        wanted: &NamespaceState,
    ) -> Result<(), NetError> {
        let before = generation(&mut handle.netfilter).ok();
        if let Err(error) = run(handle, script) {
            self.loaded.remove(&namespace);
            return Err(error);
        }
        let after = generation(&mut handle.netfilter).ok();
        let alone = before.is_some_and(|before| after == Some(before.wrapping_add(1)));
        let listings = match self.loaded.remove(&namespace) {
            // It was changed behind our back before: have something to compare with from now on.
            Some(_) => wanted.tables.keys().filter_map(|name| Some((*name, list(handle, name)?))).collect(),
            None => BTreeMap::new(),
        };
        // What was listed may be damaged again already; then nothing is known to be sound.
        let settled = generation(&mut handle.netfilter).ok() == after;
        let listings = if settled { listings } else { BTreeMap::new() };
        let generation = if alone { after } else { None };
        self.loaded.insert(namespace, Loaded { generation, tables: wanted.tables.clone(), listings });
        Ok(())
    }

    /// Nothing is known of the namespace any more.
    pub(crate) fn forget(&mut self, namespace: Namespace) {
        self.loaded.remove(&namespace);
    }
}

impl Loaded {
    /// Compares with how the tables were listed; one that was never listed is taken for damaged.
    fn verify(&mut self, handle: &Handle) {
        for (name, table) in &mut self.tables {
            let listed = list(handle, name);
            if listed.is_none() || listed.as_ref() != self.listings.get(name) {
                *table = Table::default();
            }
        }
    }
}

fn unknown(handle: &Handle, wanted: &NamespaceState) -> BTreeMap<&'static str, Table> {
    let ours = [rcon_netplan::firewall::INET, rcon_netplan::firewall::BRIDGE];
    let unwanted = ours.into_iter().filter(|name| !wanted.tables.contains_key(name));
    unwanted.filter(|name| list(handle, name).is_some()).map(|name| (name, Table::default())).collect()
}

/// A table as `nft` prints it, without counters; `None` where it is not there.
fn list(handle: &Handle, table: &str) -> Option<String> {
    let (family, name) = table.split_once(' ')?;
    let output =
        handle.run(|| Command::new("nft").args(["--stateless", "list", "table", family, name]).stdin(Stdio::null()).output()).ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(handle: &Handle, script: &str) -> Result<(), NetError> {
    let output = handle.run(|| nft(script)).map_err(|source| NetError::RunNft { source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetError::Nft { lines: script.lines().count(), stderr: shortened(&output.stderr) })
}

/// The start of what a program said.
pub(crate) fn shortened(said: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(said).trim().to_owned();
    let end = (0..=MAX_STDERR_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

/// One transaction, in the namespace of the calling thread.
pub(crate) fn nft(script: &str) -> io::Result<Output> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that refuses early closes its end; what it says then is more telling.
        let _ = stdin.write_all(script.as_bytes());
    }
    child.wait_with_output()
}
