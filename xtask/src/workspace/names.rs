//! The API server's rules for names, labels, ports and quantities (`k8s.io/apimachinery/pkg/util/validation`).

/// One rule: whether a text obeys it, and how it reads in a message.
pub struct Rule {
    /// What a text that obeys it is.
    pub is: &'static str,
    /// Whether a text obeys it.
    pub holds: fn(&str) -> bool,
}

/// RFC 1123: container names.
pub const LABEL: Rule = Rule {
    is: "a DNS label (at most 63 of a-z, 0-9 and -, a letter or digit at both ends)",
    holds: is_label,
};

/// RFC 1035: Service names.
pub const SERVICE_NAME: Rule = Rule {
    is: "a Service name (at most 63 of a-z, 0-9 and -, a letter first, a letter or digit last)",
    holds: |text| is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase()),
};

/// RFC 1123 with dots: the names of most objects.
pub const SUBDOMAIN: Rule = Rule { is: "a DNS name (DNS labels with dots between)", holds: is_subdomain };

/// RFC 6335: port names.
pub const PORT_NAME: Rule =
    Rule { is: "a port name (at most 15 of a-z, 0-9 and -, with at least one letter)", holds: is_port_name };

/// Keys of labels and annotations.
pub const KEY: Rule =
    Rule { is: "a key (NAME or PREFIX/NAME, NAME at most 63 of letters, digits, -, _ and .)", holds: is_key };

/// Values of labels.
pub const LABEL_VALUE: Rule = Rule {
    is: "a label value (at most 63 of letters, digits, -, _ and ., a letter or digit at both ends)",
    holds: |text| text.is_empty() || is_word(text),
};

/// Names of environment variables (as of Kubernetes 1.34: printable ASCII but `=`).
pub const ENV_NAME: Rule = Rule {
    is: "the name of an environment variable (printable ASCII without =)",
    holds: |text| !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='),
};

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// A label of any length.
fn is_part(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Unlike a label by itself, one of several may be of any length.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && is_dotted(text)
}

/// Labels of any length with dots between, as the CRDs of the Gateway API write it.
pub(super) fn is_dotted(text: &str) -> bool {
    text.split('.').all(is_part)
}

fn is_port_name(text: &str) -> bool {
    text.len() <= 15
        && is_label(text)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--")
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && end(text.bytes().next())
        && end(text.bytes().last())
}

fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// A Kubernetes quantity (`500m`, `64Mi`, `1e3`) in its base unit; `None` when it is none.
pub fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let number = text.trim_start_matches(['+', '-']);
    if text.len() - number.len() > 1
        || !number.starts_with(|first: char| first.is_ascii_digit() || first == '.')
    {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // With an exponent (`1e3`) there is no suffix.
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E']).filter(|(_, rest)| !rest.is_empty()) {
        exponent.parse::<i32>().ok()?;
        return digits(mantissa.trim_start_matches(['+', '-'])).then(|| text.parse().ok()).flatten();
    }
    let (suffix, factor) = SUFFIXES.into_iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let number = &text[..text.len() - suffix.len()];
    digits(number.trim_start_matches(['+', '-']))
        .then(|| number.parse::<f64>().ok())
        .flatten()
        .map(|n| n * factor)
}

/// The number of a percentage (`25%`), as rolling updates take it.
pub fn percentage(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_api_server_does() {
        let judge = |rule: Rule, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!((rule.holds)(text), "{text:?} is {}", rule.is);
            }
            for text in bad {
                assert!(!(rule.holds)(text), "{text:?} is not {}", rule.is);
            }
        };
        let long = "a".repeat(64);
        judge(LABEL, &["a", "0a", "a-b"], &["", "-a", "a-", "A", "a.b", &long]);
        judge(SERVICE_NAME, &["a", "a0"], &["0a", "a.b"]);
        judge(SUBDOMAIN, &["a.b", "a", &long], &["a..b", ".a", "A.b", ""]);
        judge(PORT_NAME, &["http", "h2-c"], &["80", "a--b", "abcdefghijklmnop", "Http"]);
        judge(KEY, &["app", "linkerd.io/inject", "A_b.c"], &["", "a/b/c", "/a", "a b"]);
        judge(LABEL_VALUE, &["", "A_b.c-1"], &["-a", "a b", &long]);
        judge(ENV_NAME, &["A", "a.b-c"], &["", "a=b", "ä"]);
    }

    #[test]
    fn quantities_are_read_in_their_base_unit() {
        let near = |text: &str, number: f64| {
            let read = quantity(text).unwrap();
            assert!((read - number).abs() <= number.abs() * 1e-9, "{text}: {read}");
        };
        near("500m", 0.5);
        near("64Mi", 67_108_864.0);
        near("1", 1.0);
        near("1.5Gi", 1_610_612_736.0);
        near("1e3", 1000.0);
        near("2E", 2e18);
        for bad in ["", "64MB", "m", "1 Gi", "1.2.3", "--1", "0x10", "64mi", "inf", "1e3Mi"] {
            assert_eq!(quantity(bad), None, "{bad:?}");
        }
    }
}
