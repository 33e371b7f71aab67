//! What the routing table promises.

use proptest::prelude::*;

use super::*;

/// An Ingress of (host, pathType, path, service) rules.
fn ingress(name: &str, rules: &[(&str, &str, &str, &str)]) -> Sourced<Ingress> {
    let rules: Vec<_> = rules
        .iter()
        .map(|(host, kind, path, service)| {
            serde_json::json!({
                "host": if host.is_empty() { None } else { Some(host) },
                "http": { "paths": [{
                    "path": path, "pathType": kind,
                    "backend": { "service": { "name": service, "port": { "number": 80 } } },
                }]},
            })
        })
        .collect();
    parse(&serde_json::json!({ "metadata": { "name": name }, "spec": { "rules": rules } }))
}

fn parse(json: &serde_json::Value) -> Sourced<Ingress> {
    let mut json = json.clone();
    json["apiVersion"] = "networking.k8s.io/v1".into();
    json["kind"] = "Ingress".into();
    Sourced {
        object: serde_json::from_value(json).unwrap(),
        source: Source { file: "manifests/ingress/foo.yaml".into(), line: 1 },
    }
}

fn routes(rules: &[(&str, &str, &str, &str)]) -> Routes {
    Routes::of(&[ingress("foo", rules)]).unwrap()
}

fn service<'a>(routes: &'a Routes, host: &str, path: &str) -> &'a str {
    routes.find(host, path).map_or("-", |backend| &backend.service)
}

#[test]
fn an_exact_host_goes_before_a_wildcard_before_none() {
    let routes = routes(&[
        ("", "Prefix", "/", "any"),
        ("*.localhost", "Prefix", "/", "wild"),
        ("foo.localhost", "Prefix", "/", "foo"),
    ]);
    assert_eq!(service(&routes, "foo.localhost", "/"), "foo");
    assert_eq!(service(&routes, "FOO.localhost:8080", "/"), "foo");
    assert_eq!(service(&routes, "bar.localhost", "/"), "wild");
    assert_eq!(service(&routes, "a.bar.localhost", "/"), "any", "a wildcard is one label");
    assert_eq!(service(&routes, "[::1]:8080", "/"), "any");
}

#[test]
fn a_host_of_ones_own_is_taken_where_no_ingress_claims_it() {
    let with_own = |rules: &[(&str, &str, &str, &str)]| {
        let mut routes = routes(rules);
        routes.add_host("own.localhost", Backend::own("own"));
        service(&routes, "own.localhost:8080", "/any/path").to_owned()
    };
    assert_eq!(with_own(&[("foo.localhost", "Prefix", "/", "foo")]), "own");
    assert_eq!(with_own(&[("", "Prefix", "/", "any")]), "own", "who claims none in particular claims it not");
    assert_eq!(with_own(&[("own.localhost", "Prefix", "/", "foo")]), "foo");
    assert_eq!(with_own(&[("*.localhost", "Prefix", "/", "wild")]), "wild");
}

#[test]
fn prefix_goes_by_elements_and_implementation_specific_by_characters() {
    let routes =
        routes(&[("h", "Prefix", "/a/b", "elements"), ("h", "ImplementationSpecific", "/c/d", "characters")]);
    for (path, expected) in [
        ("/a/b", "elements"),
        ("/a/b/", "elements"),
        ("/a/b/c", "elements"),
        ("/a/bc", "-"),
        ("/a", "-"),
        ("/c/d", "characters"),
        ("/c/de", "characters"),
    ] {
        assert_eq!(service(&routes, "h", path), expected, "{path}");
    }
}

#[test]
fn exact_goes_before_prefix_and_the_longest_prefix_wins() {
    let routes = routes(&[
        ("h", "Prefix", "/", "root"),
        ("h", "Prefix", "/a", "a"),
        ("h", "Prefix", "/a/b/", "ab"),
        ("h", "Exact", "/a", "exact"),
    ]);
    for (path, expected) in [
        ("/", "root"),
        ("/x", "root"),
        ("/a", "exact"),
        ("/a/", "a"),
        ("/a/x", "a"),
        ("/a/b", "ab"),
        ("/a/b/c", "ab"),
    ] {
        assert_eq!(service(&routes, "h", path), expected, "{path}");
    }
}

#[test]
fn a_path_is_matched_as_nginx_normalizes_it() {
    let routes = routes(&[("h", "Prefix", "/a/b", "ab")]);
    for path in ["//a//b", "/%61/b", "/x/../a/./b", "/a/b/c/.."] {
        assert_eq!(service(&routes, "h", path), "ab", "{path}");
    }
    assert_eq!(service(&routes, "h", "/a/b/../c"), "-");
    assert_eq!(service(&routes, "h", "/%+1"), "-");
}

#[test]
fn a_default_backend_takes_what_the_rules_leave() {
    let backend = |name: &str| serde_json::json!({ "service": { "name": name, "port": { "name": "http" } } });
    let alone = parse(
        &serde_json::json!({ "metadata": { "name": "all" }, "spec": { "defaultBackend": backend("all") } }),
    );
    let with_rules = parse(&serde_json::json!({ "metadata": { "name": "foo" }, "spec": {
        "defaultBackend": backend("rest"),
        "rules": [{ "host": "h", "http": { "paths": [{ "path": "/a", "pathType": "Prefix", "backend": backend("a") }] } }],
    }}));
    let routes = Routes::of(&[alone, with_rules]).unwrap();
    assert_eq!(service(&routes, "h", "/a"), "a");
    assert_eq!(service(&routes, "h", "/x"), "rest");
    assert_eq!(service(&routes, "other", "/x"), "all");
    assert_eq!(routes.backends().count(), 4, "a twice: as prefix and itself");
}

#[test]
fn what_is_not_modelled_is_refused_with_everything_that_is_wrong() {
    let one = parse(&serde_json::json!({
        "metadata": { "name": "foo", "annotations": { "nginx.ingress.kubernetes.io/canary": "true" } },
        "spec": {
            "ingressClassName": "traefik",
            "tls": [{ "hosts": ["h"] }],
            "rules": [
                { "host": "h_h" },
                { "host": "h", "http": { "paths": [
                    { "pathType": "Prefix", "backend": { "service": { "name": "a", "port": { "number": 80 } } } },
                    { "path": "a", "pathType": "Exact", "backend": { "service": { "name": "a", "port": { "number": 80 } } } },
                    { "path": "/a", "pathType": "Regex", "backend": { "service": { "name": "a", "port": { "number": 80 } } } },
                    { "path": "/a", "pathType": "Exact", "backend": { "resource": { "kind": "Bucket", "name": "b" } } },
                    { "path": "/a", "pathType": "Exact", "backend": { "service": { "name": "a" } } },
                ] } },
            ],
        },
    }));
    let refused = Routes::of(&[one]).unwrap_err();
    let text = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @r#"
    manifests/ingress/foo.yaml:1: Ingress foo: a resource as backend is not modelled; name a Service
    manifests/ingress/foo.yaml:1: Ingress foo: a rule with pathType Prefix has no path
    manifests/ingress/foo.yaml:1: Ingress foo: annotation nginx.ingress.kubernetes.io/canary: not modelled by the local runtime; modelled are service-upstream, backend-protocol, proxy-body-size, proxy-connect-timeout, proxy-read-timeout, ssl-redirect: "false"
    manifests/ingress/foo.yaml:1: Ingress foo: backend a: names no port
    manifests/ingress/foo.yaml:1: Ingress foo: host `h_h` is not a DNS name, nor one behind `*.`
    manifests/ingress/foo.yaml:1: Ingress foo: ingressClassName `traefik` is not served here; `nginx` is
    manifests/ingress/foo.yaml:1: Ingress foo: no pathType `Regex`; Exact, Prefix, ImplementationSpecific
    manifests/ingress/foo.yaml:1: Ingress foo: path `a` does not begin with a slash
    manifests/ingress/foo.yaml:1: Ingress foo: tls: the local ingress speaks plain HTTP; TLS at it is not modelled
    "#);
}

#[test]
fn two_rules_for_the_same_requests_are_refused_unless_they_agree() {
    let one = ingress("one", &[("h", "Prefix", "/a", "a")]);
    let two = ingress("two", &[("h", "Prefix", "/a/", "b")]);
    assert!(Routes::of(&[one.clone(), one.clone()]).is_ok());
    let refused = Routes::of(&[one, two]).unwrap_err();
    insta::assert_snapshot!(
        refused[0],
        @"manifests/ingress/foo.yaml:1: Ingress two: h Prefix /a already goes to a in Ingress one"
    );
}

fn rule() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    (
        prop::sample::select(vec!["", "h", "*.l", "a.l"]),
        prop::sample::select(vec!["Exact", "Prefix", "ImplementationSpecific"]),
        path(),
    )
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 0..4)
        .prop_flat_map(|elements| (Just(elements), any::<bool>()))
        .prop_map(|(elements, slash)| format!("/{}{}", elements.join("/"), if slash { "/" } else { "" }))
        .prop_map(|path| path.replace("//", "/"))
}

proptest! {
    #[test]
    fn the_order_of_rules_and_objects_does_not_matter(
        rules in prop::collection::btree_set(rule(), 0..12),
        seed in any::<prop::sample::Index>(),
        host in prop::sample::select(vec!["h", "a.l", "b.l", "x"]),
        path in path(),
    ) {
        // Every rule has a backend of its own, so that which one took it shows.
        let mut seen = BTreeSet::new();
        let named: Vec<_> = rules
            .iter()
            .filter(|(host, kind, path)| seen.insert((*host, *kind, path.trim_end_matches('/'))))
            .enumerate()
            .map(|(i, (host, kind, path))| (*host, *kind, path.clone(), format!("s{i}")))
            .collect();
        let objects: Vec<_> = named
            .iter()
            .map(|(host, kind, path, service)| ingress(service, &[(host, kind, path, service)]))
            .collect();
        let mut turned = objects.clone();
        turned.rotate_left(if objects.is_empty() { 0 } else { seed.index(objects.len()) });
        turned.reverse();
        let (a, b) = (Routes::of(&objects).unwrap(), Routes::of(&turned).unwrap());
        prop_assert_eq!(a.find(host, &path), b.find(host, &path));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn the_longest_prefix_wins(paths in prop::collection::btree_set(path(), 1..8), asked in path()) {
        let paths: BTreeSet<_> = paths.iter().map(|p| p.trim_end_matches('/').to_owned()).collect();
        let objects: Vec<_> =
            paths.iter().map(|p| ingress("i", &[("h", "Prefix", &format!("{p}/"), &format!("s{p}"))])).collect();
        let routes = Routes::of(&objects).unwrap();
        let with_slash = format!("{}/", asked.trim_end_matches('/'));
        let expected =
            paths.iter().filter(|p| with_slash.starts_with(&format!("{p}/"))).max_by_key(|p| p.len());
        let found = routes.find("h", &asked).map(|backend| backend.service.clone());
        prop_assert_eq!(found, expected.map(|p| format!("s{p}")));
    }
}
