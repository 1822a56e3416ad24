//! What a node is to its cluster.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a node may do in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs containers.
    Worker,
    /// Runs containers, votes in Raft, and serves control, sessions and the CA.
    Manager,
}

/// Whether the cluster may place work on a node; set by people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Takes new work.
    #[default]
    Active,
    /// Keeps what it has, takes nothing new.
    Pause,
    /// Gives its work away.
    Drain,
}

/// What the cluster knows of a node's life; owned by the leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Known, but has not had a session yet.
    #[default]
    Unknown,
    /// Beats.
    Ready,
    /// Missed three beats.
    Down,
}

impl Role {
    /// The word in certificates, tables and flags.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "worker" => Ok(Self::Worker),
            "manager" => Ok(Self::Manager),
            _ => Err(format!("`{text}` is no role: worker or manager")),
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        })
    }
}

impl FromStr for Availability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "pause" => Ok(Self::Pause),
            "drain" => Ok(Self::Drain),
            _ => Err(format!("`{text}` is no availability: active, pause or drain")),
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Down => "down",
        })
    }
}
