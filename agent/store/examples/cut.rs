//! Cuts or repairs a stopped broker's store by hand:
//! `cut ROOT COMMITLOG_FILE_BYTES QUEUE_FILE_BYTES OFFSET|repair|resume`. The offset is lowered to a record boundary.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;

use store::{CutOrder, Layout, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, file, queue, what] = args.as_slice() else {
        return Err("cut ROOT COMMITLOG_FILE_BYTES QUEUE_FILE_BYTES OFFSET|repair|resume".into());
    };
    let store = Store::open(Layout::new(Path::new(root), file.parse()?, queue.parse()?))?;
    let lock = store.lock()?;
    let report = match what.as_str() {
        "resume" => store.resume_cut(&lock)?,
        "repair" => Some(store.repair_tail(&lock, 1, None)?),
        offset => Some(store.cut(
            &lock,
            &CutOrder {
                to: store.boundary_at_or_below(offset.parse()?)?,
                epoch: 1,
                why: "by hand".to_owned(),
                lost_and_found: store.lost_and_found(),
            },
        )?),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
