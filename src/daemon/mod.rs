//! The daemon's end of the sockets that its clients come in by: one listening socket, held by whoever has the lock, and
//! one connection for each client. Knows no requests: what a frame means is `firehot/_daemon.py`'s.
#![forbid(unsafe_code)]

mod connection;
mod listener;

pub use self::connection::Connection;
pub use self::listener::{Listener, Listening};
