//! A file that is there wholly or not at all, also after a power cut.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The broker container may run under another user than the agent's, and the base it comes from is readable too.
const MODE: u32 = 0o644;

/// The step of [`write_atomically`] that did not work.
#[derive(Debug, thiserror::Error)]
#[error("{step} {}: does the folder exist, is it writable, is there room?", path.display())]
pub struct WriteError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Writes temporary file, fsync, rename, fsync of the folder: a reader sees the old bytes or the new ones.
///
/// One writer per path. A temporary file that an interrupted write left behind is replaced; it is made anew, so that a
/// link put there by somebody else in a shared folder is not followed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let temporary = temporary_of(path);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    create(&temporary, bytes).map_err(|source| WriteError {
        step: "write",
        path: temporary.clone(),
        source,
    })?;
    fs::rename(&temporary, path).map_err(|source| WriteError {
        step: "replace",
        path: path.to_owned(),
        source,
    })?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| WriteError {
        step: "sync folder",
        path: folder.to_owned(),
        source,
    })
}

fn temporary_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        write_atomically(&path, b"old, and longer").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
    }

    #[test]
    fn does_not_follow_a_link_left_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(".broker.conf.tmp")).unwrap();
        write_atomically(&folder.path().join("broker.conf"), b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(&folder.path().join("absent/broker.conf"), b"").unwrap_err();
        assert!(
            error.to_string().contains("absent/.broker.conf.tmp"),
            "{error}"
        );
    }
}
