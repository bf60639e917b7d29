//! Templates and children: starts them, talks to them, tells how they end. Does not decide what to preload.
//!
//! # Theory of operation
//!
//! One thread per environment, the dispatcher (`owner`), owns every template, child, socket and pipe. It sleeps in
//! `poll` on all of them and on a waker; callers send it commands over a channel ([`dispatcher`]). It shares
//! nothing but [`child::Ticket`]s, which it writes once and callers wait on.
//!
//! A child is over when its template reports that it reaped it; then what is left in its socket and pipes
//! is read until they are empty (never until end of file, which a grandchild can hold back), and only then is
//! the ticket settled. A result is settled as soon as it has come, after the output that was written before it.
//!
//! Output that is shown with a prefix passes through a channel to the pump, one Python thread per environment
//! ([`pump`]). Settling such a child's ticket travels through the same channel, so it can't overtake the output.

pub mod child;
pub mod dispatcher;
mod endings;
mod layers;
mod link;
mod memory;
pub mod output;
mod owner;
pub mod pump;
mod readiness;
mod running;
mod spares;
pub mod template;
