//! The word by which a kubelet shows that a container is gone.
//!
//! When a container ends, its kubelet puts what stands in its `terminationMessagePath` (a file that it makes anew for each
//! run of each container) into the pod's status. A fresh word left there at the start comes back exactly when the process
//! that left it, and everything else in its container, is dead. A container's id would prove the same, but nobody in a
//! container surely knows its own, and a pod's status may still show its predecessor's (safety H38).

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Where kubelets put the file unless the pod says otherwise.
pub const DEFAULT_PATH: &str = "/dev/termination-log";

/// What tells our words from anything else that ends up in such a file.
const MARK: &str = "rocketmq-ha ";

/// Leaves `word` at `path`. Returns whether it stands there: without a kubelet there is no file, and none is made.
///
/// # Errors
/// The file is there and cannot be written.
pub fn leave(path: &Path, word: &str) -> io::Result<bool> {
    let mut file = match OpenOptions::new().write(true).truncate(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // One write: a reader sees a whole word or none.
    file.write_all(format!("{MARK}{word}\n").as_bytes())?;
    Ok(true)
}

/// The word in a termination message, if it is one of ours.
#[must_use]
pub fn read(message: &str) -> Option<&str> {
    let line = message.lines().next()?;
    Some(line.strip_prefix(MARK)?.trim()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_comes_back_and_nothing_else_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        assert!(!leave(&path, "a").unwrap(), "no kubelet, no file");
        assert!(!path.exists());
        std::fs::write(&path, "something longer from before").unwrap();
        assert!(leave(&path, "launcher-0123").unwrap());
        let message = std::fs::read_to_string(&path).unwrap();
        assert_eq!(read(&message), Some("launcher-0123"));
        for other in [
            "",
            "OOM",
            "rocketmq-ha",
            "rocketmq-ha  \n",
            "x\nrocketmq-ha a",
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
