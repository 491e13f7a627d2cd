//! Takes a booted instance into service, and out again without a dropped request.
//!
//! ```text
//!  bootstrap → health → hook(launch) → metrics → … notice → drain → hook(terminate)
//! ```
//!
//! Two processes share this crate: `kiln-agent bootstrap`, as root and once, and `kiln-agent run`, unprivileged and for
//! as long as the instance lives. They meet in one file, `/run/kiln/bootstrap.json`.

// Decides, loops, builds.
pub mod lifecycle;
pub mod driver;
pub mod world;

// The steps, in the order an instance meets them.
pub mod bootstrap;
pub mod env;
pub mod health;
pub mod hook;
pub mod metrics;
pub mod notice;
pub mod drain;

// What the steps ask and read.
pub mod imds;
pub mod aws;
pub mod group;
pub mod targets;
pub mod connections;
pub mod cpu;
pub mod memory;
pub mod disk;
pub mod child;
pub mod fetch;
pub mod pauses;

// What is remembered, and who is told.
pub mod clock;
pub mod durable;
pub mod state;
pub mod served;
pub mod board;
pub mod http;
pub mod control;
pub mod systemd;
pub mod journal;
pub mod record;

// What a person asks before it is needed.
pub mod doctor;

// What a person gives.
pub mod config;
pub mod cli;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod calls;
