//! A failed AWS call, with what decides whether it is worth another try.

use aws_sdk_ebs::error::{ProvideErrorMetadata, SdkError};

use crate::credentials;

/// What kind of answer a failed call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The caller may not do that. Never retried.
    Denied,
    /// The request is wrong. Never retried.
    Refused,
    /// There are no credentials, or they have expired.
    Credentials,
    /// Too many requests, for longer than the retries last.
    Throttled,
    /// The resource is unknown, or not known yet.
    NotFound,
    /// No answer: connection, timeout.
    Unreachable,
    /// Any other failure on AWS's side.
    Failed,
}

/// A failed AWS call: the IAM action, the resource and what AWS said.
#[derive(Debug, thiserror::Error)]
#[error("{} {action} on {resource}{}: {message}", verb(*kind), code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct CallError {
    /// What kind of answer it was.
    pub kind: Kind,
    /// The IAM action, such as `ebs:PutSnapshotBlock`.
    pub action: &'static str,
    /// What the call was about: an id, a name.
    pub resource: String,
    /// AWS's error code, if there was an answer.
    pub code: Option<String>,
    /// AWS's message.
    pub message: String,
}

impl CallError {
    /// AWS said that the credentials' time is over.
    pub(crate) fn expired(&self) -> bool {
        self.code.as_deref().is_some_and(credentials::expired)
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Denied => "not allowed to call",
        Kind::Refused => "AWS refused",
        Kind::Credentials => "no valid credentials for",
        Kind::Throttled => "throttled too long at",
        Kind::NotFound => "nothing found by",
        Kind::Unreachable => "no answer to",
        Kind::Failed => "AWS failed",
    }
}

/// Turns the SDK's error of any operation into ours.
pub(crate) fn call<E, R>(action: &'static str, resource: &str, error: &SdkError<E, R>) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let (code, said) = match error.as_service_error() {
        Some(service) => (service.code().map(str::to_owned), service.message().map(str::to_owned)),
        None => (None, None),
    };
    let chain = chain(error);
    let kind = match error {
        SdkError::ServiceError(_) => kind_of(code.as_deref().unwrap_or_default()),
        // The SDK resolves credentials before it dials, and reports both as a dispatch failure.
        SdkError::DispatchFailure(_) if chain.contains("credentials") => Kind::Credentials,
        SdkError::ConstructionFailure(_) => Kind::Refused,
        _ => Kind::Unreachable,
    };
    let message = match kind {
        Kind::Credentials if code.is_none() => unsigned(&chain),
        Kind::Credentials if code.as_deref().is_some_and(credentials::expired) => {
            "they have expired: sign in again; what was begun goes on with 'kiln resume'".to_owned()
        }
        _ => said.unwrap_or(chain),
    };
    // EC2 appends a kilobyte that only sts:DecodeAuthorizationMessage can read.
    let message =
        message.split(" Encoded authorization failure message").next().unwrap_or_default().to_owned();
    CallError { kind, action, resource: resource.to_owned(), code, message }
}

fn kind_of(code: &str) -> Kind {
    match code {
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "OptInRequired" => Kind::Denied,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch" => Kind::Credentials,
        "Throttling"
        | "ThrottlingException"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown" => Kind::Throttled,
        "ResourceNotFoundException" | "ParameterNotFound" => Kind::NotFound,
        code if code.ends_with(".NotFound") || code.ends_with(".Unavailable") => Kind::NotFound,
        "ValidationException" | "ValidationError" | "ConflictException" | "ServiceQuotaExceededException" => {
            Kind::Refused
        }
        code if code.starts_with("Invalid")
            || code.starts_with("Missing")
            || code.starts_with("Unsupported") =>
        {
            Kind::Refused
        }
        code if code.ends_with("LimitExceeded") => Kind::Refused,
        _ => Kind::Failed,
    }
}

/// Why there is nothing to sign with. Of the places that the SDK looked at, all but a profile are told by their names alone: most
/// were never meant.
fn unsigned(chain: &str) -> String {
    let remedy = "name a profile in AWS_PROFILE, or sign in";
    let Some((_, places)) = chain.split_once("no credentials found in chain") else {
        return format!("{}; {remedy}", chain.trim_start_matches("dispatch failure: other: "));
    };
    let profile = places.lines().find_map(|line| line.trim().strip_prefix("Profile: "));
    let why = profile.and_then(|line| line.split_once("not enabled: ")).map(|(_, why)| format!(" ({why})"));
    format!(
        "no AWS credentials were found in the environment, in a profile{}, or in a container's or instance's role; {remedy}",
        why.unwrap_or_default()
    )
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn codes_tell_what_may_be_tried_again() {
        let table = [
            ("UnauthorizedOperation", Kind::Denied),
            ("AccessDeniedException", Kind::Denied),
            ("ValidationException", Kind::Refused),
            ("InvalidParameterValue", Kind::Refused),
            ("InvalidAMIName.Duplicate", Kind::Refused),
            ("InvalidSnapshot.NotFound", Kind::NotFound),
            ("InvalidAMIID.Unavailable", Kind::NotFound),
            ("ResourceNotFoundException", Kind::NotFound),
            ("RequestThrottledException", Kind::Throttled),
            ("RequestLimitExceeded", Kind::Throttled),
            ("SnapshotLimitExceeded", Kind::Refused),
            ("ExpiredTokenException", Kind::Credentials),
            ("InternalServerException", Kind::Failed),
        ];
        for (code, kind) in table {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

    #[test]
    fn what_was_looked_at_for_credentials_fits_a_line() {
        let text = unsigned(
            "dispatch failure: other: the credential provider was not enabled: no credentials found in chain. Attempted:\n  \
             Environment: the credential provider was not enabled: environment variable not set\n  \
             Profile: the credential provider was not enabled: profile `b` was not defined\n  \
             Ec2InstanceMetadata: the credential provider was not enabled: IMDS is off",
        );
        assert!(
            text.starts_with(
                "no AWS credentials were found in the environment, in a profile (profile `b` was"
            ),
            "{text}"
        );
        assert!(!text.contains('\n') && !text.contains("IMDS"), "{text}");
        let text = unsigned("dispatch failure: other: the credential_process ended with 1");
        assert_eq!(text, "the credential_process ended with 1; name a profile in AWS_PROFILE, or sign in");
    }

    #[test]
    fn a_denied_call_names_action_and_resource() {
        let denied = CallError {
            kind: Kind::Denied,
            action: "ebs:StartSnapshot",
            resource: "shop".to_owned(),
            code: Some("AccessDeniedException".to_owned()),
            message: "no".to_owned(),
        };
        let text = denied.to_string();
        assert_eq!(text, "not allowed to call ebs:StartSnapshot on shop (AccessDeniedException): no");
        assert!(!Error::from(denied).is_temporary());
    }
}
