//! Typed names of the objects in the state.

use std::fmt;

use rcon_proto::{convert, v1};
use rcon_types::{EndpointId, Id, NetworkId, NodeId, id::Kind};

/// Marks [`TokenId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenKind;
/// Marks [`TxnId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxnKind;

impl Kind for TokenKind {
    const NAME: &'static str = "token";
}
impl Kind for TxnKind {
    const NAME: &'static str = "transaction";
}

/// Names a join token: the first 16 bytes of its secret's SHA-256.
pub type TokenId = Id<TokenKind>;
/// Names a transaction: 16 random bytes of its proposer.
pub type TxnId = Id<TxnKind>;

/// The name of any object in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKey {
    /// The cluster object.
    Cluster,
    /// A node.
    Node(NodeId),
    /// A network.
    Network(NetworkId),
    /// An endpoint.
    Endpoint(EndpointId),
    /// A join token.
    Token(TokenId),
}

impl ObjectKey {
    /// The key in a message.
    ///
    /// # Errors
    /// When it names nothing or its id is malformed.
    pub fn from_wire(key: Option<&v1::Key>) -> Result<Self, convert::Malformed> {
        use v1::key::Key;
        match key.and_then(|k| k.key.as_ref()) {
            Some(Key::Cluster(_)) => Ok(Self::Cluster),
            Some(Key::Node(id)) => convert::id("key.node", id).map(Self::Node),
            Some(Key::Network(id)) => convert::id("key.network", id).map(Self::Network),
            Some(Key::Endpoint(id)) => convert::id("key.endpoint", id).map(Self::Endpoint),
            Some(Key::Token(id)) => convert::id("key.token", id).map(Self::Token),
            None => Err(convert::Malformed { field: "key", why: "it names no object".to_owned() }),
        }
    }

    /// The key for a message.
    #[must_use]
    pub fn to_wire(self) -> v1::Key {
        use v1::key::Key;
        let key = match self {
            Self::Cluster => Key::Cluster(true),
            Self::Node(id) => Key::Node(convert::id_bytes(id)),
            Self::Network(id) => Key::Network(convert::id_bytes(id)),
            Self::Endpoint(id) => Key::Endpoint(convert::id_bytes(id)),
            Self::Token(id) => Key::Token(convert::id_bytes(id)),
        };
        v1::Key { key: Some(key) }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Network(id) => write!(f, "network {id}"),
            Self::Endpoint(id) => write!(f, "endpoint {id}"),
            Self::Token(id) => write!(f, "token {id}"),
        }
    }
}
