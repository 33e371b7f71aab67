//! Drift: objects that are not any more what was applied, because somebody else changed or deleted them. It is said once,
//! and left as it is: who did it may have had a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::api::{ApiServer, Key};
use crate::report::Events;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// What tells one version of an object from another; its state alone makes none.
type Version = Option<String>;

/// Looks until it is dropped. `objects`: what was applied just now.
pub async fn watch(server: ApiServer, objects: Vec<Value>, events: Events) {
    let wanted: BTreeMap<Key, Value> =
        objects.into_iter().filter_map(|object| Some((Key::of(&object)?, object))).collect();
    let mut seen: BTreeMap<Key, Version> = versions(&server, &wanted).await.unwrap_or_default();
    let mut told: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        // An API server that is away is told of by whoever needs it.
        let Some(now) = versions(&server, &wanted).await else { continue };
        for (key, object) in &wanted {
            if now.get(key) == seen.get(key) {
                continue;
            }
            let drift = match now.get(key) {
                None => {
                    Some((format!("{key} was deleted by somebody else"), "cargo xtask up makes it again"))
                }
                Some(_) => changed(&server, key, object).await,
            };
            if let Some((message, hint)) = drift
                && told.insert(message.clone())
            {
                events.warn(message, Some(hint.to_owned()));
            }
        }
        seen = now;
    }
}

/// What differs, and what undoes it: none for what others may set, such as a state.
async fn changed(server: &ApiServer, key: &Key, object: &Value) -> Option<(String, &'static str)> {
    const UNDO: &str = "cargo xtask up --force-conflicts undoes it; a manifest that says the same keeps it";
    match server.try_apply(object, false).await {
        Err(conflict) => Some((conflict.to_string(), UNDO)),
        Ok(would_be) => {
            let is = server.get(key).await.ok().flatten()?;
            let differs = would_be.metadata.generation != is.metadata.generation;
            differs.then(|| (format!("{key} was changed by somebody else"), "cargo xtask up undoes it"))
        }
    }
}

/// The versions of the objects that are there; none while the server cannot say.
async fn versions(server: &ApiServer, wanted: &BTreeMap<Key, Value>) -> Option<BTreeMap<Key, Version>> {
    let mut versions = BTreeMap::new();
    let kinds: BTreeSet<(&str, &str, Option<&str>)> = wanted
        .keys()
        .map(|key| (key.api_version.as_str(), key.kind.as_str(), key.namespace.as_deref()))
        .collect();
    for (api_version, kind, namespace) in kinds {
        for (name, version) in server.versions(api_version, kind, namespace).await.ok()? {
            let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
            let key = Key { api_version, kind, namespace: namespace.map(str::to_owned), name };
            versions.insert(key, version);
        }
    }
    versions.retain(|key, _| wanted.contains_key(key));
    Some(versions)
}
