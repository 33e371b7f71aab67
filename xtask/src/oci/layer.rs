//! File systems as tar archives, the same bytes for the same content: no times, no owners, one order.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// A layer that is not compressed: it goes through a pipe on this machine, where compressing takes longest.
pub const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Who programs run as: `nobody` by number, as distroless images have it.
pub const USER: u32 = 65532;

/// Where the certificates of public authorities are.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What every program finds: whom to trust, who it is, where to look names up. No shell, no library.
pub fn base() -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for directory in ["etc/", "etc/ssl/", "etc/ssl/certs/"] {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        append(&mut layer, &mut header, directory, 0, io::empty())?;
    }
    let passwd = format!("root:x:0:0:root:/:/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/nologin\n");
    let group = format!("root:x:0:\nnonroot:x:{USER}:\n");
    for (path, text) in [
        ("etc/group", group),
        ("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
        ("etc/passwd", passwd),
        (CERTIFICATES.trim_start_matches('/'), certificates()),
    ] {
        append(&mut layer, &mut file(0o644), path, text.len() as u64, text.as_bytes())?;
    }
    layer.into_inner()
}

/// A layer with one program, as `/NAME`.
pub fn program(name: &str, program: &Path, out: &mut dyn Write) -> io::Result<()> {
    let content = File::open(program)?;
    let size = content.metadata()?.len();
    let mut layer = Builder::new(out);
    append(&mut layer, &mut file(0o755), name, size, content)?;
    layer.finish()
}

fn file(mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header
}

fn append<W: Write>(
    layer: &mut Builder<W>,
    header: &mut Header,
    path: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    layer.append_data(header, path, content)
}

/// Mozilla's authorities, as a bundle in PEM.
fn certificates() -> String {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| {
            let certificate = pem::Pem::new("CERTIFICATE", certificate.as_ref());
            pem::encode_config(&certificate, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
        })
        .collect()
}
