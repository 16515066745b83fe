//! Prints where a store's log ends and how fast the walk was: `extent ROOT COMMITLOG_FILE_BYTES [QUEUE_FILE_BYTES]`.
#![allow(clippy::print_stdout, reason = "a program for people")]
#![allow(clippy::disallowed_methods, reason = "measures itself")]

use std::path::Path;
use std::time::Instant;

use store::{Layout, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, file, rest @ ..] = args.as_slice() else {
        return Err("extent ROOT COMMITLOG_FILE_BYTES [QUEUE_FILE_BYTES]".into());
    };
    let queue = rest.first().map_or("6000000", String::as_str);
    let store = Store::open(Layout::new(Path::new(root), file.parse()?, queue.parse()?))?;
    let begin = Instant::now();
    let extent = store.extent()?;
    println!(
        "{extent:?} unclean={} in {:?}",
        store.unclean(),
        begin.elapsed()
    );
    let begin = Instant::now();
    let boundary = store.boundary_at_or_below(extent.end)?;
    println!("boundary {boundary} in {:?}", begin.elapsed());
    let begin = Instant::now();
    let count = store.boundaries(extent.min, extent.end)?.count();
    let crc = store.crc_of(extent.min, extent.end)?;
    println!("{count} boundaries, crc {crc:#010x}, {:?}", begin.elapsed());
    Ok(())
}
