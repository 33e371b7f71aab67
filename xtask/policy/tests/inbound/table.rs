//! Reads the tables of cases: Markdown with the objects as YAML in fences, and a case in each row of a table.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use policy::cluster::ClusterInfo;
use serde_json::Value;

/// A row of a table, with the objects of its section.
pub struct Case {
    /// `FILE:LINE`.
    pub place: String,
    /// The cells by their column.
    cells: BTreeMap<String, String>,
    /// The objects of the file and of the section, as they are written.
    pub objects: Rc<Vec<Value>>,
}

/// Who calls.
pub struct Caller {
    /// Its identity, if it has one.
    pub identity: Option<String>,
    /// Whence.
    pub address: IpAddr,
}

/// What is sent.
pub struct Sent {
    /// The method.
    pub method: Method,
    /// The host, and the port if it says one.
    pub authority: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
}

/// All cases of the tables in a folder, by file.
pub fn cases(folder: &Path) -> Vec<Case> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|own| own == "md")).collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

/// Everything before the first `##` is shared by the sections, each of which begins with one.
fn read(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let (mut shared, mut own, mut in_section) = (Vec::new(), Rc::new(Vec::new()), false);
    let (mut fence, mut columns, mut cases) = (None, Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        if let Some((kind, block)) = &mut fence {
            if line != "```" {
                *block = format!("{block}{line}\n");
                continue;
            }
            let objects =
                if *kind == "yaml" { parse(block) } else { block.lines().flat_map(of_path).collect() };
            if in_section {
                Rc::make_mut(&mut own).extend(objects);
            } else {
                shared.extend(objects);
            }
            fence = None;
        } else if let Some(kind) = line.strip_prefix("```") {
            fence = Some((kind, String::new()));
        } else if line.starts_with("## ") {
            (in_section, own) = (true, Rc::new(shared.clone()));
        } else if !line.starts_with('|') {
            columns.clear();
        } else if columns.is_empty() {
            columns = cells(line);
        } else if !line.starts_with("|-") {
            let cells = columns.iter().cloned().zip(cells(line)).collect();
            cases.push(Case { place: format!("{name}:{}", index + 1), cells, objects: own.clone() });
        }
    }
    cases
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    line.split('|').map(|cell| cell.trim().trim_matches('`').replace('\u{0}', "|")).collect()
}

fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The objects of a file or of all files of a folder of this workspace.
fn of_path(path: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let mut files = match fs::read_dir(&path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => vec![path],
    };
    files.sort();
    files.iter().flat_map(|file| parse(&fs::read_to_string(file).unwrap())).collect()
}

impl Case {
    /// The cell of a column; none where the table has no such column.
    pub fn cell(&self, column: &str) -> Option<&str> {
        self.cells.get(column).map(String::as_str)
    }

    /// Namespace, workload and port of the column `to`: `web:8080`, `web.other:8080`.
    pub fn to(&self) -> (String, String, u16) {
        let (workload, port) = self.cell("to").unwrap().split_once(':').unwrap();
        let (name, namespace) = workload.split_once('.').unwrap_or((workload, "default"));
        (namespace.to_owned(), name.to_owned(), port.parse().unwrap())
    }

    /// The client of the column `from`: `foo`, `foo.NAMESPACE`, an identity in full, or `unmeshed`; with `@ ADDRESS`
    /// where that matters.
    pub fn from(&self) -> Caller {
        let (who, address) = self
            .cell("from")
            .unwrap()
            .split_once(" @ ")
            .unwrap_or((self.cell("from").unwrap(), "10.244.0.10"));
        let identity = match who.split('.').collect::<Vec<_>>()[..] {
            ["unmeshed"] => None,
            [account] if !account.contains(':') => Some(ClusterInfo::default().identity(account, "default")),
            [account, namespace] => Some(ClusterInfo::default().identity(account, namespace)),
            _ => Some(who.to_owned()),
        };
        Caller { identity, address: address.parse().unwrap() }
    }

    /// The request of the column `request`: `GET /path?query; host: foo; x-one: 1`, or `PACKAGE.SERVICE/METHOD` of a
    /// gRPC call. None for a connection on which no HTTP is spoken.
    pub fn request(&self) -> Option<Sent> {
        let text = self.cell("request")?;
        if text == "bytes" {
            return None;
        }
        let mut parts = text.split("; ");
        let line = parts.next().unwrap();
        let (method, target) = match line.split_once(' ') {
            Some((method, target)) => (method.parse().unwrap(), target.to_owned()),
            None => (Method::POST, format!("/{line}")),
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        let mut sent = Sent { method, authority: "web".to_owned(), path, query, headers: HeaderMap::new() };
        for (name, value) in parts.map(|header| header.split_once(':').unwrap()) {
            if name == "host" {
                value.trim().clone_into(&mut sent.authority);
            } else {
                let value = HeaderValue::from_str(value.trim()).unwrap();
                sent.headers.append(name.parse::<HeaderName>().unwrap(), value);
            }
        }
        Some(sent)
    }
}
