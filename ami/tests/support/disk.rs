//! A small disk that shows every kind of block, and the way back from a snapshot to its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use kiln_ami::{BLOCK_SIZE, Clients, Failure, Journal, PublishSpec, Published, publish};

pub(crate) const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
pub(crate) const BLOCK: u64 = BLOCK_SIZE as u64;
/// Eighty blocks and a bit: the last one is partial.
const DISK: u64 = 80 * BLOCK + 1000;

/// Publishes with a journal of its own and nobody to watch.
pub(crate) async fn quietly(clients: &Clients, spec: &PublishSpec) -> Result<Published, Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    publish(clients, spec, &mut journal(&folder, spec), &|_| (), std::future::pending()).await
}

/// The journal of a new publication.
pub(crate) fn journal(folder: &tempfile::TempDir, spec: &PublishSpec) -> Journal {
    let head = spec.head("us-east-1", jiff::Timestamp::UNIX_EPOCH);
    Journal::begin(&folder.path().join("publication.jsonl"), head).expect("a journal")
}

/// The bytes that a volume made from the snapshot would hold, as far as the disk goes.
pub(crate) async fn read_back(clients: &Clients, snapshot: &str) -> Vec<u8> {
    let disk = usize::try_from(DISK).expect("small");
    let mut bytes = vec![0; disk + BLOCK_SIZE];
    let listed =
        clients.ebs.list_snapshot_blocks().snapshot_id(snapshot).send().await.expect("blocks are listed");
    assert_eq!((listed.block_size(), listed.volume_size()), (Some(524_288), Some(1)));
    for block in listed.blocks() {
        let index = block.block_index().expect("blocks have an index");
        let at = usize::try_from(index).expect("positive") * BLOCK_SIZE;
        // Of an encrypted snapshot the rest of the volume is there, too.
        if at >= disk {
            continue;
        }
        let got = clients
            .ebs
            .get_snapshot_block()
            .snapshot_id(snapshot)
            .block_index(index)
            .block_token(block.block_token().expect("and a token"))
            .send()
            .await
            .expect("and can be read");
        let data = got.block_data.collect().await.expect("whole").into_bytes();
        bytes[at..at + BLOCK_SIZE].copy_from_slice(&data);
    }
    assert!(bytes[disk..].iter().all(|byte| *byte == 0), "what follows the disk is zero");
    bytes.truncate(disk);
    bytes
}

/// A sparse disk: data at its start, some in the middle, a hole of zeros that is really written, data at its end.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().expect("a scratch folder") };
        let file = File::create(disk.path()).expect("a disk");
        file.set_len(DISK).expect("a sparse disk");
        let noise: Vec<u8> =
            (0..2 * BLOCK).map(|i| u8::try_from((i * i / 7) % 251).expect("small")).collect();
        let write = |data: &[u8], at: u64| file.write_all_at(data, at).expect("the disk can be written");
        write(&noise, 0);
        write(&vec![0; BLOCK_SIZE], 20 * BLOCK);
        write(b"one byte decides", 33 * BLOCK - 1);
        write(&noise[..1000], 80 * BLOCK);
        write(b"end", DISK - 3);
        write(&[1], 50 * BLOCK);
        disk
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("the disk reads")
    }

    pub(crate) fn spec(&self) -> PublishSpec {
        let mut spec = PublishSpec::new(self.path(), "shop", DIGEST);
        spec.waits.poll = Duration::from_millis(20);
        spec
    }
}
