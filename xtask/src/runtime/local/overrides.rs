//! What a person changed of Deployments while they run, beside their manifests: replicas and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::controller::Wanted;

/// By Deployment.
#[derive(Debug, Default)]
pub struct Overrides(BTreeMap<String, Override>);

#[derive(Debug, Default)]
struct Override {
    /// When it was last restarted.
    restarted: Option<String>,
    /// The replicas of the manifest as they were, and those wanted in their place.
    replicas: Option<(u32, u32)>,
}

impl Overrides {
    /// From now on its pods are to be of a revision made at this time.
    pub fn restart(&mut self, deployment: &str, at: String) {
        self.0.entry(deployment.to_owned()).or_default().restarted = Some(at);
    }

    /// From now on it is to have so many pods, until its manifest says another number than `written`.
    pub fn scale(&mut self, deployment: &str, written: u32, wanted: u32) {
        self.0.entry(deployment.to_owned()).or_default().replicas = Some((written, wanted));
    }

    /// Makes the changes on what the manifests say.
    pub fn apply(&mut self, all: &mut BTreeMap<String, Wanted>) {
        self.0.retain(|name, _| all.contains_key(name));
        for (name, own) in &mut self.0 {
            let Some(wanted) = all.get_mut(name) else { continue };
            if let Some(at) = &own.restarted {
                wanted.template = Arc::new(wanted.template.restarted(at));
            }
            let written = wanted.rules.desired.replicas;
            own.replicas = own.replicas.filter(|(then, _)| *then == written);
            if let Some((_, replicas)) = own.replicas {
                wanted.rules.desired.replicas = replicas;
            }
        }
    }
}
