//! Pure: Ingress objects in, the table that says which backend takes a request out.
//!
//! The rules are ingress-nginx's (v1.15.1, `internal/ingress/controller/{controller,location}.go`): an exact host before a
//! wildcard before no host; within a host an exact path before the longest prefix; a `Prefix` path is
//! matched element by element, an `ImplementationSpecific` one character by character.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress};

use super::backend::{Backend, Options};
use crate::plan::Sourced;
use crate::workspace::manifests::Source;

/// Which backend takes which request. Does not depend on the order of objects or rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// By host, lower case, as the rule has it: exact, or `*.suffix`.
    hosts: HashMap<String, Paths>,
    /// What no host's rules take: rules without a host.
    any: Paths,
}

/// The paths of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Paths {
    exact: HashMap<String, (Rank, Backend)>,
    /// Longest first, each of another path.
    prefix: Vec<(String, Backend)>,
    /// The `defaultBackend` of the Ingress that has this host.
    default: Option<Backend>,
}

/// How an exact path came to be: what the user wrote goes before what `Prefix` implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Exact,
    /// `Prefix: /a` takes `/a` itself too.
    Prefix,
}

/// Why an Ingress cannot be served here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}:{}: Ingress {ingress}: {message}", at.file.display(), at.line)]
pub struct Refused {
    /// Where the object is.
    pub at: Source,
    /// Its name.
    pub ingress: String,
    /// What is not served, and what would be.
    pub message: String,
}

impl Routes {
    /// Reads the objects. Errors: everything in them that is not modelled or contradicts itself, in the
    /// order of the files.
    pub fn of(ingresses: &[Sourced<Ingress>]) -> Result<Self, Vec<Refused>> {
        let mut table = Table::default();
        for ingress in ingresses {
            table.read(ingress);
        }
        table.refused.sort();
        if table.refused.is_empty() { Ok(table.routes) } else { Err(table.refused) }
    }

    /// Also takes a host that no Ingress claims, by name or by a wildcard.
    pub fn add_host(&mut self, host: &str, backend: Backend) {
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        if !wildcard.is_some_and(|name| self.hosts.contains_key(&name)) {
            let paths = Paths { default: Some(backend), ..Paths::default() };
            self.hosts.entry(host.to_owned()).or_insert(paths);
        }
    }

    /// The backend for a request to `host` (with or without a port) and `path` (no query), or none.
    pub fn find(&self, host: &str, path: &str) -> Option<&Backend> {
        let path = normalize(path);
        self.paths(host).find(&path)
    }

    fn paths(&self, host: &str) -> &Paths {
        let host = without_port(host);
        let host: Cow<'_, str> = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            host.to_ascii_lowercase().into()
        } else {
            host.into()
        };
        if let Some(paths) = self.hosts.get(&*host) {
            return paths;
        }
        // A wildcard stands for one label, as Kubernetes has it.
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        wildcard.and_then(|name| self.hosts.get(&name)).unwrap_or(&self.any)
    }

    /// The hosts that rules name, sorted.
    pub fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<_> = self.hosts.keys().map(String::as_str).collect();
        hosts.sort_unstable();
        hosts
    }

    /// Every backend that a request can be sent to.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.hosts.values().chain([&self.any]).flat_map(|paths| {
            let exact = paths.exact.values().map(|(_, backend)| backend);
            exact.chain(paths.prefix.iter().map(|(_, backend)| backend)).chain(&paths.default)
        })
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Backend> {
        if let Some((_, backend)) = self.exact.get(path) {
            return Some(backend);
        }
        let prefix = self.prefix.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        prefix.map(|(_, backend)| backend).or(self.default.as_ref())
    }
}

/// `host:port` and `[::1]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The path that nginx matches: escapes decoded, slashes merged, `.` and `..` resolved. The backend
/// gets what the client sent.
fn normalize(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return path.into();
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let escape = bytes.as_slice().get(..2).filter(|_| byte == b'%');
        let code = escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| {
            // `from_str_radix` would take a sign.
            hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
        });
        if code.is_some() {
            bytes.nth(1);
        }
        decoded.push(code.unwrap_or(byte));
    }
    let decoded = String::from_utf8_lossy(&decoded);
    let mut elements = Vec::new();
    for element in decoded.split('/').filter(|element| !element.is_empty()) {
        match element {
            "." => {}
            ".." => drop(elements.pop()),
            element => elements.push(element),
        }
    }
    let directory = decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..");
    let end = if directory && !elements.is_empty() { "/" } else { "" };
    format!("/{}{end}", elements.join("/")).into()
}

/// The routes while they are read.
#[derive(Default)]
struct Table {
    routes: Routes,
    /// Who took (host, kind, path), to say so when another wants it.
    taken: BTreeMap<(String, &'static str, String), (String, Backend)>,
    refused: Vec<Refused>,
}

impl Table {
    fn read(&mut self, sourced: &Sourced<Ingress>) {
        let name = sourced.object.metadata.name.as_deref().unwrap_or_default();
        let mut wrong = Vec::new();
        let spec = sourced.object.spec.clone().unwrap_or_default();
        if let Some(class) = spec.ingress_class_name.as_deref().filter(|class| *class != "nginx") {
            wrong.push(format!("ingressClassName `{class}` is not served here; `nginx` is"));
        }
        if spec.tls.is_some_and(|tls| !tls.is_empty()) {
            wrong.push("tls: the local ingress speaks plain HTTP; TLS at it is not modelled".to_owned());
        }
        let annotations = sourced.object.metadata.annotations.clone().unwrap_or_default();
        let options = Options::of(&annotations).unwrap_or_else(|errors| {
            wrong.extend(errors);
            Options::default()
        });
        let mut hosts = BTreeSet::new();
        for rule in spec.rules.iter().flatten() {
            let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
            if let Err(error) = check_host(&host) {
                wrong.push(error);
                continue;
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                if let Err(error) = self.add(name, &host, path, &options) {
                    wrong.push(error);
                }
            }
            hosts.insert(host);
        }
        if let Some(backend) = &spec.default_backend {
            // Without rules it takes what nothing else does, with rules what they leave of their hosts.
            if hosts.is_empty() {
                hosts.insert(String::new());
            }
            for host in &hosts {
                let taken = Backend::of(backend, &options)
                    .and_then(|backend| self.take(name, host, "defaultBackend", "", backend));
                match taken {
                    Ok(backend) => self.paths(host).default = Some(backend),
                    Err(error) => wrong.push(error),
                }
            }
        }
        self.refused.extend(wrong.into_iter().map(|message| Refused {
            at: sourced.source.clone(),
            ingress: name.to_owned(),
            message,
        }));
    }

    fn add(
        &mut self,
        ingress: &str,
        host: &str,
        rule: &HTTPIngressPath,
        options: &Options,
    ) -> Result<(), String> {
        let path = rule.path.as_deref().filter(|path| !path.is_empty());
        if path.is_none() && matches!(rule.path_type.as_str(), "Exact" | "Prefix") {
            return Err(format!("a rule with pathType {} has no path", rule.path_type));
        }
        let path = path.unwrap_or("/");
        if !path.starts_with('/') {
            return Err(format!("path `{path}` does not begin with a slash"));
        }
        let backend = Backend::of(&rule.backend, options)?;
        match rule.path_type.as_str() {
            "Exact" => {
                let backend = self.take(ingress, host, "Exact", path, backend)?;
                self.paths(host).exact.insert(path.to_owned(), (Rank::Exact, backend));
            }
            "Prefix" => {
                // `/a` and `/a/` take the same requests.
                let element = path.trim_end_matches('/');
                let backend = self.take(ingress, host, "Prefix", element, backend)?;
                let paths = self.paths(host);
                if paths.exact.get(element).is_none_or(|(rank, _)| *rank > Rank::Exact) {
                    paths.exact.insert(element.to_owned(), (Rank::Prefix, backend.clone()));
                }
                paths.insert_prefix(format!("{element}/"), backend, Rank::Prefix);
            }
            "ImplementationSpecific" => {
                let backend = self.take(ingress, host, "ImplementationSpecific", path, backend)?;
                self.paths(host).insert_prefix(path.to_owned(), backend, Rank::Exact);
            }
            other => return Err(format!("no pathType `{other}`; Exact, Prefix, ImplementationSpecific")),
        }
        Ok(())
    }

    /// Refuses what another rule has, as ingress-nginx's admission webhook does.
    fn take(
        &mut self,
        ingress: &str,
        host: &str,
        kind: &'static str,
        path: &str,
        backend: Backend,
    ) -> Result<Backend, String> {
        let key = (host.to_owned(), kind, path.to_owned());
        let (owner, has) =
            self.taken.entry(key).or_insert_with(|| (ingress.to_owned(), backend.clone())).clone();
        if has == backend {
            return Ok(backend);
        }
        let host = if host.is_empty() { "any host" } else { host };
        let path = if kind == "Prefix" && path.is_empty() { "/" } else { path };
        Err(format!("{host} {kind} {path} already goes to {} in Ingress {owner}", has.service))
    }

    fn paths(&mut self, host: &str) -> &mut Paths {
        if host.is_empty() {
            return &mut self.routes.any;
        }
        self.routes.hosts.entry(host.to_owned()).or_default()
    }
}

impl Paths {
    /// Keeps the longest first. `Prefix: /a` and `ImplementationSpecific: /a/` are one location in
    /// nginx; then the more explicit one has it.
    fn insert_prefix(&mut self, prefix: String, backend: Backend, rank: Rank) {
        let order = |(other, _): &(String, Backend)| {
            prefix.len().cmp(&other.len()).then_with(|| other.as_str().cmp(&prefix))
        };
        match self.prefix.binary_search_by(order) {
            Ok(index) if rank == Rank::Exact => self.prefix[index].1 = backend,
            Ok(_) => {}
            Err(index) => self.prefix.insert(index, (prefix, backend)),
        }
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let valid = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.is_empty() || name.split('.').all(valid) {
        return Ok(());
    }
    Err(format!("host `{host}` is not a DNS name, nor one behind `*.`"))
}

#[cfg(test)]
#[path = "routes_test.rs"]
mod tests;
