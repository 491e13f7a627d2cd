//! A snapshot that somebody else uploaded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_ami::{BLOCK_SIZE, Clients};
use sha2::{Digest, Sha256};

/// A snapshot of these blocks, each of one byte, by the API itself; completed, as far as EBS is concerned.
pub(crate) async fn uploaded(clients: &Clients, parent: Option<&str>, blocks: &[(i32, u8)]) -> String {
    let start = clients.ebs.start_snapshot().volume_size(1).set_parent_snapshot_id(parent.map(str::to_owned));
    let id = start.send().await.expect("it starts").snapshot_id.expect("an id");
    let mut all = Sha256::new();
    for (index, byte) in blocks {
        let data = vec![*byte; BLOCK_SIZE];
        let digest = Sha256::digest(&data);
        all.update(digest);
        let put = clients.ebs.put_snapshot_block().snapshot_id(&id).block_index(*index).data_length(524_288);
        let put = put.checksum(STANDARD.encode(digest)).checksum_algorithm("SHA256".into());
        put.block_data(data.into()).send().await.expect("a block");
    }
    let done = clients.ebs.complete_snapshot().snapshot_id(&id);
    let done = done.changed_blocks_count(i32::try_from(blocks.len()).expect("few"));
    let done = done.checksum(STANDARD.encode(all.finalize())).checksum_algorithm("SHA256".into());
    done.checksum_aggregation_method("LINEAR".into()).send().await.expect("it completes");
    id
}
