//! Images to a registry: what it does not have yet, and their bills of materials as referrers.
//! Source: OCI distribution specification, 1.1, "Push" and "Pushing Manifests with Subject".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::Named;
use super::{Blob, INDEX, Image, document};
use crate::error::Fault;

/// One answer of the registry may take this long: a layer is sent within it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Pushes an image under its reference's name and these tags. Returns the bytes that the registry did not have. Errors
/// with the registry's own words.
pub async fn push(named: &Named, tags: &[String]) -> Result<u64, Fault> {
    let (host, name) = split(&named.reference)?;
    let registry = Registry::of(host, name)?;
    let mut sent = 0;
    for blob in named.image.layers.iter().chain([&named.image.config]) {
        sent += registry.blob(blob).await?;
    }
    for tag in tags {
        registry.manifest(&named.image.manifest, tag).await?;
    }
    for (manifest, about) in &named.referrers {
        sent += registry.blob(about).await? + registry.blob(&Image::empty()).await?;
        if !registry.manifest(manifest, manifest.digest.as_str()).await? {
            registry.tag_referrer(&named.image.manifest, manifest).await?;
        }
    }
    Ok(sent)
}

/// The registry's host and the image's name in it.
fn split(reference: &str) -> Result<(&str, &str), Fault> {
    let wrong = || {
        Fault::usage(format!("`{reference}` names no image in a registry"))
            .hint("the registry comes first: ghcr.io/me/demo, localhost:5000")
    };
    let (host, rest) = reference.split_once('/').ok_or_else(wrong)?;
    let (name, _) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    };
    if !name.split('/').all(part) || host.parse::<http::uri::Authority>().is_err() {
        return Err(wrong());
    }
    Ok((host, name))
}

struct Registry {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// `https://ghcr.io/v2/me/demo/baz`.
    base: String,
    host: String,
    name: String,
    /// What the registry wants to see, once it said so.
    authorization: Mutex<Option<HeaderValue>>,
}

/// What a registry said.
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Registry {
    fn of(host: &str, name: &str) -> Result<Self, Fault> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| Fault::environment(format!("no certificates of authorities: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        // As Docker does: on this machine itself without TLS, anywhere else with it.
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        let scheme = if bare == "localhost" || bare.starts_with("127.") { "http" } else { "https" };
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: format!("{scheme}://{host}/v2/{name}"),
            host: host.to_owned(),
            name: name.to_owned(),
            authorization: Mutex::default(),
        })
    }

    /// Sends a blob that is not there; how many bytes.
    async fn blob(&self, blob: &Blob) -> Result<u64, Fault> {
        let at = format!("{}/blobs/{}", self.base, blob.digest);
        if self.ask(Method::HEAD, &at, None, Bytes::new()).await?.status == StatusCode::OK {
            return Ok(0);
        }
        let begun =
            self.ask(Method::POST, &format!("{}/blobs/uploads/", self.base), None, Bytes::new()).await?;
        let begun = self.expect(begun, StatusCode::ACCEPTED, "take an upload")?;
        let to = begun.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.ok_or_else(|| Fault::failed(format!("{}: an upload without a place", self.host)))?;
        let to = self.absolute(to);
        let joint = if to.contains('?') { '&' } else { '?' };
        let to = format!("{to}{joint}digest={}", blob.digest);
        let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or_default());
        blob.write(&mut bytes)
            .map_err(|error| Fault::environment(format!("cannot read a layer: {error}")))?;
        let put = self.ask(Method::PUT, &to, Some("application/octet-stream"), bytes.into()).await?;
        self.expect(put, StatusCode::CREATED, "take a layer")?;
        Ok(blob.size)
    }

    /// Puts a manifest under a tag or its digest. True when the registry knows what referrers are.
    async fn manifest(&self, manifest: &Blob, name: &str) -> Result<bool, Fault> {
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).map_err(|error| Fault::failed(error.to_string()))?;
        let at = format!("{}/manifests/{name}", self.base);
        let put = self.ask(Method::PUT, &at, Some(manifest.media_type), bytes.into()).await?;
        let put = self.expect(put, StatusCode::CREATED, "take a manifest")?;
        Ok(put.headers.contains_key("oci-subject"))
    }

    /// Where a registry knows no referrers, they are listed by an index with a tag that says of what.
    /// Source: the same, "Unavailable Referrers API".
    async fn tag_referrer(&self, subject: &Blob, manifest: &Blob) -> Result<(), Fault> {
        let at = format!("{}/manifests/sha256-{}", self.base, subject.digest.hex());
        let had = self.ask(Method::GET, &at, None, Bytes::new()).await?;
        let had: Value = serde_json::from_slice(&had.body).unwrap_or_default();
        let mut manifests = had["manifests"].as_array().cloned().unwrap_or_default();
        let mut descriptor = manifest.descriptor();
        if manifests.iter().any(|known| known["digest"] == descriptor["digest"]) {
            return Ok(());
        }
        descriptor["artifactType"] = json!(super::sbom::MEDIA_TYPE);
        manifests.push(descriptor);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let put = self.ask(Method::PUT, &at, Some(INDEX), document(&index).into()).await?;
        self.expect(put, StatusCode::CREATED, "take an index").map(drop)
    }

    fn absolute(&self, to: &str) -> String {
        if to.contains("://") {
            return to.to_owned();
        }
        let scheme = self.base.split("://").next().unwrap_or("https");
        format!("{scheme}://{}{to}", self.host)
    }

    fn expect(&self, said: Said, wanted: StatusCode, what: &str) -> Result<Said, Fault> {
        if said.status == wanted {
            return Ok(said);
        }
        let words = String::from_utf8_lossy(&said.body);
        let (host, name, status) = (&self.host, &self.name, said.status);
        let fault = Fault::failed(format!("{host} does not {what} of {name}: {status} {}", words.trim()));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => fault.hint(format!("docker login {host}")),
            _ => fault,
        })
    }

    /// Asks, with what the registry wants to see; once more when it says what that is.
    async fn ask(
        &self,
        method: Method,
        at: &str,
        content: Option<&'static str>,
        body: Bytes,
    ) -> Result<Said, Fault> {
        let said = self.send(method.clone(), at, content, body.clone()).await?;
        if said.status != StatusCode::UNAUTHORIZED {
            return Ok(said);
        }
        let Some(wanted) = said.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()) else {
            return Ok(said);
        };
        let Some(authorization) = self.authorize(wanted).await? else { return Ok(said) };
        *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(authorization);
        self.send(method, at, content, body).await
    }

    async fn send(
        &self,
        method: Method,
        at: &str,
        content: Option<&'static str>,
        body: Bytes,
    ) -> Result<Said, Fault> {
        let uri: Uri = at.parse().map_err(|_| Fault::failed(format!("`{at}` is no address")))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(content) = content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        let seen = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(authorization) = seen {
            headers.insert(AUTHORIZATION, authorization);
        }
        let answer = async {
            let answer = self.client.request(request).await.map_err(|error| crate::tools::cause(&error))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>(Said { status: head.status, headers: head.headers, body })
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        answer.map_err(|why| {
            Fault::environment(format!("cannot reach the registry {}: {why}", self.host))
                .hint("is its name right, and does it run?")
        })
    }

    /// What a registry is to be shown; none when nothing is known for it.
    async fn authorize(&self, wanted: &str) -> Result<Option<HeaderValue>, Fault> {
        let basic = stored(&self.host).map(|auth| format!("Basic {auth}"));
        let Some(parameters) = wanted.strip_prefix("Bearer ") else {
            return Ok(basic.and_then(|basic| HeaderValue::try_from(basic).ok()));
        };
        let parameters = parameters_of(parameters);
        let Some(realm) = parameters.get("realm") else { return Ok(None) };
        let asked = ["service", "scope"].into_iter().filter_map(|name| Some((name, parameters.get(name)?)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
        let at = format!("{realm}?{query}");
        *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            basic.and_then(|basic| HeaderValue::try_from(basic).ok());
        let said = self.send(Method::GET, &at, None, Bytes::new()).await?;
        let token: Value = serde_json::from_slice(&said.body).unwrap_or_default();
        let token = token["token"].as_str().or_else(|| token["access_token"].as_str());
        Ok(token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok()))
    }
}

/// `realm="https://auth",service="registry"` as a map.
fn parameters_of(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name.trim_matches([',', ' ']).to_lowercase(), value.to_owned());
        rest = after;
    }
    found
}

/// What `docker login` stored for a registry, where no credential helper keeps it.
fn stored(host: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Auth>,
    }
    #[derive(Deserialize)]
    struct Auth {
        auth: Option<String>,
    }
    let home = || std::env::home_dir().unwrap_or_default().join(".docker");
    let directory = std::env::var_os("DOCKER_CONFIG").map_or_else(home, PathBuf::from);
    let text = std::fs::read(directory.join("config.json")).ok()?;
    let config: Config = serde_json::from_slice(&text).ok()?;
    config.auths.get(host)?.auth.clone().filter(|auth| !auth.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_registry_and_a_name() {
        assert_eq!(split("localhost:5000/demo/baz:1").unwrap(), ("localhost:5000", "demo/baz"));
        for wrong in ["baz", "baz:1", "ghcr.io/Demo:1", "a b/baz:1", "ghcr.io//baz:1"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_registry_wants_is_read() {
        let wanted = parameters_of(r#"realm="https://auth/token",service="registry, one",scope=pull"#);
        let pairs: Vec<_> = wanted.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        assert_eq!(pairs, ["realm: https://auth/token", "scope: pull", "service: registry, one"]);
    }
}
