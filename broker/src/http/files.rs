//! Serves the files of a folder.
//!
//! Invariants: the kernel resolves each path beneath the folder (RESOLVE_BENEATH), so neither `..` nor a symbolic link
//! leads out of it. Only regular files are served, and none whose own name, or that of a folder on its path, begins
//! with a dot.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use percent_encoding::percent_decode_str;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use transport::http::ResponseHead;
use transport::websocket::handshake::Page;

use super::client::{ALLOW, HttpClient};

/// Answers a request; returns the status of the answer.
pub(super) fn serve(client: HttpClient, page: &Page, folder: &Path) -> io::Result<&'static str> {
    let head_only = match page.method.as_str() {
        "GET" => false,
        "HEAD" => true,
        _ => return client.send_status("405 Method Not Allowed", ALLOW, false),
    };
    match find(&page.target, folder) {
        Found::File {
            file,
            bytes,
            content_type,
        } => {
            let head = ResponseHead {
                status: OK,
                content_type,
                body_bytes: bytes,
                fields: &[],
            };
            client.send(&head, file.take(if head_only { 0 } else { bytes }))?;
            Ok(OK)
        }
        Found::Folder => {
            let path = page.target.split(['?', '#']).next().unwrap_or_default();
            let location = format!("{path}/");
            client.send_status("301 Moved Permanently", &[("Location", &location)], head_only)
        }
        Found::Nothing => client.send_status("404 Not Found", &[], head_only),
        Found::Error(error) => {
            tracing::warn!("http_dir {}: {error}.", folder.display());
            client.send_status("500 Internal Server Error", &[], head_only)
        }
    }
}

enum Found {
    File {
        file: File,
        bytes: u64,
        content_type: &'static str,
    },
    /// A folder that was requested like a file: relative links of its pages would be resolved beside it.
    Folder,
    Nothing,
    Error(io::Error),
}

fn find(target: &str, folder: &Path) -> Found {
    let Some(path) = path(target) else {
        return Found::Nothing;
    };
    let is_folder = path.is_empty() || path.ends_with('/');
    let path = if is_folder { format!("{path}{INDEX}") } else { path };
    match open(&path, folder) {
        Ok((file, FileType::RegularFile, bytes)) => Found::File {
            file,
            bytes,
            content_type: content_type(&path),
        },
        Ok((_, FileType::Directory, _)) if !is_folder => Found::Folder,
        Ok(_) => Found::Nothing,
        Err(
            Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG,
        ) => Found::Nothing,
        Err(error) => Found::Error(error.into()),
    }
}

/// The path below the folder that a request names, if it is valid.
fn path(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = percent_decode_str(path.strip_prefix('/')?).decode_utf8().ok()?;
    let is_hidden = path.split('/').any(|name| name.starts_with('.'));
    // Two slashes would make it absolute, or an empty name.
    let is_odd = path.starts_with('/') || path.contains("//") || path.contains(['\0', '\\']);
    (!is_hidden && !is_odd).then(|| path.into_owned())
}

fn open(path: &str, folder: &Path) -> Result<(File, FileType, u64), Errno> {
    let folder = openat(
        CWD,
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // So as not to wait for a writer of a named pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(folder, path, flags, Mode::empty(), resolve)?;
    let stat = fstat(&file)?;
    let bytes = u64::try_from(stat.st_size).unwrap_or_default();
    Ok((File::from(file), FileType::from_raw_mode(stat.st_mode), bytes))
}

fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = extension.to_ascii_lowercase();
    CONTENT_TYPES
        .iter()
        .find(|(known, _)| *known == extension)
        .map_or("application/octet-stream", |(_, content_type)| content_type)
}

const OK: &str = "200 OK";
const INDEX: &str = "index.html";

const CONTENT_TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("txt", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("xml", "text/xml; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("mp4", "video/mp4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_paths_below_the_folder() {
        for (target, expected) in [
            ("/", Some("")),
            ("/a/b.html?x=/../y#z", Some("a/b.html")),
            ("/a%20b", Some("a b")),
            ("/%E2%82%AC", Some("€")),
            ("/sub/", Some("sub/")),
            ("", None),
            ("a", None),
            ("http://host/a", None),
            ("*", None),
            ("/../a", None),
            ("/a/../../b", None),
            ("/%2e%2e/a", None),
            ("/.git/config", None),
            ("/a/.htpasswd", None),
            ("//etc/passwd", None),
            ("/%2fetc/passwd", None),
            ("/a//b", None),
            ("/a%00.html", None),
            ("/..%5ca", None),
            ("/%ff", None),
        ] {
            assert_eq!(path(target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_found() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("pages");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(place.path().join("secret"), "no").unwrap();
        std::fs::write(folder.join("sub/index.html"), "yes").unwrap();
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, folder.join(to)).unwrap();
        link("../secret", "out");
        link("/etc/passwd", "absolute");
        link("..", "up");
        link("sub/index.html", "inside.html");
        link("itself", "itself");
        rustix::fs::mkfifoat(CWD, folder.join("pipe"), Mode::RWXU).unwrap();
        for target in [
            "/out",
            "/absolute",
            "/up/secret",
            "/itself",
            "/pipe",
            "/sub/index.html/x",
            "/gone",
            "/",
        ] {
            assert!(matches!(find(target, &folder), Found::Nothing), "{target}");
        }
        let long = format!("/{}", "x".repeat(5000));
        assert!(matches!(find(&long, &folder), Found::Nothing));
        assert!(matches!(find("/sub", &folder), Found::Folder));
        for target in ["/inside.html", "/sub/", "/sub/index.html"] {
            let Found::File {
                bytes, content_type, ..
            } = find(target, &folder)
            else {
                panic!("{target} is not found");
            };
            assert_eq!((bytes, content_type), (3, "text/html; charset=utf-8"));
        }
    }

    #[test]
    fn types_by_extension() {
        for (path, expected) in [
            ("a.JS", "text/javascript; charset=utf-8"),
            ("a.b/c", "application/octet-stream"),
            ("a", "application/octet-stream"),
            ("x.tar.png", "image/png"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}
