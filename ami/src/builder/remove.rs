//! Takes a builder's things down, one by one.

use super::{bundle_key, instances, report_key, terminate};
use crate::bucket::Bucket;
use crate::clients::Clients;
use crate::error::Error;
use crate::group;
use crate::thing::{Head, Thing, What};
use crate::wait::Waits;

/// Removes one of a builder's things; what that was, in the order of its going.
pub(crate) async fn remove(
    clients: &Clients,
    head: &Head,
    thing: &Thing,
    waits: &Waits,
) -> Result<Vec<String>, Error> {
    match &thing.what {
        What::Instance => {
            let mut gone = Vec::new();
            let ids = match &thing.id {
                Some(id) => vec![id.clone()],
                // One that is not shown yet keeps its group from going, and is found by that.
                None => instances(clients, "client-token", &thing.token).await?,
            };
            for id in ids {
                terminate(clients, &id, waits).await?;
                gone.push(format!("instance {id}"));
            }
            Ok(gone)
        }
        What::Bundle { bucket, folder } => {
            let objects = Bucket { clients, name: bucket };
            objects.delete(&bundle_key(folder)).await?;
            objects.delete(&report_key(folder)).await?;
            Ok(vec![format!("bundle s3://{bucket}/{folder}")])
        }
        What::Group(ask) => {
            let id = match &thing.id {
                Some(id) => id.clone(),
                // Asked for again by its name, it is the one that may be there; or it is made now, to go at once.
                None => group::open(clients, ask, waits).await?,
            };
            group::delete(clients, &id, waits).await
        }
        _ => unreachable!("{} of {} is no builder's", thing.what.slot(), head.publication),
    }
}
