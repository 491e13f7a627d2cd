//! Which bake an AMI came from, by its own word.

use crate::call::call;
use crate::clients::Clients;
use crate::error::Error;
use crate::image::tag;
use crate::spec::DIGEST_TAG;

/// Hex digits of a digest.
const DIGITS: usize = 64;

/// The digest that the image was published from, as its tag says; `None` if Kiln did not publish it. Other accounts do not see
/// an image's tags.
///
/// # Errors
/// The call's own, that there is no such image among them.
pub async fn digest_of(clients: &Clients, image_id: &str) -> Result<Option<String>, Error> {
    // A disabled image is still worth a look.
    let asked = clients.ec2.describe_images().image_ids(image_id).include_disabled(true).send().await;
    let found = asked.map_err(|error| call("ec2:DescribeImages", image_id, &error))?;
    let digest = found.images().first().and_then(|image| tag(image.tags(), DIGEST_TAG));
    Ok(digest.filter(|digest| is_digest(digest)).map(str::to_owned))
}

/// Anybody who may tag the image wrote that.
fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.chars().all(|char| char.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_no_digest_names_nothing() {
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "3f9a", "../../etc", &"0g".repeat(32), &"0a".repeat(33), &"é".repeat(32)] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
