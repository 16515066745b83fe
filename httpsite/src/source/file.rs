//! Text in a file, read again whenever it changes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::hints::{Hints, Look};

/// The longest file that is read, bytes: room for every list several times over.
const MAX_BYTES: u64 = 64 * 1024;

/// What the file holds, or why it cannot be said.
pub type Text = Result<String, String>;

/// Reads `path` now and whenever it changes, and tells `sink`; for ever.
pub async fn follow(path: PathBuf, mut sink: impl FnMut(Text) + Send) {
    let mut hints = Hints::new(vec![path.clone()]);
    let mut last = None;
    loop {
        let from = path.clone();
        if let Ok(text) = tokio::task::spawn_blocking(move || read(&from)).await
            && last.as_ref() != Some(&text)
        {
            last = Some(text.clone());
            sink(text);
        }
        let look = match &last {
            Some(Ok(_)) => Look::Sound,
            Some(Err(_)) | None => Look::Failed,
        };
        hints.next(look).await;
    }
}

/// What is in the file now.
pub(crate) fn read(path: &Path) -> Text {
    let failed = |why: &dyn std::fmt::Display| format!("read {}: {why}", path.display());
    read_bytes(path)
        .map_err(|error| failed(&error))
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8")))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would hold us until somebody writes.
    let about = fs::metadata(path)?;
    let unfit = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !about.is_file() {
        return unfit("it is not a regular file");
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > 64 * 1024 {
        return unfit("it is longer than 64 KiB: is it the right file?");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    fn followed(path: &Path) -> mpsc::UnboundedReceiver<Text> {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(follow(path.to_owned(), move |text| {
            let _ = sender.send(text);
        }));
        receiver
    }

    async fn until(texts: &mut mpsc::UnboundedReceiver<Text>, wanted: impl Fn(&Text) -> bool) {
        let wait = async { while !wanted(&texts.recv().await.unwrap()) {} };
        let seen = timeout(Duration::from_secs(5), wait).await;
        seen.expect("the change was not seen by its notification");
    }

    #[tokio::test]
    async fn sees_a_config_map_swapped_by_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("list"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/list", at("list")).unwrap();
        let mut texts = followed(&at("list"));
        until(&mut texts, |text| text.as_deref() == Ok("..1")).await;
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        until(&mut texts, |text| text.as_deref() == Ok("..2")).await;
    }

    #[tokio::test]
    async fn a_file_that_goes_and_comes_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let mut texts = followed(&path);
        until(&mut texts, Result::is_err).await;
        fs::write(&path, "a").unwrap();
        until(&mut texts, |text| text.as_deref() == Ok("a")).await;
        fs::remove_file(&path).unwrap();
        until(&mut texts, Result::is_err).await;
    }

    #[test]
    fn what_is_no_list_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().contains("regular file"));
        let path = folder.path().join("long");
        fs::write(&path, vec![b'#'; 70_000]).unwrap();
        assert!(read(&path).unwrap_err().contains("longer"));
        fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).unwrap_err().contains("UTF-8"));
    }
}
