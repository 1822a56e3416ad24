//! Every limit and number of the state machine in one place.
//!
//! Changing one changes what `apply` does, so it needs a new [`FEATURE_LEVEL`].

/// What this binary's state machine can do. The cluster's level is raised only when every manager supports it.
pub const FEATURE_LEVEL: u32 = 1;

/// Raft id of the first manager. Entry 1 of every log is the first leader's blank one, so no other reservation has it.
pub const FIRST_RAFT_ID: u64 = 1;

/// The most operations a transaction may have.
pub const MAX_OPERATIONS: usize = 1_000;

/// The largest transaction in bytes.
pub const MAX_TXN_BYTES: usize = 1 << 20;

/// How many outcomes are remembered, so that a transaction that is proposed again is answered and not applied again.
pub const RECENT_TXNS: usize = 4_096;

/// The most labels or options of one object.
pub const MAX_LABELS: usize = 128;

/// The longest key of a label or option, in bytes.
pub const MAX_LABEL_KEY: usize = 256;

/// The longest value of a label or option, in bytes.
pub const MAX_LABEL_VALUE: usize = 4_096;

/// The longest free text: a state's message, a kernel's version, an address.
pub const MAX_TEXT: usize = 512;

/// The most aliases of an endpoint.
pub const MAX_ALIASES: usize = 64;

/// The largest bundle of root certificates, in bytes.
pub const MAX_ROOT_CERTIFICATES: usize = 64 << 10;

/// The longest IPv4 overlay prefix: four addresses, of which two are a gateway and a container.
pub const LONGEST_IPV4_SUBNET: u8 = 30;

/// The longest IPv6 overlay prefix.
pub const LONGEST_IPV6_SUBNET: u8 = 126;

/// The shortest IPv4 overlay prefix.
pub const SHORTEST_IPV4_SUBNET: u8 = 8;

/// The shortest IPv6 overlay prefix.
pub const SHORTEST_IPV6_SUBNET: u8 = 32;

/// Length of each IPv6 subnet that is given out (RFC 4291 §2.5.1).
pub const IPV6_SUBNET_LENGTH: u8 = 64;

/// Length of the cluster's ULA prefix (RFC 4193 §3.1).
pub const IPV6_POOL_LENGTH: u8 = 48;

/// The smallest MTU of a network: what IPv6 needs (RFC 8200 §5).
pub const MIN_MTU: u32 = 1_280;

/// The largest MTU of a network.
pub const MAX_MTU: u32 = 65_535;
