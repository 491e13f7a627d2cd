//! `kiln userdata`: the user data of a launch template, from the manifest.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_userdata::{Composed, LIMIT};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::manifest::{Complaints, FILE, Manifest};

/// The user data of a manifest, which [`Manifest::load`] has found valid.
///
/// # Errors
/// [`Failure::Manifest`] when the manifest asks for none, or a part changed since it was checked.
pub fn compose(manifest: &Manifest) -> anyhow::Result<Composed> {
    let refuse = |message: &str| Failure::Manifest(Complaints::whole_file(Path::new(FILE), message));
    if manifest.userdata == crate::manifest::UserData::default() {
        let way_out =
            "there is no [userdata] here: add [userdata.env], [[userdata.run]] or parts = [\"a script\"]";
        return Err(refuse(way_out).into());
    }
    let composed = manifest.userdata.compose(&manifest.dir);
    composed.map_err(|_| refuse("a part of [userdata] changed while it was read: run this again").into())
}

/// Base64 as a launch template takes it: one line, encoded once.
pub fn base64(composed: &Composed) -> String {
    STANDARD.encode(&composed.bytes)
}

/// What was made, in words.
pub fn summary(composed: &Composed) -> String {
    format!("user data: {} of {LIMIT} bytes, {}", composed.bytes.len(), composed.form)
}

/// The same for a program, with the bytes.
pub fn json(composed: &Composed) -> Value {
    json!({
        "bytes": composed.bytes.len(), "limit": LIMIT, "form": composed.form.to_string(), "base64": base64(composed),
    })
}
