//! Managers over real consensus, real TLS on the loopback and a real unix socket.

mod authority;
mod cluster;
mod control;
mod managers;
mod sessions;
