//! `policy explain`: what becomes of one call, and why, decided on the manifests.

use http::Method;
use policy::explain::{Call, Caller, Explanation, destination, explain};
use policy::model::DEFAULT_NAMESPACE;

use super::from_root;
use crate::args::Output;
use crate::args::policy::PolicyExplain;
use crate::command::Checkout;
use crate::error::{Exit, Fault};
use crate::plan::objects;
use crate::policies::{World, client, expect, shipped, with_mesh};
use crate::report::line_out;

/// Explains it. A refusal is an answer, not a failure.
pub fn run(args: &PolicyExplain, checkout: &Checkout) -> anyhow::Result<Exit> {
    let asked = Asked::of(&args.call, args.unmeshed)?;
    let speaks_grpc = {
        let plan = with_mesh(&checkout.workspace, true).map_err(Fault::from)?;
        let probe = Call::http(&asked.service, &plan.namespace, asked.port.as_deref(), "/");
        let objects = objects(&plan);
        // Without a port the request says which is meant.
        match destination(&objects, &probe) {
            Ok(to) => asked.port.is_some() && to.speaks_grpc(),
            Err(_) if asked.port.is_none() => false,
            Err(error) => return Err(Fault::usage(error.to_string()).into()),
        }
    };
    let is_grpc = asked.is_grpc(speaks_grpc, args)?;
    let paths = if args.policies.paths.is_empty() {
        vec![shipped(args.policies.grpc || is_grpc)]
    } else {
        from_root(&args.policies.paths, &checkout.root)?
    };
    let world =
        World::read(&checkout.workspace, args.policies.grpc || is_grpc, &paths).map_err(Fault::from)?;
    let mut caller = match &asked.client {
        Some(name) => client::caller(&world.objects, name, &world.plan.namespace).map_err(Fault::usage)?,
        None => Caller::unmeshed(),
    };
    if args.unmeshed {
        caller.account = None;
    }
    caller.address = args.from.unwrap_or(caller.address);
    let call = asked.call(is_grpc, args, &world.plan.namespace)?;
    let explanation = explain(&world.objects, &world.cluster, &caller, &call)
        .map_err(|error| Fault::usage(error.to_string()))?;
    match args.output {
        Output::Json => line_out(&serde_json::to_string(&explanation)?),
        Output::Text => line_out(&text(&explanation)),
    }
    Ok(Exit::Ok)
}

fn text(explanation: &Explanation) -> String {
    let lines: Vec<_> = explanation.chain.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What was typed, in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// None: a client without a sidecar.
    client: Option<String>,
    service: String,
    port: Option<String>,
    what: Option<String>,
}

impl Asked {
    fn of(words: &[String], unmeshed: bool) -> Result<Self, Fault> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (client, to, what) = match (words.as_slice(), unmeshed) {
            ([client, to, what], _) => (Some(*client), *to, Some(*what)),
            // With --unmeshed the client may be left out.
            ([to], true) => (None, *to, None),
            ([to, what], true) if what.contains('/') => (None, *to, Some(*what)),
            ([client, to], _) => (Some(*client), *to, None),
            _ => {
                return Err(Fault::usage("say who calls what: CLIENT DEST[:PORT] [METHOD|PATH]")
                    .hint("for example: cargo xtask policy explain bar baz:grpc demo.Baz/GetInfo"));
            }
        };
        let (service, port) = to.split_once(':').map_or((to, None), |(service, port)| (service, Some(port)));
        let owned = |text: &str| text.to_owned();
        Ok(Self {
            client: client.filter(|client| *client != client::UNMESHED).map(owned),
            service: service.to_owned(),
            port: port.map(owned),
            what: what.map(owned),
        })
    }

    /// Whether it is a gRPC call: by a method without a leading slash, or by a port that speaks gRPC.
    fn is_grpc(&self, port_speaks_grpc: bool, args: &PolicyExplain) -> Result<bool, Fault> {
        let is_post = args.method.as_deref().is_none_or(|method| method == "POST");
        match &self.what {
            Some(what) if !what.starts_with('/') => Ok(true),
            Some(what) => {
                Ok(port_speaks_grpc && is_post && what.matches('/').count() == 2 && what.contains('.'))
            }
            None if port_speaks_grpc => {
                Err(Fault::usage(format!("{} speaks gRPC: which method is called?", self.service))
                    .hint("name it as PACKAGE.SERVICE/METHOD, for example demo.Baz/GetInfo"))
            }
            None => Ok(false),
        }
    }

    fn call(&self, grpc: bool, args: &PolicyExplain, namespace: &str) -> Result<Call, Fault> {
        let namespace = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
        let (port, what) = (self.port.as_deref(), self.what.as_deref().unwrap_or("/"));
        let mut call = if grpc {
            Call::grpc(&self.service, namespace, port, what)
        } else {
            Call::http(&self.service, namespace, port, what)
        };
        if let Some(method) = &args.method {
            call.method = Method::from_bytes(method.as_bytes())
                .map_err(|_| Fault::usage(format!("`{method}` is no HTTP method")))?;
        }
        let mut pairs = Vec::new();
        for header in &args.headers {
            let wrong = || Fault::usage(format!("`{header}` is no header: write 'name: value'"));
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            pairs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        call.headers =
            expect::headers(pairs.iter().map(|(name, value)| (name, value))).map_err(Fault::usage)?;
        if let Some(host) = call.headers.get("host").and_then(|host| host.to_str().ok()) {
            call.authority = Some(host.to_owned());
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str], unmeshed: bool) -> Result<Asked, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Asked::of(&words, unmeshed).map_err(|fault| fault.to_string())
    }

    fn parts(client: Option<&str>, service: &str, port: Option<&str>, what: Option<&str>) -> Asked {
        let owned = |text: &str| text.to_owned();
        Asked {
            client: client.map(owned),
            service: service.to_owned(),
            port: port.map(owned),
            what: what.map(owned),
        }
    }

    #[test]
    fn what_is_typed_is_client_destination_and_request() {
        let (bar, grpc, get) = (Some("bar"), Some("grpc"), Some("demo.Baz/GetInfo"));
        assert_eq!(asked(&["bar", "baz:grpc", "demo.Baz/GetInfo"], false), Ok(parts(bar, "baz", grpc, get)));
        assert_eq!(asked(&["bar", "baz"], false), Ok(parts(bar, "baz", None, None)));
        assert_eq!(asked(&["unmeshed", "baz:80"], false), Ok(parts(None, "baz", Some("80"), None)));
        assert!(asked(&["baz"], false).is_err());
    }

    #[test]
    fn an_unmeshed_client_needs_no_name() {
        let (http, path) = (Some("http"), Some("/foo/bar"));
        assert_eq!(asked(&["baz:http", "/foo/bar"], true), Ok(parts(None, "baz", http, path)));
        assert_eq!(asked(&["baz:http"], true), Ok(parts(None, "baz", http, None)));
        assert_eq!(asked(&["bar", "baz:http"], true), Ok(parts(Some("bar"), "baz", http, None)));
        assert_eq!(asked(&["bar", "baz:http", "/foo/bar"], true), Ok(parts(Some("bar"), "baz", http, path)));
    }
}
