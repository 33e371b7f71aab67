//! What a word without quotes means: as kubectl's YAML parser (go-yaml 2, YAML 1.1) reads it.

use std::fmt;

/// A value that is not a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Nothing, `~` or `null`.
    Null,
    /// With the text as written: `yes` and `on` are booleans, too.
    Bool(bool, String),
    /// With the text as written.
    Integer(i64, String),
    /// Fractions, exponents, and integers beyond 64 bits, as written.
    Float(String),
    /// Everything else, and everything in quotes.
    Text(String),
}

impl Scalar {
    /// The meaning of a word without quotes.
    pub fn plain(text: String) -> Self {
        match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Self::Bool(true, text)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Self::Bool(false, text)
            }
            word => match integer(word) {
                Some(number) => Self::Integer(number, text),
                None if is_float(word) => Self::Float(text),
                None => Self::Text(text),
            },
        }
    }

    /// A number without a fraction, as JSON takes it: `80`, and also `80.0`.
    pub fn whole(&self) -> Option<i64> {
        match self {
            Self::Integer(number, _) => Some(*number),
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and is in range")]
            Self::Float(text) => text
                .parse::<f64>()
                .ok()
                .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
                .map(|number| number as i64),
            _ => None,
        }
    }

    /// As a key: what was written.
    pub fn key(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_, text) | Self::Integer(_, text) | Self::Float(text) | Self::Text(text) => text,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(_, text) => write!(f, "the boolean {text}"),
            Self::Integer(_, text) => write!(f, "the integer {text}"),
            Self::Float(text) => write!(f, "the number {text}"),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "..." } else { "" };
                write!(f, "the string {short:?}{more}")
            }
        }
    }
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero; underscores between digits.
fn integer(word: &str) -> Option<i64> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(two) if two.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (8, &digits[1..])
        }
        _ => (10, digits.as_str()),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn is_float(word: &str) -> bool {
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
        || (unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && unsigned.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_kubectl_takes_them_for() {
        let kind = |word: &str| match Scalar::plain(word.to_owned()) {
            Scalar::Null => "null".to_owned(),
            Scalar::Bool(value, _) => format!("bool {value}"),
            Scalar::Integer(value, _) => format!("int {value}"),
            Scalar::Float(_) => "float".to_owned(),
            Scalar::Text(_) => "text".to_owned(),
        };
        for (word, meaning) in [
            ("", "null"),
            ("~", "null"),
            ("yes", "bool true"),
            ("off", "bool false"),
            ("0644", "int 420"),
            ("0x10", "int 16"),
            ("-3", "int -3"),
            ("1_000", "int 1000"),
            ("0", "int 0"),
            ("1.5", "float"),
            ("1e3", "float"),
            ("99999999999999999999", "float"),
            ("0xzz", "text"),
            ("089", "float"),
            ("500m", "text"),
            ("1.2.3", "text"),
            ("-", "text"),
            (".", "text"),
            ("nan", "text"),
            ("12:30", "text"),
        ] {
            assert_eq!(kind(word), meaning, "{word:?}");
        }
    }
}
