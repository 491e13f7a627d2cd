//! A local stand-in for EC2, Auto Scaling, Elastic Load Balancing and `CloudWatch` on which a rehearsal plays.
//!
//! ```text
//!   load ──▶ balancer (HAProxy) ──▶ instance (systemd-nspawn: nginx, app, kiln-agent)
//!               ▲      └─ peer          │ IMDS 169.254.169.254   │ AWS APIs 169.254.169.250
//!               │  routes by state      ▼                        ▼
//!             targets ◀── cloud ◀── imds, api ── record ──▶ promises ──▶ verdict
//!                 scene ────┴── lifecycle, faults (pure)
//! ```
//!
//! A script is written against [`Scene`]: `kiln rehearse` plays the one in [`life`], the whole-program tests play theirs.
//!
//! It is a rehearsal, and says so: states and their order are those that AWS documents, the timings are the stage's own.
//! The module list is the order in which a play goes through them.

// The ground: what has to be there, and a network that nothing leaves.
pub mod missing;
pub mod ground;
mod tether;
mod network;
mod dhcp;

// The model of AWS, pure.
pub mod lifecycle;
pub mod targets;
pub mod faults;
pub mod record;
mod cloud;

// What the instance sees of it.
mod server;
mod imds;
mod api;

// What users see of it.
mod balancer;
mod peer;
pub mod load;

// The play.
mod instance;
mod root;
mod machines;
mod stage;
pub mod scene;
pub mod life;
mod journal;
mod promises;
pub mod rehearsal;
pub mod html;

pub use cloud::Launch;
pub use ground::{Ground, enter, entered};
pub use life::{LifeConfig, StreamRoute, Timing, play};
pub use missing::Missing;
pub use record::Request;
pub use rehearsal::{Event, Observer, Promise, Rehearsal, Verdict, Who};
pub use root::{Prop, Root};
pub use scene::{Image, Scene, Users};
pub use stage::{Set, arn, hook};

/// Why a play could not be played to its verdict; a broken promise is not an error but a [`Verdict`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool that the stage needs is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The stage could not get namespaces of its own.
    #[error(transparent)]
    Ground(#[from] ground::GroundError),
    /// Something of the stage itself failed.
    #[error("{0:#}")]
    Stage(#[from] anyhow::Error),
}
