//! Stories of whole programs: one file each, all in one program, so that the harness plays them side by side.
//!
//! Most of a story is waiting: for a boot, a balancer, a delay. What looks at the whole machine (what a killed story leaves
//! behind) or writes beside the one image (a rehearsal) is a program of its own, for it wants nobody beside it.

mod budgets;
mod builder;
mod certificates;
mod cloud_init;
mod conformance;
mod doctor;
mod drift;
mod environment;
mod exported;
mod hanging_script;
mod imds_outage;
mod killed_agent;
mod late_metadata;
mod operator;
mod public;
mod reboot;
mod record;
mod reproducible;
mod root_volume;
mod scale_ins;
mod services;
mod shutdown;
mod spot;
mod standby;
mod target_groups;
mod throttling;
mod two_hooks;
mod user_data;
mod user_data_cut;
mod warm_pool;
mod wire;
