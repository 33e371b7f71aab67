use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use super::{PathSummary, Request};
use crate::model::{HeaderChange, HeaderModifier, RequestRedirect, RouteFilter};

/// What is done to a request that matched.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderEdit),
    /// Changes the response's headers (outbound).
    ResponseHeaders(HeaderEdit),
    /// Answers with a redirect.
    Redirect(Redirect),
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Appended.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Taken away.
    pub remove: Vec<HeaderName>,
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redirect {
    /// The scheme; none: the request's.
    pub scheme: Option<Scheme>,
    /// The host; none: the request's.
    pub host: Option<String>,
    /// The port; none: the request's where it is not the scheme's own.
    pub port: Option<u16>,
    /// The path; none: the request's.
    pub path: Option<NewPath>,
    /// The status.
    pub status: Option<StatusCode>,
}

/// The path of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPath {
    /// In place of path and query.
    Full(String),
    /// In place of the prefix that matched.
    Prefix(String),
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// 301, 302, ...
    pub status: StatusCode,
    /// An absolute URI.
    pub location: Uri,
}

/// A filter that Linkerd does not take: its route is ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Not in Linkerd.
    #[error("Linkerd has no {0} filter")]
    Unsupported(String),
    /// Nothing is set.
    #[error("the filter says nothing")]
    Empty,
    /// A header's name or value.
    #[error("`{0}` is no header name or value")]
    Header(String),
    /// A path of a redirect.
    #[error("a redirect's path must begin with `/`: `{0}`")]
    RelativePath(String),
    /// A redirect's path that says neither.
    #[error("a redirect's path needs replaceFullPath or replacePrefixMatch")]
    NoPath,
    /// A status of a redirect.
    #[error("{0} is no HTTP status")]
    Status(i32),
}

/// A redirect that cannot be made for a request: the client gets HTTP 500.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedirect {
    /// The rule matched by something else than a prefix.
    #[error("redirects may only replace the path prefix when a path prefix match applied")]
    ReplacePrefix,
    /// The parts make no URI.
    #[error("redirect produced an invalid location: {0}")]
    Location(#[from] http::Error),
    /// The host and port make no authority.
    #[error("redirect produced an invalid authority: {0}")]
    Authority(#[from] InvalidUri),
    /// Neither the request nor the redirect has a host.
    #[error("no authority to redirect to")]
    MissingAuthority,
}

impl Filter {
    /// Reads a filter of an HTTP rule, as the policy controller does: the first field that is set counts.
    pub fn http(filter: &RouteFilter) -> Result<Self, InvalidFilter> {
        match &filter.request_redirect {
            Some(redirect)
                if filter.request_header_modifier.is_none() && filter.response_header_modifier.is_none() =>
            {
                Redirect::read(redirect).map(Self::Redirect)
            }
            _ => Self::grpc(filter),
        }
    }

    /// Reads a filter of a gRPC rule.
    pub fn grpc(filter: &RouteFilter) -> Result<Self, InvalidFilter> {
        if let Some(headers) = &filter.request_header_modifier {
            return HeaderEdit::read(headers).map(Self::RequestHeaders);
        }
        if let Some(headers) = &filter.response_header_modifier {
            return HeaderEdit::read(headers).map(Self::ResponseHeaders);
        }
        let unsupported = [
            ("RequestMirror", filter.request_mirror.is_some()),
            ("URLRewrite", filter.url_rewrite.is_some()),
            ("ExtensionRef", filter.extension_ref.is_some()),
            ("RequestRedirect", filter.request_redirect.is_some()),
        ];
        match unsupported.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(InvalidFilter::Unsupported(name.to_owned())),
            None => Err(InvalidFilter::Empty),
        }
    }
}

impl HeaderEdit {
    fn read(modifier: &HeaderModifier) -> Result<Self, InvalidFilter> {
        let pairs = |changes: &Option<Vec<HeaderChange>>| -> Result<Vec<_>, InvalidFilter> {
            let changes = changes.iter().flatten();
            changes.map(|change| Ok((name(&change.name)?, value(&change.value)?))).collect()
        };
        Ok(Self {
            add: pairs(&modifier.add)?,
            set: pairs(&modifier.set)?,
            remove: modifier.remove.iter().flatten().map(|own| name(own)).collect::<Result<_, _>>()?,
        })
    }

    /// Makes the changes, in the proxy's order: add, set, remove.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn name(text: &str) -> Result<HeaderName, InvalidFilter> {
    text.parse().map_err(|_| InvalidFilter::Header(text.to_owned()))
}

fn value(text: &str) -> Result<HeaderValue, InvalidFilter> {
    text.parse().map_err(|_| InvalidFilter::Header(text.to_owned()))
}

impl Redirect {
    fn read(redirect: &RequestRedirect) -> Result<Self, InvalidFilter> {
        let absolute = |path: &str| {
            let absolute = path.starts_with('/').then(|| path.to_owned());
            absolute.ok_or_else(|| InvalidFilter::RelativePath(path.to_owned()))
        };
        let path = match &redirect.path {
            None => None,
            Some(path) => match (&path.replace_full_path, &path.replace_prefix_match) {
                (Some(full), _) => Some(NewPath::Full(absolute(full)?)),
                (None, Some(prefix)) => Some(NewPath::Prefix(absolute(prefix)?)),
                (None, None) => return Err(InvalidFilter::NoPath),
            },
        };
        // The CRD's default.
        let code = redirect.status_code.unwrap_or(302);
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        Ok(Self {
            scheme: redirect.scheme.as_deref().map(|scheme| match scheme {
                "https" => Scheme::HTTPS,
                _ => Scheme::HTTP,
            }),
            host: redirect.hostname.clone(),
            port: redirect.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
            path,
            status: Some(status.ok_or(InvalidFilter::Status(code))?),
        })
    }

    /// Where a request is sent; none when that is where it is already. `matched` is the path of the rule's match.
    pub fn apply(
        &self,
        request: &Request<'_>,
        matched: PathSummary,
    ) -> Result<Option<Redirection>, InvalidRedirect> {
        let authority = request.authority.map(str::parse::<Authority>).transpose()?;
        let scheme = self.scheme.clone().unwrap_or(Scheme::HTTP);
        let path = self.path(request, matched)?;
        let location = Uri::builder()
            .scheme(scheme.clone())
            .authority(self.authority(authority.as_ref(), &scheme)?)
            .path_and_query(path.clone())
            .build()?;
        let is_here = scheme == Scheme::HTTP
            && authority.is_some_and(|own| location.authority() == Some(&own))
            && path.path() == request.path
            && path.query() == request.query;
        let status = self.status.unwrap_or(StatusCode::MOVED_PERMANENTLY);
        Ok((!is_here).then_some(Redirection { status, location }))
    }

    fn authority(&self, own: Option<&Authority>, scheme: &Scheme) -> Result<Authority, InvalidRedirect> {
        let standard = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let own_port = own.and_then(Authority::port_u16);
        let text = match (&self.host, self.port) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => match own_port.filter(|port| *port != standard) {
                Some(port) => format!("{host}:{port}"),
                None => host.clone(),
            },
            (None, port) => {
                let own = own.ok_or(InvalidRedirect::MissingAuthority)?;
                match port {
                    Some(port) if port == standard && own_port.is_some() => own.host().to_owned(),
                    Some(port) if port != standard && Some(port) != own_port => {
                        format!("{}:{port}", own.host())
                    }
                    _ => own.to_string(),
                }
            }
        };
        Ok(text.parse()?)
    }

    fn path(&self, request: &Request<'_>, matched: PathSummary) -> Result<PathAndQuery, InvalidRedirect> {
        let with_query = |mut path: String| -> Result<PathAndQuery, InvalidRedirect> {
            if let Some(query) = request.query {
                path.push('?');
                path.push_str(query);
            }
            Ok(path.parse()?)
        };
        match &self.path {
            None => with_query(request.path.to_owned()),
            Some(NewPath::Full(path)) => Ok(path.parse()?),
            Some(NewPath::Prefix(prefix)) => match matched {
                PathSummary::Prefix(length) if request.path.is_char_boundary(length) => {
                    let rest = request.path.get(length..).unwrap_or_default();
                    let slash = if rest.is_empty() || rest.starts_with('/') { "" } else { "/" };
                    with_query(format!("{prefix}{slash}{rest}"))
                }
                _ => Err(InvalidRedirect::ReplacePrefix),
            },
        }
    }
}
