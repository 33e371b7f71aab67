//! The forms of strings in policies: patterns of the CRDs that `linkerd install --crds` of Linkerd 2.20 prints, with
//! those of Gateway API 1.1.1.

use http::{HeaderName, HeaderValue};
use policy::outbound::go_unit;

use crate::workspace::names::{self, Rule};

/// An API group; empty for the core group.
pub const GROUP: Rule = Rule {
    is: "an API group, such as policy.linkerd.io, or \"\" for the core group",
    holds: |text| text.is_empty() || names::is_dotted(text),
};

/// A kind.
pub const KIND: Rule = Rule { is: "a kind, such as Server", holds: is_kind };

/// A namespace's name.
pub const NAMESPACE: Rule = Rule { is: names::LABEL.is, holds: names::LABEL.holds };

/// A section, and a host name that is no pattern.
pub const DOTTED: Rule = Rule { is: names::SUBDOMAIN.is, holds: names::is_dotted };

/// A host name, or all below one.
pub const HOSTNAME: Rule = Rule {
    is: "a DNS name in lower case, or one after *.; an address and a port do not belong here",
    holds: |text| names::is_dotted(text.strip_prefix("*.").unwrap_or(text)),
};

/// A header's name (also a query parameter's, to the Gateway API).
pub const HEADER: Rule = Rule {
    is: "a header's name: letters, digits and !#$%&'*+-.^_`|~",
    holds: |text| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(token)
    },
};

/// A duration of the Gateway API (GEP-2257).
pub const DURATION: Rule = Rule {
    is: "a duration: one to four of a number of at most five digits with h, m, s or ms, such as 500ms or 1m30s",
    holds: |text| gateway_parts(text).is_some(),
};

/// A duration of Linkerd's `HTTPRoute`: Go's, as both the API server and the webhook take it, and not negative.
pub const GO_DURATION: Rule =
    Rule { is: "a duration, such as 500ms, 10s or 1h30m", holds: |text| go_duration(text).is_some() };

/// What a gRPC service is called: a protobuf name.
pub fn is_grpc_service(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    text.split('.').all(is_grpc_method)
}

/// What a gRPC method is called.
pub fn is_grpc_method(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The characters of a path (RFC 3986).
pub fn is_path(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        match byte {
            b'%' if hex(bytes.next()) && hex(bytes.next()) => {}
            b'%' => return false,
            _ if byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte) => {}
            _ => return false,
        }
    }
    !text.is_empty()
}

/// What HTTP takes as a header's name.
pub fn is_header_name(text: &str) -> bool {
    text.parse::<HeaderName>().is_ok()
}

/// What HTTP takes as a header's value.
pub fn is_header_value(text: &str) -> bool {
    text.parse::<HeaderValue>().is_ok()
}

/// A duration of the Gateway API in milliseconds; none if it is not one.
pub fn gateway_duration(text: &str) -> Option<u64> {
    let parts = gateway_parts(text)?;
    Some(parts.into_iter().map(|(number, unit)| number * unit).sum())
}

fn gateway_parts(text: &str) -> Option<Vec<(u64, u64)>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number = rest.get(..digits).filter(|digits| (1..=5).contains(&digits.len()))?.parse().ok()?;
        let unit = rest.get(digits..)?;
        let (length, factor) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(name, _)| unit.starts_with(name))
            .map(|(name, factor)| (name.len(), factor))?;
        parts.push((number, factor));
        rest = unit.get(length..)?;
    }
    (1..=4).contains(&parts.len()).then_some(parts)
}

/// A duration as Go writes it, in seconds; none if it is not one, or negative.
pub fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0.0);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        let after = rest.get(digits..)?;
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        seconds += number * go_unit(after.get(..length)?)?;
        rest = after.get(length..)?;
    }
    (!text.is_empty() && text != "+").then_some(seconds)
}

fn is_kind(text: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && end(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_the_crds() {
        let judge = |rule: Rule, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!((rule.holds)(text), "{text:?} is {}", rule.is);
            }
            for text in bad {
                assert!(!(rule.holds)(text), "{text:?} is not {}", rule.is);
            }
        };
        judge(GROUP, &["", "policy.linkerd.io", "a"], &["Policy", "a..b", "a/b", "-a"]);
        judge(KIND, &["Server", "a", "A-b1"], &["", "1a", "a-", "a.b"]);
        judge(HOSTNAME, &["a.b", "*.a.b", "a"], &["", "*", "a.*", "A", "a:80", "*.", "a.b."]);
        judge(HEADER, &["x-who", "A!`|~"], &["", "a b", "a:b", "ä"]);
        judge(
            DURATION,
            &["500ms", "1m30s", "1h1m1s1ms", "00000s"],
            &["", "10", "1.5s", "100000s", "1d", "1s1s1s1s1s"],
        );
        judge(
            GO_DURATION,
            &["0", "500ms", "1.5h", "1h30m", "+1s", ".5s", "10us"],
            &["", "10", "1 s", "-1s", "1d", "s", "1x", "+"],
        );
    }

    #[test]
    fn grpc_names_and_paths_are_those_of_the_crds() {
        for good in ["demo.Baz", ".demo.Baz", "_a", "A1"] {
            assert!(is_grpc_service(good), "{good}");
        }
        for bad in ["", "demo.", "1demo", "demo/Baz", "demo..Baz", "a-b"] {
            assert!(!is_grpc_service(bad), "{bad}");
        }
        assert!(is_grpc_method("GetInfo") && !is_grpc_method("Get.Info") && !is_grpc_method(""));
        for good in ["/", "/a%20b", "/a:b@c;d=e"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/a b", "/a%2", "/ä", "/a?b", "/a#b", "/[a]"] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(gateway_duration("1m30s"), Some(90_000));
        assert_eq!(gateway_duration("1h500ms"), Some(3_600_500));
        assert_eq!(go_duration("1h30m"), Some(5400.0));
        assert_eq!(go_duration("1.5s"), Some(1.5));
    }
}
