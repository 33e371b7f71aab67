//! Namespaces come before what is in them, and go after it.

use std::time::{Duration, Instant};

use kube::api::DynamicObject;
use serde_json::Value;

use super::api::{ApiServer, Key, is_own};
use crate::error::Fault;
use crate::report::Events;
use crate::report::step::Step;

/// A namespace that is being deleted is gone within this.
const GONE: Duration = Duration::from_secs(120);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The objects without the namespaces that somebody else made: these are used as they are, and stay when all else
/// goes. See [`settled`] for those that are being deleted.
pub async fn own(server: &ApiServer, objects: &[Value], events: &Events) -> Result<Vec<Value>, Fault> {
    let mut own = Vec::new();
    for object in objects {
        let key = Key::of(object).filter(|key| key.kind == "Namespace");
        let there = match key {
            Some(key) => settled(server, &key.name, events).await?,
            None => None,
        };
        if there.as_ref().is_none_or(is_own) {
            own.push(object.clone());
        }
    }
    Ok(own)
}

/// A namespace, none when there is none. One that is being deleted, since a former `down`, is waited for until it is
/// gone: nothing can be made in it.
pub async fn settled(
    server: &ApiServer,
    name: &str,
    events: &Events,
) -> Result<Option<DynamicObject>, Fault> {
    let key = Key {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: name.to_owned(),
    };
    let (start, mut step) = (Instant::now(), None);
    loop {
        let there = server.get(&key).await?;
        if there.as_ref().is_none_or(|there| there.metadata.deletion_timestamp.is_none()) {
            if let Some(step) = step {
                Step::finish(step, format!("the former {name} is gone"));
            }
            return Ok(there);
        }
        if start.elapsed() > GONE {
            return Err(Fault::failed(format!("the namespace {name} is being deleted for {GONE:?}"))
                .hint(format!("kubectl describe namespace {name} says what keeps it")));
        }
        step.get_or_insert_with(|| Step::start(events, "namespace"));
        tokio::time::sleep(LOOK).await;
    }
}
