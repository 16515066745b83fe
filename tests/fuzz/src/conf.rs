//! An operator's `broker.conf`.

use crate::shape;
use crate::target::Target;
use agent::broker_conf::{BaseConf, Generation};
use agent::properties::{Properties, write_entry};
use std::path::Path;

pub(crate) const TARGET: Target = Target {
    name: "conf",
    seeds,
    words: &[
        "brokerClusterName=",
        "brokerName=",
        "listenPort=",
        "haListenPort=",
        "brokerRole=SLAVE",
        "flushDiskType=SYNC_FLUSH",
        "enableDLegerCommitLog=true",
        "enableControllerMode=true",
        "storePathCommitLog=",
        "mappedFileSizeCommitLog=",
        "brokerPermission=6",
        "namesrvAddr=",
        "transientStorePoolEnable=true",
        "storeType=defaultRocksDB",
        "\\u0041",
        "\\uD83D",
        "\\\n",
        "=",
        ":",
        "#",
        "!",
        "\\",
        "\r\n",
        "\u{c}",
        "${HOME}",
    ],
    longest: 1024,
    // The table of all known keys is made for each.
    memory: |len| 256 * 1024 + 256 * len,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    vec![
        b"brokerClusterName=c\nbrokerName=b\nbrokerId=0\nlistenPort=10911\nnamesrvAddr=a:9876;b:9876\n".to_vec(),
        b"# comment\n! other\nbrokerClusterName : c\nbrokerName\tb\\\n   c\nmappedFileSizeCommitLog=1073741824\n".to_vec(),
        b"brokerClusterName=\\u0043\nbrokerName=b\\=c\nflushDiskType=ASYNC_FLUSH\nstorePathRootDir=/s\nhaListenPort=10912\nbrokerPermission=6".to_vec(),
    ]
}

fn check(input: &[u8]) -> Result<u64, String> {
    let properties = match Properties::parse(input) {
        Ok(properties) => properties,
        Err(error) => return Ok(shape::of("no properties", &error)),
    };
    let mut text = String::new();
    for entry in properties.entries() {
        write_entry(&mut text, &entry.key, &entry.value);
    }
    let again =
        Properties::parse(text.as_bytes()).map_err(|e| format!("written, not read: {e}"))?;
    let pairs = |p: &Properties| -> Vec<(String, String)> {
        let entries = p.entries().iter();
        entries.map(|e| (e.key.clone(), e.value.clone())).collect()
    };
    let (wrote, read) = (pairs(&properties), pairs(&again));
    if wrote != read {
        return Err(format!("{wrote:?} is read as {read:?}"));
    }
    let conf = match BaseConf::parse(Path::new("/b"), input) {
        Ok(conf) => conf,
        Err(error) => return Ok(shape::of("no conf", &format!("{error:?}"))),
    };
    let port = conf.ha_port(Generation::V5);
    let managed = conf.check_managed().is_ok();
    if !agent::broker_conf::diff(&conf, &conf).is_empty() {
        return Err("differs from itself".into());
    }
    let kind = if managed { "managed" } else { "not managed" };
    let what = format!(
        "{:?}{:?}{}{}",
        conf.mode(),
        conf.flush_disk_type(),
        shape::letters(conf.notes().len() + 1),
        shape::letters(usize::from(port))
    );
    Ok(shape::of(kind, &what))
}
