//! How fast a stopped commit log is walked, record by record with its checksums, from the page cache.

use anyhow::Result;
use playground::clock::now;
use store::testing::{Message, Writer};
use store::{Layout, Store};

use crate::figures::Figures;

/// Bodies as they are common.
const BODY: usize = 1024;

pub(crate) fn measure(mib: u32, runs: u32) -> Result<()> {
    let folder = playground::run_dir::RunDir::create(playground::Afterwards::Remove)?;
    let size = u64::from(mib) << 20;
    let layout = Layout::new(folder.path(), size, 6_000_000);
    let mut writer = Writer::create(&layout, 0)?;
    let message = Message::new("walk", 0, BODY);
    while writer.end() + 4096 < size {
        writer.append(&message)?;
    }
    let end = writer.end();
    let mut figures = Figures::default();
    for _ in 0..=runs {
        let store = Store::open(layout.clone())?;
        let begin = now();
        let extent = store.extent()?;
        let seconds = begin.elapsed().as_secs_f64();
        anyhow::ensure!(
            extent.end == end,
            "the walk ended at {}, the log at {end}",
            extent.end
        );
        figures.add(
            "GB/s",
            f64::from(u32::try_from(end / 1000)?) * 1000.0 / 1e9 / seconds,
        );
    }
    figures.print(&format!(
        "walk of {mib} MiB of records with bodies of {BODY} bytes"
    ));
    Ok(())
}
