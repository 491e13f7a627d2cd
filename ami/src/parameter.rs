//! The SSM parameter that names an image. SSM answers first and checks the image later: only reading it back tells.

use std::time::Instant;

use aws_sdk_ssm::types::ParameterType;

use crate::call::{CallError, Kind, call};
use crate::clients::Clients;
use crate::error::Error;
use crate::wait::Waits;

/// The data type whose values SSM checks to be images; `StartInstanceRefresh` takes no other.
const DATA_TYPE: &str = "aws:ec2:image";

/// What the parameter names now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) value: String,
    pub(crate) version: i64,
}

pub(crate) async fn get(clients: &Clients, name: &str) -> Result<Option<Named>, Error> {
    let asked = clients.ssm.get_parameter().name(name).send().await;
    match asked.map_err(|error| call("ssm:GetParameter", name, &error)) {
        Ok(answer) => Ok(answer.parameter().and_then(|parameter| {
            Some(Named { value: parameter.value()?.to_owned(), version: parameter.version() })
        })),
        Err(error) if error.code.as_deref() == Some("ParameterNotFound") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the image's id and reads until value and version are those that were answered.
pub(crate) async fn put(clients: &Clients, name: &str, image_id: &str, waits: &Waits) -> Result<(), Error> {
    let asked = clients.ssm.put_parameter().name(name).value(image_id).data_type(DATA_TYPE);
    let asked = asked.r#type(ParameterType::String).overwrite(true).send().await;
    let version = asked.map_err(|error| call("ssm:PutParameter", name, &error))?.version();
    let deadline = Instant::now() + waits.parameter;
    loop {
        let found = get(clients, name).await?;
        if found.as_ref().is_some_and(|found| found.value == image_id && found.version >= version) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let state = found.map_or("absent".to_owned(), |found| found.value);
            let waited = waits.parameter;
            return Err(Error::TimedOut { what: "parameter", id: name.to_owned(), state, waited });
        }
        tokio::time::sleep(waits.poll).await;
    }
}

/// Puts back what the parameter named before `image_id`; whatever somebody else wrote meanwhile stays.
pub(crate) async fn restore(
    clients: &Clients,
    name: &str,
    image_id: &str,
    before: Option<&str>,
    waits: &Waits,
) -> Result<bool, Error> {
    if get(clients, name).await?.is_none_or(|now| now.value != image_id) {
        return Ok(false);
    }
    if let Some(before) = before {
        put(clients, name, before, waits).await?;
        return Ok(true);
    }
    let asked = clients.ssm.delete_parameter().name(name).send().await;
    match asked.map_err(|error| call("ssm:DeleteParameter", name, &error)) {
        Ok(_) => Ok(true),
        Err(CallError { kind: Kind::NotFound, .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the parameter named before `image_id`, from its history: for a machine without the journal.
pub(crate) async fn before(clients: &Clients, name: &str, image_id: &str) -> Result<Option<String>, Error> {
    let mut pages = clients.ssm.get_parameter_history().name(name).into_paginator().send();
    let (mut last, mut found) = (None, None);
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| call("ssm:GetParameterHistory", name, &error))?;
        for version in page.parameters() {
            if version.value() == Some(image_id) {
                found.clone_from(&last);
            }
            last = version.value().map(str::to_owned);
        }
    }
    Ok(found)
}
