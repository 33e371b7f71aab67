use std::net::SocketAddr;

use policy::{
    label::{PolicyLabels, ResourceLabel},
    model::LINKERD,
    rate_limit::RateLimited,
};

use crate::{Direction, Endpoint, Identity};

/// Names and values, in the order they are printed.
pub(crate) type Labels = Vec<(&'static str, String)>;

fn direction(direction: Direction) -> (&'static str, String) {
    ("direction", if direction == Direction::Inbound { "inbound" } else { "outbound" }.to_owned())
}

fn push_target(labels: &mut Labels, addr: SocketAddr) {
    labels.push(("target_addr", addr.to_string()));
    labels.push(("target_ip", addr.ip().to_string()));
    labels.push(("target_port", addr.port().to_string()));
}

/// Who a client is by its TLS.
#[derive(Clone, Copy)]
pub(crate) enum ClientTls<'a> {
    Identity(&'a Identity),
    None,
    /// The port is opaque: nobody looked.
    PortSkipped,
}

fn push_client(labels: &mut Labels, client: ClientTls<'_>) {
    let reason = match client {
        ClientTls::Identity(id) => {
            return labels.extend([("tls", "true".to_owned()), ("client_id", id.to_string())]);
        }
        ClientTls::None => "no_tls_from_remote",
        ClientTls::PortSkipped => "port_skipped",
    };
    labels.extend([("tls", "no_identity".to_owned()), ("no_tls_reason", reason.to_owned())]);
}

fn push_server(labels: &mut Labels, server: &ResourceLabel, port: u16) {
    push_resource(labels, ["srv_group", "srv_kind", "srv_name"], server);
    labels.push(("srv_port", port.to_string()));
}

fn push_resource(labels: &mut Labels, names: [&'static str; 3], resource: &ResourceLabel) {
    let ResourceLabel { group, kind, name } = resource;
    labels.extend(names.into_iter().zip([group.clone(), kind.clone(), name.clone()]));
}

fn push_policy(labels: &mut Labels, policy: &PolicyLabels, port: u16) {
    push_server(labels, &policy.server, port);
    if let Some(route) = &policy.route {
        push_resource(labels, ["route_group", "route_kind", "route_name"], route);
    }
    if let Some(authz) = &policy.authz {
        push_resource(labels, ["authz_group", "authz_kind", "authz_name"], authz);
    }
}

/// `direction="inbound",target_addr,...,tls,client_id,srv_*,route_*,authz_*`
pub(crate) fn inbound_labels(target: SocketAddr, client: ClientTls<'_>, policy: &PolicyLabels) -> Labels {
    let mut labels = vec![direction(Direction::Inbound)];
    push_target(&mut labels, target);
    push_client(&mut labels, client);
    push_policy(&mut labels, policy, target.port());
    labels
}

/// As Linkerd's `inbound_http_authz_*_total`, `inbound_tcp_authz_*_total` and `inbound_http_route_not_found_total`:
/// target, the policy as far as it is known, then TLS.
pub(crate) fn authz_labels(target: SocketAddr, client: ClientTls<'_>, policy: &PolicyLabels) -> Labels {
    let mut labels = Labels::new();
    push_target(&mut labels, target);
    push_policy(&mut labels, policy, target.port());
    push_client(&mut labels, client);
    labels
}

/// As Linkerd's `inbound_http_local_ratelimit_total`.
pub(crate) fn rate_limit_labels(
    target: SocketAddr,
    client: ClientTls<'_>,
    server: &ResourceLabel,
    limit: &str,
    exceeded: RateLimited,
) -> Labels {
    let scope = match exceeded {
        RateLimited::Total(_) => "total",
        RateLimited::Identity(_) | RateLimited::Override(_) => "identity",
    };
    let mut labels = Labels::new();
    push_target(&mut labels, target);
    push_server(&mut labels, server, target.port());
    let limit = ResourceLabel::new(LINKERD, "HTTPLocalRateLimitPolicy", limit);
    push_resource(&mut labels, ["ratelimit_group", "ratelimit_kind", "ratelimit_name"], &limit);
    labels.push(("ratelimit_scope", scope.to_owned()));
    push_client(&mut labels, client);
    labels
}

/// The labels of connections that the inbound proxy accepts.
pub(crate) fn accept_labels(target: SocketAddr, client: ClientTls<'_>, server: &ResourceLabel) -> Labels {
    let mut labels = vec![direction(Direction::Inbound), ("peer", "src".to_owned())];
    push_target(&mut labels, target);
    push_client(&mut labels, client);
    push_server(&mut labels, server, target.port());
    labels
}

/// The labels of connections that the application opens.
pub(crate) fn app_labels(target: SocketAddr) -> Labels {
    let mut labels = vec![direction(Direction::Outbound), ("peer", "src".to_owned())];
    push_target(&mut labels, target);
    labels.extend([("tls", "no_identity".to_owned()), ("no_tls_reason", "loopback".to_owned())]);
    labels
}

/// The labels of connections to the application.
pub(crate) fn local_labels() -> Labels {
    vec![
        direction(Direction::Inbound),
        ("peer", "dst".to_owned()),
        ("tls", "no_identity".to_owned()),
        ("no_tls_reason", "loopback".to_owned()),
    ]
}

/// `direction="outbound",authority,target_addr,...,tls,server_id,dst_*`; with `peer` for connections.
pub(crate) fn endpoint_labels(authority: &str, service: &str, endpoint: &Endpoint, peer: bool) -> Labels {
    let mut labels = vec![direction(Direction::Outbound)];
    if peer {
        labels.push(("peer", "dst".to_owned()));
    }
    labels.push(("authority", authority.to_owned()));
    push_target(&mut labels, endpoint.addr);
    match &endpoint.identity {
        Some(id) => labels.extend([("tls", "true".to_owned()), ("server_id", id.to_string())]),
        None => labels.extend([
            ("tls", "no_identity".to_owned()),
            ("no_tls_reason", "not_provided_by_service_discovery".to_owned()),
        ]),
    }
    let pod = &endpoint.workload;
    labels.extend([
        ("dst_control_plane_ns", "linkerd".to_owned()),
        ("dst_deployment", pod.deployment.clone()),
        ("dst_namespace", pod.namespace.clone()),
        ("dst_pod", pod.pod.clone()),
        ("dst_pod_template_hash", pod.pod_template_hash.clone()),
        ("dst_service", service.to_owned()),
        ("dst_serviceaccount", pod.service_account.clone()),
    ]);
    labels
}
