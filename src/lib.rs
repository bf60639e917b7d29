//! The engine of firehot: starts a Python project in milliseconds by forking a process that has its imports.
//!
//! ```text
//! source files --walk, slice, parse--> imports --resolve--> import set --changed?--> template --fork--> child --> outcome
//!                                                            no: keep the running template
//! ```
//!
//! | room | owns | does not own |
//! |---|---|---|
//! | [`scan`] | source files -> the set of modules they import, with where | processes |
//! | [`protocol`] | bytes <-> frames <-> typed messages | sockets, processes |
//! | [`supervisor`] | templates, children, their pipes; one thread has all of that state | what to preload |
//! | [`stamp`] | what a template depends on, and whether it still holds | what follows when it does not |
//! | [`watch`] | what changes on disk below the folders that a scan covers | what follows from it |
//! | [`rust_ext`] | a project's Rust extensions: which there are, whether their build holds, the build | loading them |
//! | [`environment`] | scan, compare, keep or replace the template | how a template is run |
//! | [`client`] | a run as the daemon's client sees it: socket, terminal, signals | what is run, and how |
//! | [`cli`] | the arguments of the command `firehot` -> a typed command | executing it |
//! | [`daemon`] | the daemon's listening socket, its lock, and the connections of clients | what requests mean |
//! | `cache` | a file in the user's cache folder, read and replaced whole | its content |
//! | `bindings` | the Python classes over all this (feature `python`) | decisions |
//!
//! Arrows go one way: bindings -> client -> protocol, cache, error; bindings -> environment -> supervisor, watch, stamp -> scan, protocol, cache, error. The Python code that runs
//! inside the template and the child is in `firehot/_template.py` and `firehot/_child.py`.
#![deny(unsafe_code)]

mod cache;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod environment;
pub mod error;
pub mod protocol;
pub mod rust_ext;
pub mod scan;
pub mod stamp;
pub mod supervisor;
pub mod watch;

#[cfg(feature = "python")]
mod bindings;
