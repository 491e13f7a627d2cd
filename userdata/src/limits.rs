//! The bounds that keep hostile or mistaken user data from costing an instance more than an error.

/// EC2's limit on user data, in bytes before base64 (EC2 user guide, "Run commands on your Linux instance at launch").
pub const LIMIT: usize = 16 * 1024;

/// Bytes that all decoding steps (gzip, base64, quoted-printable) of one document may produce together. Real user
/// data that compresses to 16 KiB unpacks to a tenth of it; gzip alone could make 16 MiB of 16 KiB.
pub const UNPACKED: usize = 1024 * 1024;

/// Parts of one document, those of nested multiparts included.
pub const PARTS: usize = 64;

/// Wrappers (multipart or gzip) around a part.
pub const NESTING: usize = 6;

/// Bytes of one part's MIME headers.
pub(crate) const HEADERS: usize = 8 * 1024;

/// Tables and lists within each other in a TOML or YAML document.
pub(crate) const DEPTH: usize = 32;

/// Values in a TOML or YAML document, those that YAML aliases repeat counted each time.
pub(crate) const VALUES: usize = 10_000;

/// What is left of [`UNPACKED`], [`PARTS`] and [`NESTING`] at one point of a document.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) bytes: usize,
    pub(crate) parts: usize,
    /// Whether `#cloud-config` documents are somebody else's.
    pub(crate) beside_cloud_init: bool,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { bytes: UNPACKED, parts: PARTS, beside_cloud_init: false }
    }

    /// Takes bytes that a decoding step produced; false when there are not that many left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(0);
        left.is_some()
    }
}
