//! The API server, with patience: while it cannot be reached, what is asked of it waits instead of failing.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, params::ValidationDirective};
use kube::{Client, Config, Error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objects::MANAGED;
use crate::error::Fault;
use crate::report::Events;

/// Who we are to server-side apply: what this manager set, only it changes without being asked.
pub const FIELD_MANAGER: &str = "xtask";

/// How long an API server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    pub api_version: String,
    pub kind: String,
    /// None for objects of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

impl Key {
    /// The key of an object as it is written; none when it has no name.
    pub fn of(object: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            api_version: text(&object["apiVersion"])?,
            kind: text(&object["kind"])?,
            namespace: text(&object["metadata"]["namespace"]),
            name: text(&object["metadata"]["name"])?,
        })
    }

    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &self.kind))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Created,
    Configured,
    Unchanged,
}

/// An API server and whom to tell while it is waited for.
#[derive(Clone)]
pub struct ApiServer {
    pub client: Client,
    events: Events,
}

impl ApiServer {
    /// The server of a context of a kubeconfig; of its current one when none is named. Nothing is asked of it yet.
    pub async fn of(kubeconfig: Kubeconfig, context: Option<String>, events: &Events) -> Result<Self, Fault> {
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| Fault::environment(format!("kubeconfig: {error}")))?;
        config.connect_timeout = Some(Duration::from_secs(5));
        let client =
            Client::try_from(config).map_err(|error| Fault::environment(format!("kubeconfig: {error}")))?;
        Ok(Self { client, events: events.clone() })
    }

    /// Asks until there is an answer, or for a minute.
    pub async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let start = Instant::now();
        let mut told = false;
        loop {
            match ask().await {
                Err(error) if is_passing(&error) && start.elapsed() < PATIENCE => {
                    if !told && start.elapsed() > Duration::from_secs(2) {
                        told = true;
                        self.events
                            .warn(format!("the API server does not answer ({}); waiting", why(&error)), None);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// An object; none when it is not there.
    pub async fn get(&self, key: &Key) -> Result<Option<DynamicObject>, Fault> {
        let api = self.objects(key.namespace.as_deref(), &key.resource());
        let found = self.patiently(|| api.get_opt(&key.name)).await;
        match found {
            // A kind that is not served has no objects.
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            found => found.map_err(|error| fault(&format!("cannot read {key}"), &error)),
        }
    }

    /// Every object of a kind in a namespace (none: in all) that a label selector takes.
    pub async fn list<K>(&self, namespace: Option<&str>, selector: &str) -> Result<Vec<K>, Fault>
    where
        K: kube::Resource<DynamicType = ()>
            + k8s_openapi::Resource
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let resource = ApiResource::erase::<K>(&());
        let params = ListParams::default().labels(selector);
        let api = self.objects(namespace, &resource);
        let list = self
            .patiently(|| api.list(&params))
            .await
            .map_err(|error| fault(&format!("cannot list {}", resource.plural), &error))?;
        let parse = |object: DynamicObject| object.try_parse::<K>();
        let parsed: Result<Vec<K>, _> = list.items.into_iter().map(parse).collect();
        parsed.map_err(|error| Fault::failed(format!("cannot read {}: {error}", resource.plural)))
    }

    /// The names of a kind's objects in a namespace, each with what changes when somebody changes it: its generation,
    /// where it has one, for a state is no change. Asks once.
    pub async fn versions(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<(String, Option<String>)>, Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let list = self.objects(namespace, &resource).list_metadata(&ListParams::default()).await?;
        let of = |metadata: ObjectMeta| {
            let generation = metadata.generation.map(|generation| generation.to_string());
            (metadata.name.unwrap_or_default(), generation.or(metadata.resource_version))
        };
        Ok(list.items.into_iter().map(|object| of(object.metadata)).collect())
    }

    /// What an object would be: as [`Self::apply`], and nothing is changed.
    pub async fn try_apply(&self, object: &Value, force: bool) -> Result<DynamicObject, Fault> {
        self.patch(object, force, true).await
    }

    async fn patch(&self, object: &Value, force: bool, dry_run: bool) -> Result<DynamicObject, Fault> {
        let key =
            Key::of(object).ok_or_else(|| Fault::usage("an object without apiVersion, kind or name"))?;
        let params = PatchParams {
            dry_run,
            force,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let api = self.objects(key.namespace.as_deref(), &key.resource());
        let patch = Patch::Apply(object);
        let applied = self.patiently(|| api.patch(&key.name, &params, &patch)).await;
        applied.map_err(|error| refused(&key, &error))
    }

    /// Applies an object server-side, strictly: unknown fields are errors. `force` takes fields that others set. Errors:
    /// refused by the server, or a field that somebody else set to something else.
    pub async fn apply(&self, object: &Value, force: bool) -> Result<Applied, Fault> {
        let key =
            Key::of(object).ok_or_else(|| Fault::usage("an object without apiVersion, kind or name"))?;
        let before = self.get(&key).await?.map(version);
        let after = self.patch(object, force, false).await?;
        Ok(match before {
            None => Applied::Created,
            Some(before) if before == version(after) => Applied::Unchanged,
            Some(_) => Applied::Configured,
        })
    }

    /// Deletes an object, which may go on in the background; false when it was not there.
    pub async fn delete(&self, key: &Key) -> Result<bool, Fault> {
        let params = DeleteParams::background();
        let api = self.objects(key.namespace.as_deref(), &key.resource());
        let deleted = self.patiently(|| api.delete(&key.name, &params)).await;
        match deleted {
            Err(Error::Api(status)) if status.code == 404 => Ok(false),
            deleted => deleted.map(|_| true).map_err(|error| fault(&format!("cannot delete {key}"), &error)),
        }
    }

    /// The same, if this command made it: one of the name that is somebody else's stays, and false is told.
    pub async fn delete_own(&self, key: &Key) -> Result<bool, Fault> {
        match self.get(key).await? {
            Some(object) if is_own(&object) => self.delete(key).await,
            _ => Ok(false),
        }
    }

    /// Waits until an object that is being deleted is gone.
    pub async fn gone(&self, key: &Key) -> Result<(), Fault> {
        while self.get(key).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn objects(&self, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
        let client = self.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        }
    }
}

/// Whether this command made an object.
pub fn is_own(object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.get(MANAGED.0).is_some_and(|who| who == MANAGED.1))
}

fn version(object: DynamicObject) -> Option<String> {
    object.metadata.resource_version
}

/// Whether it may be over in a moment: no connection, or a server that says so.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Api(status) => matches!(status.code, 429 | 500 | 502..=504) && !is_for_good(&status.message),
        Error::Service(_) | Error::HyperError(_) => !is_untrusted(&why(error)),
        _ => false,
    }
}

/// A certificate that is not valid (yet, any more) will not be in a minute either.
fn is_untrusted(why: &str) -> bool {
    why.contains("invalid peer certificate")
}

/// A webhook that refuses, or that is not there, is told at once: only whoever installed it can help.
fn is_for_good(message: &str) -> bool {
    message.contains("denied the request")
}

/// An error in the server's own words.
pub fn why(error: &Error) -> String {
    if let Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A failed request, as a person is told.
pub fn fault(what: &str, error: &Error) -> Fault {
    let why = why(error);
    match error {
        Error::Api(status) if status.code == 403 => Fault::environment(format!("{what}: {why}")),
        Error::Api(_) => Fault::failed(format!("{what}: {why}")),
        _ if is_untrusted(&why) => Fault::environment(format!("{what}: the API server: {why}")).hint(format!(
            "is this machine's clock right? It says {}; a cluster whose certificates have expired is made anew by \
             `cargo xtask down --all` and `up`",
            jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC")
        )),
        _ => Fault::environment(format!("{what}: the API server does not answer: {why}"))
            .hint("does the cluster run? cargo xtask doctor"),
    }
}

fn refused(key: &Key, error: &Error) -> Fault {
    let why = why(error);
    match error {
        // Somebody else set a field that we set too (Kubernetes' documentation, "Server-Side Apply", Conflicts).
        Error::Api(status) if status.code == 409 => {
            Fault::failed(format!("{key} was changed by somebody else: {why}"))
                .hint("take their change into the manifest, or `cargo xtask up --force-conflicts` to undo it")
        }
        Error::Api(status) if matches!(status.code, 400 | 422) => {
            Fault::usage(format!("the API server refuses {key}: {why}"))
        }
        _ => fault(&format!("cannot apply {key}"), error),
    }
}
