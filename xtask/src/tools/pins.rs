//! What is pinned: `manifests/versions.toml`, read strictly. Pure, but for reading the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use http::Uri;
use serde::Deserialize;

use crate::error::Fault;

/// Where the pins are, relative to the workspace's root.
pub const FILE: &str = "manifests/versions.toml";

/// All that is pinned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Versions {
    /// Programs.
    pub tools: Pins,
    /// The node's image.
    pub node: Image,
    /// The ingress controller's image.
    pub ingress_nginx: Image,
    /// The Gateway API's CRDs.
    pub gateway_api: GatewayApi,
}

/// A container image.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Name and tag: `kindest/node:v1.34.3`.
    pub image: String,
    /// The digest that the tag had when it was pinned: `sha256:` and 64 hex digits.
    pub digest: String,
}

impl Image {
    /// Its name without the tag.
    pub fn name(&self) -> &str {
        self.image.rsplit_once(':').map_or(self.image.as_str(), |(name, _)| name)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.image, self.digest)
    }
}

/// The Gateway API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayApi {
    /// Its bundle version, without `v`.
    pub version: String,
}

/// A program that is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Makes and deletes clusters.
    Kind,
    /// Says what a Linkerd installation consists of, and checks one.
    Linkerd,
}

impl Tool {
    /// All.
    pub const ALL: [Self; 2] = [Self::Kind, Self::Linkerd];

    /// As it is called on `PATH`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Linkerd => "linkerd",
        }
    }
}

/// The programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    kind: Pin,
    linkerd: Pin,
}

/// One program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its version, as in the name of its release.
    pub version: String,
    /// The series of releases that it belongs to, where the version does not tell: `2.20`.
    pub series: Option<String>,
    url: String,
    files: BTreeMap<String, File>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    file: String,
    sha256: Option<String>,
}

/// A platform that programs are released for, in Go's words: `linux/amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform(String);

impl Platform {
    /// This machine's.
    pub fn here() -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self(format!("{os}/{arch}"))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The release of a program for a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub tool: Tool,
    /// Its version.
    pub version: String,
    /// Its series, where the version does not tell.
    pub series: Option<String>,
    /// Where it runs.
    pub platform: Platform,
    /// Where it is released; none when it is not released for this platform.
    pub url: Option<String>,
    /// The sha256 of the released file, 64 lower-case hex digits; none when none is pinned.
    pub sha256: Option<String>,
}

impl Wanted {
    /// Its file's name in the cache.
    pub fn file_name(&self) -> String {
        format!("{}-{}", self.tool.name(), self.version)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool.name(), self.version)
    }
}

impl Versions {
    /// Reads the pins of the workspace at `root`.
    pub fn read(root: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(root.join(FILE))
            .map_err(|error| Fault::usage(format!("cannot read {FILE}: {error}")))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let versions: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
            Fault::usage(format!("{FILE}:{}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        for tool in Tool::ALL {
            versions
                .pin(tool)
                .check()
                .map_err(|wrong| Fault::usage(format!("{FILE}: tools.{}.{wrong}", tool.name())))?;
        }
        for (name, image) in [("node", &versions.node), ("ingress-nginx", &versions.ingress_nginx)] {
            if !image.digest.strip_prefix("sha256:").is_some_and(is_sha256) {
                return Err(Fault::usage(format!(
                    "{FILE}: {name}.digest: `{}` is not sha256: and 64 hex digits",
                    image.digest
                )));
            }
        }
        Ok(versions)
    }

    fn pin(&self, tool: Tool) -> &Pin {
        match tool {
            Tool::Kind => &self.tools.kind,
            Tool::Linkerd => &self.tools.linkerd,
        }
    }

    /// What is pinned of a program for a platform.
    pub fn wanted(&self, tool: Tool, platform: Platform) -> Wanted {
        let pin = self.pin(tool);
        let file = pin.files.get(&platform.0);
        Wanted {
            tool,
            version: pin.version.clone(),
            series: pin.series.clone(),
            url: file.map(|file| pin.url_of(&file.file)),
            sha256: file.and_then(|file| file.sha256.clone()),
            platform,
        }
    }
}

impl Pin {
    fn url_of(&self, file: &str) -> String {
        self.url.replace("{version}", &self.version).replace("{file}", file)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
        // It becomes the name of a file.
        if self.version.is_empty() || !self.version.chars().all(plain) {
            return Err(format!("version: `{}` is no version", self.version));
        }
        for (platform, File { file, sha256 }) in &self.files {
            let url = self.url_of(file);
            let uri: Option<Uri> = url.parse().ok();
            if !uri
                .is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
            {
                return Err(format!("url: `{url}` is no http or https URL"));
            }
            if let Some(sum) = sha256.as_deref().filter(|sum| !is_sha256(sum)) {
                return Err(format!("files.\"{platform}\".sha256: `{sum}` is not 64 lower-case hex digits"));
            }
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where a file is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A web server.
    Web(Uri),
    /// A file of a mirror that is a directory.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(uri) => uri.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Where `url` is to be taken from with a mirror: an http or https URL, or an absolute path (also as
/// `file://`), which stands for the URL's scheme and host. Errors when the mirror is neither.
pub fn source(url: &str, mirror: Option<&str>) -> Result<Source, String> {
    let uri = |text: &str| text.parse::<Uri>().map_err(|error| format!("`{text}` is no URL: {error}"));
    let original = uri(url)?;
    let Some(mirror) = mirror else { return Ok(Source::Web(original)) };
    let path = original.path_and_query().map_or("/", |path| path.as_str());
    if mirror.starts_with("http://") || mirror.starts_with("https://") {
        return Ok(Source::Web(uri(&format!("{}{path}", mirror.trim_end_matches('/')))?));
    }
    let directory = Path::new(mirror.strip_prefix("file://").unwrap_or(mirror));
    if !directory.is_absolute() {
        return Err(format!("`{mirror}` is neither an http or https URL nor an absolute path"));
    }
    Ok(Source::File(directory.join(original.path().trim_start_matches('/'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::read_to_string(root.join(FILE)).unwrap()
    }

    fn wrong(from: &str, to: &str) -> String {
        let text = shipped();
        assert!(text.contains(from), "{from}");
        Versions::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn each_platform_has_its_own_file_and_sum() {
        let versions = Versions::parse(&shipped()).unwrap();
        let of = |tool, platform: &str| versions.wanted(tool, Platform(platform.to_owned()));
        let kind = of(Tool::Kind, "darwin/arm64");
        assert_eq!(
            kind.url.unwrap(),
            "https://github.com/kubernetes-sigs/kind/releases/download/v0.32.0/kind-darwin-arm64"
        );
        assert!(kind.sha256.unwrap().starts_with("dca67911"));
        let linkerd = of(Tool::Linkerd, "darwin/amd64");
        assert_eq!(
            linkerd.url.clone().unwrap(),
            "https://github.com/linkerd/linkerd2/releases/download/edge-26.6.3/linkerd2-cli-edge-26.6.3-darwin"
        );
        assert_eq!(linkerd.file_name(), "linkerd-edge-26.6.3");
        assert_eq!(of(Tool::Kind, "plan9/386").url, None);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let told = [
            wrong("version = \"0.32.0\"", "version = 32"),
            wrong("version = \"0.32.0\"", "version = \"../kind\""),
            wrong("[node]", "[note]"),
            wrong("295ac6d0", "XYZ"),
            wrong("sha256:08497ee1", "sha512:08497ee1"),
            wrong("https://github.com/kub", "github.com/kub"),
        ];
        insta::assert_snapshot!(told.join("\n"), @r#"
        manifests/versions.toml:7: invalid type: integer `32`, expected a string
        manifests/versions.toml: tools.kind.version: `../kind` is no version
        manifests/versions.toml:30: unknown field `note`, expected one of `tools`, `node`, `ingress-nginx`, `gateway-api`
        manifests/versions.toml: tools.kind.files."darwin/amd64".sha256: `XYZd634c9819c9907df45e3017d1f13166bd13c3404c45e79f7faa47498` is not 64 lower-case hex digits
        manifests/versions.toml: node.digest: `sha512:08497ee19eace7b4b5348db5c6a1591d7752b164530a36f855cb0f2bdcbadd48` is not sha256: and 64 hex digits
        manifests/versions.toml: tools.kind.url: `github.com/kubernetes-sigs/kind/releases/download/v0.32.0/kind-darwin-amd64` is no http or https URL
        "#);
    }

    #[test]
    fn a_mirror_stands_for_scheme_and_host() {
        let url = "https://github.com/o/r/releases/download/v1/kind?x=1";
        let from = |mirror| source(url, mirror).map(|source| source.to_string());
        assert_eq!(from(None).unwrap(), url);
        assert_eq!(
            from(Some("http://mirror.lan:81/gh/")).unwrap(),
            "http://mirror.lan:81/gh/o/r/releases/download/v1/kind?x=1"
        );
        assert_eq!(from(Some("/srv/mirror")).unwrap(), "/srv/mirror/o/r/releases/download/v1/kind");
        assert_eq!(from(Some("file:///srv")).unwrap(), "/srv/o/r/releases/download/v1/kind");
        assert!(from(Some("mirror.lan")).unwrap_err().contains("neither"));
    }
}
