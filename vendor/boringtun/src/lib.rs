// Copyright (c) 2019 Cloudflare, Inc. All rights reserved.
// SPDX-License-Identifier: BSD-3-Clause

//! The WireGuard protocol: handshake, sessions and timers, without sockets.

// Vendored code is not formatted or linted our way, so that it can be compared with its origin.
#![allow(missing_docs, unsafe_code, deprecated, mismatched_lifetime_syntaxes, dead_code, clippy::all)]

pub mod noise;

pub(crate) mod sleepyinstant;

/// Re-export of the x25519 types
pub mod x25519 {
    pub use x25519_dalek::{
        EphemeralSecret, PublicKey, ReusableSecret, SharedSecret, StaticSecret,
    };
}
