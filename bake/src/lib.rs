//! Bakes, proves and publishes the image of a web app.
//!
//! ```text
//!  kiln.toml ─ manifest ─ lockfile ─▶ inputs ─▶ plan ─▶ bake: frontend, venv → provision → clean → residue → tar, disk ─▶ receipt
//!                                                                                                      │
//!                                                         publish ─▶ AMI ◀────── store ──────▶ rehearse ─▶ verdict
//! ```

// The command, and what every step works with.
pub mod cli;
pub mod run;
pub mod failure;
pub mod interrupt;
pub mod signals;
pub mod report;
pub mod bench;
pub mod cache;
pub mod host;
pub mod said;
pub mod sandbox;
pub mod unreachable;

// What is asked for.
pub mod init;
pub mod manifest;
pub mod template;
pub mod hardening;
pub mod sources;
pub mod lockfile;
pub mod inputs;
pub mod plan;
pub mod outlook;
pub mod calls;
pub mod policy;

// The bake, in order.
pub mod bake;
pub mod frontend;
pub mod precompress;
pub mod carried;
pub mod uv;
pub mod venv;
pub mod provision;
pub mod packages;
pub mod release;
pub mod units;
pub mod verify;
pub mod clean;
pub mod residue;
pub mod secrets;
pub mod listens;
pub mod expect;
pub mod sbom;
pub mod receipt;

// What is done with an image.
pub mod store;
pub mod diff;
pub mod rehearse;
pub mod publish;
pub mod bundle;
pub mod builder;
pub mod unfinished;
pub mod gc;
pub mod userdata;
