//! Reads single values out of a broker.conf.
//!
//! The launcher needs one number of it (the listen port). The file is the agent's own rendering, one `key=value` per
//! line, so this is no full reader of the java-properties format: no escapes and no continued lines.

use std::{fs::File, io, io::Read, path::Path};

/// A larger conf is not one of ours. (A broker's own rewriting has some 410 lines, about 20 KiB: facts §3.2.)
const MAX_CONF: u64 = 1024 * 1024;

/// The broker's listen port when its conf names none (facts §6.2).
pub const DEFAULT_LISTEN_PORT: u16 = 10911;

/// A conf's text.
#[derive(Debug, Clone)]
pub struct Conf {
    text: String,
}

impl Conf {
    /// Reads a conf of at most 1 MiB. Bytes that are no UTF-8 (the format is ISO-8859-1) are kept as replacement
    /// characters; no key or value that is read here contains any.
    ///
    /// # Errors
    /// When the file cannot be read, is no plain file, or is too large.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a plain file",
            ));
        }
        if meta.len() > MAX_CONF {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is larger than 1 MiB",
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_CONF).read_to_end(&mut bytes)?;
        Ok(Self::from_text(
            String::from_utf8_lossy(&bytes).into_owned(),
        ))
    }

    /// A conf that is already in memory.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self { text }
    }

    /// The last value given to `key`, without surrounding blanks.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text.lines().rev().find_map(|line| {
            let line = line.trim();
            if line.starts_with(['#', '!']) {
                return None;
            }
            let (name, value) = line.split_once(['=', ':'])?;
            (name.trim_end() == key).then(|| value.trim())
        })
    }

    /// The port that clients send to; [`DEFAULT_LISTEN_PORT`] when none, or nonsense, is given.
    #[must_use]
    pub fn listen_port(&self) -> u16 {
        self.value("listenPort")
            .and_then(|text| text.parse().ok())
            .unwrap_or(DEFAULT_LISTEN_PORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_comments_do_not() {
        let conf = Conf::from_text(
            "listenPort=1\n #listenPort=9\n listenPort = 10931 \r\nlistenPorts=7\n".into(),
        );
        assert_eq!(conf.listen_port(), 10931);
        assert_eq!(
            Conf::from_text(String::new()).listen_port(),
            DEFAULT_LISTEN_PORT
        );
        assert_eq!(
            Conf::from_text("listenPort=99999".into()).listen_port(),
            DEFAULT_LISTEN_PORT
        );
    }

    #[test]
    fn a_folder_is_no_conf() {
        assert!(Conf::read(Path::new("/")).is_err());
    }
}
