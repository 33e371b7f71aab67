//! The object that lets in what only an audit let in.

use policy::model::{DEFAULT_NAMESPACE, LINKERD};

use crate::runtime::policy::Noted;

/// As YAML to paste: an `AuthorizationPolicy` for the client, on the route where there is one, else on the Server.
/// A client without an identity is named by its address; a sidecar for it would be better.
pub fn remedy(noted: &Noted) -> String {
    let (group, kind, target) = match &noted.route {
        Some((group, kind, name)) => (group.as_str(), kind.as_str(), name.as_str()),
        None => (LINKERD, "Server", noted.server.as_str()),
    };
    // ACCOUNT.NAMESPACE.serviceaccount.identity...
    let account = noted.identity.as_deref().and_then(|identity| {
        let (account, rest) = identity.split_once('.')?;
        let (namespace, rest) = rest.split_once('.')?;
        rest.starts_with("serviceaccount.identity.").then_some((account, namespace))
    });
    let of = |namespace: &str| match namespace {
        DEFAULT_NAMESPACE => String::new(),
        other => format!("\n  namespace: {other}"),
    };
    let own = of(&noted.namespace);
    let (name, required, before) = match (account, &noted.address) {
        (Some((account, namespace)), _) => {
            let elsewhere = if namespace == noted.namespace {
                String::new()
            } else {
                format!("\n      namespace: {namespace}")
            };
            let required = format!("    - kind: ServiceAccount\n      name: {account}{elsewhere}\n");
            (format!("{account}-to-{target}"), required, String::new())
        }
        (None, address) => {
            let name = format!("unmeshed-to-{target}");
            let cidr =
                address.as_deref().map_or_else(|| "0.0.0.0/0".to_owned(), |address| format!("{address}/32"));
            let networks = format!(
                "# It has no identity: better give it a sidecar, and let its ServiceAccount in.\napiVersion: \
                 policy.linkerd.io/v1alpha1\nkind: NetworkAuthentication\nmetadata:\n  name: {name}{own}\nspec:\n  \
                 networks:\n    - cidr: {cidr}\n---\n"
            );
            let required = format!(
                "    - group: policy.linkerd.io\n      kind: NetworkAuthentication\n      name: {name}\n"
            );
            (name, required, networks)
        }
    };
    format!(
        "{before}apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}{own}\nspec:\n  \
         targetRef:\n    group: {group}\n    kind: {kind}\n    name: {target}\n  requiredAuthenticationRefs:\n{required}---"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(identity: Option<&str>, on_route: bool) -> Noted {
        let route = ["gateway.networking.k8s.io", "GRPCRoute", "baz-get-info"].map(str::to_owned);
        Noted {
            identity: identity.map(str::to_owned),
            address: identity.is_none().then(|| "172.18.0.1".to_owned()),
            namespace: "default".into(),
            deployment: "baz".into(),
            server: "baz-grpc".into(),
            route: on_route.then(|| route.into()),
            grpc: true,
            method: "POST".into(),
            path: "/demo.Baz/GetInfo".into(),
        }
    }

    #[test]
    fn a_client_with_an_identity_is_let_in_on_its_route() {
        let identity = "synthetic.default.serviceaccount.identity.linkerd.cluster.local";
        insta::assert_snapshot!(remedy(&noted(Some(identity), true)), @"
        apiVersion: policy.linkerd.io/v1alpha1
        kind: AuthorizationPolicy
        metadata:
          name: synthetic-to-baz-get-info
        spec:
          targetRef:
            group: gateway.networking.k8s.io
            kind: GRPCRoute
            name: baz-get-info
          requiredAuthenticationRefs:
            - kind: ServiceAccount
              name: synthetic
        ---
        ");
    }

    #[test]
    fn a_client_of_another_namespace_on_a_server_without_routes() {
        let identity = "prometheus.viz.serviceaccount.identity.linkerd.cluster.local";
        insta::assert_snapshot!(remedy(&noted(Some(identity), false)), @"
        apiVersion: policy.linkerd.io/v1alpha1
        kind: AuthorizationPolicy
        metadata:
          name: prometheus-to-baz-grpc
        spec:
          targetRef:
            group: policy.linkerd.io
            kind: Server
            name: baz-grpc
          requiredAuthenticationRefs:
            - kind: ServiceAccount
              name: prometheus
              namespace: viz
        ---
        ");
    }

    #[test]
    fn a_client_without_an_identity_is_named_by_its_address() {
        insta::assert_snapshot!(remedy(&noted(None, false)), @"
        # It has no identity: better give it a sidecar, and let its ServiceAccount in.
        apiVersion: policy.linkerd.io/v1alpha1
        kind: NetworkAuthentication
        metadata:
          name: unmeshed-to-baz-grpc
        spec:
          networks:
            - cidr: 172.18.0.1/32
        ---
        apiVersion: policy.linkerd.io/v1alpha1
        kind: AuthorizationPolicy
        metadata:
          name: unmeshed-to-baz-grpc
        spec:
          targetRef:
            group: policy.linkerd.io
            kind: Server
            name: baz-grpc
          requiredAuthenticationRefs:
            - group: policy.linkerd.io
              kind: NetworkAuthentication
              name: unmeshed-to-baz-grpc
        ---
        ");
    }
}
