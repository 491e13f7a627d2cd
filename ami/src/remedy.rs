//! What a person types to remove what could not be removed here.

use crate::call::Kind;
use crate::clients::Clients;
use crate::error::Error;
use crate::thing::{Thing, What};

/// The command with which a person removes what could not be removed here.
pub(crate) fn remedy(clients: &Clients, thing: &Thing, error: &Error) -> String {
    let hint = match error {
        Error::Call(call) if call.kind == Kind::Denied => "may be removed by those who may: ",
        _ => "",
    };
    let (home, id) = (&clients.region, thing.id.as_deref().unwrap_or("ID"));
    let command = match &thing.what {
        What::Image { .. } => format!("aws ec2 deregister-image --region {home} --image-id {id}"),
        What::Group(_) => format!("aws ec2 delete-security-group --region {home} --group-id {id}"),
        What::Bundle { bucket, folder } => format!("aws s3 rm --recursive s3://{bucket}/{folder}"),
        What::Instance => format!("aws ec2 terminate-instances --region {home} --instance-ids {id}"),
        What::Snapshot(_) => format!("aws ec2 delete-snapshot --region {home} --snapshot-id {id}"),
        What::Copy(ask) => {
            let region = &ask.region;
            format!(
                "aws ec2 deregister-image --region {region} --image-id {id} --delete-associated-snapshots"
            )
        }
        What::Share { region, image_id, accounts } => format!(
            "aws ec2 modify-image-attribute --region {region} --image-id {image_id} --operation-type remove --attribute launchPermission --user-ids {}",
            accounts.join(" ")
        ),
        What::Parameter { region, name, before: Some(before), .. } => {
            format!("aws ssm put-parameter --region {region} --name {name} --overwrite --value {before}")
        }
        What::Parameter { region, name, .. } => {
            format!("aws ssm delete-parameter --region {region} --name {name}")
        }
    };
    format!("{hint}{command} ({error})")
}
