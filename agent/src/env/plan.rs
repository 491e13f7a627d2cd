//! Who gets which variable, from where. Pure.

use super::{Error, Secret};
use kiln_userdata::{EnvValue, Leaf, UserData};

/// Variables by name, in the order of the documents.
pub(super) type Variables<T> = Vec<(String, T)>;

/// What the documents ask for; a later document's value takes the place of an earlier one's.
#[derive(Debug, Default)]
pub(super) struct Plan {
    shared: Variables<EnvValue>,
    services: Vec<(String, Variables<EnvValue>)>,
}

/// The same with the values.
#[derive(Debug)]
pub(super) struct Known {
    /// Of `[env]` itself.
    pub(super) shared: Variables<Secret>,
    /// By service; those without any are left out.
    pub(super) services: Vec<(String, Variables<Secret>)>,
}

impl Plan {
    pub(super) fn new(data: &UserData) -> Self {
        let mut plan = Self::default();
        for (_, leaf) in data.leaves() {
            let Leaf::Kiln(document) = leaf else { continue };
            merge(&mut plan.shared, document.env.iter().cloned());
            for (service, variables) in &document.service_env {
                let at = plan.services.iter().position(|(name, _)| name == service).unwrap_or_else(|| {
                    plan.services.push((service.clone(), Vec::new()));
                    plan.services.len() - 1
                });
                merge(&mut plan.services[at].1, variables.iter().cloned());
            }
        }
        plan
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.services.is_empty()
    }

    /// Every variable that is asked for, with its value or the place that keeps it.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &(String, EnvValue)> {
        self.shared.iter().chain(self.services.iter().flat_map(|(_, variables)| variables))
    }

    /// Whether every service that is named is one of the image's.
    pub(super) fn knows(&self, services: &[String]) -> Result<(), Error> {
        match self.services.iter().find(|(name, _)| !services.contains(name)) {
            Some((name, _)) => Err(Error::UnknownService { name: name.clone(), known: services.join(", ") }),
            None => Ok(()),
        }
    }

    /// For each of the image's services the shared variables and its own over them; `value` gives each its value.
    pub(super) fn resolve(
        &self,
        services: &[String],
        value: impl Fn(&str, &EnvValue) -> Result<Secret, Error>,
    ) -> Result<Known, Error> {
        let values = |variables: &Variables<EnvValue>| -> Result<Variables<Secret>, Error> {
            variables.iter().map(|(name, source)| Ok((name.clone(), value(name, source)?))).collect()
        };
        let shared = values(&self.shared)?;
        let mut known = Vec::new();
        for service in services {
            let mut variables = shared.clone();
            if let Some((_, own)) = self.services.iter().find(|(name, _)| name == service) {
                merge(&mut variables, values(own)?.into_iter());
            }
            if !variables.is_empty() {
                known.push((service.clone(), variables));
            }
        }
        Ok(Known { shared, services: known })
    }
}

fn merge<T>(into: &mut Variables<T>, later: impl Iterator<Item = (String, T)>) {
    for (name, value) in later {
        match into.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value,
            None => into.push((name, value)),
        }
    }
}
