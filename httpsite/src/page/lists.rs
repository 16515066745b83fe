//! The lists: what clients get, who is on it and why, where it comes from, and how it came about.

use std::fmt::{self, Write as _};

use super::Pace;
use super::markup::{Or, Set, Table, Text, Tone};
use crate::board::{Entry, SourceAccount};
use crate::change::{Health, Standing};
use crate::quantity::{Span, Time};
use crate::status::{ListView, ServerView};

/// So many changes are shown on a page that renews itself.
const RECENT: usize = 5;

pub(super) fn write(page: &mut String, lists: &[ListView], pace: Pace) -> fmt::Result {
    page.push_str("<h2>Lists of name servers</h2>");
    for (number, list) in lists.iter().enumerate() {
        write!(
            page,
            "<h3 id=list-{number}><code>/rocketmq/{}</code></h3>",
            Text(&list.name)
        )?;
        head(page, list)?;
        servers(page, &list.health)?;
        sources(page, &list.account.sources)?;
        history(page, &list.account.history, pace)?;
    }
    Ok(())
}

fn head(page: &mut String, list: &ListView) -> fmt::Result {
    let account = &list.account;
    match &list.line {
        Some(line) => write!(page, "<p class=line><code>{}</code>", Text(line))?,
        None => page.push_str("<p class=bad>✖ No name server is known yet: clients get 503."),
    }
    page.push_str("<p class=soft>");
    match account.origin {
        Some(origin) => write!(page, "from {}", origin.as_str())?,
        None => page.push_str("from nowhere"),
    }
    if let Some(seconds) = list.unchanged_seconds {
        write!(page, ", unchanged for {}", Span(seconds))?;
    }
    if let Some(index) = &list.index {
        write!(page, ", index <code>{}</code>", Text(index))?;
    }
    if let Some(partner) = &account.partner {
        write!(page, ", partner <code>{}</code>", Text(partner))?;
    }
    if account.stale && list.line.is_some() {
        page.push_str("<p class=warn>▲ Stale: no source in working order stands behind it");
        match list.age_seconds {
            Some(seconds) => write!(page, ", for {}.", Span(seconds))?,
            None => page.push_str(" yet."),
        }
    }
    if let Some(downgraded) = &account.downgraded {
        write!(
            page,
            "<p class=warn>▲ Downgraded: clients are sent to the name servers of <code>{}</code>. {}",
            Text(&downgraded.to),
            Text(&downgraded.said)
        )?;
    }
    Ok(())
}

fn servers(page: &mut String, servers: &[ServerView]) -> fmt::Result {
    if servers.is_empty() {
        page.push_str("<p class=soft>No source has named a name server.");
        return Ok(());
    }
    let columns = [
        ("Name server", Set::Words),
        ("Health", Set::Words),
        ("Listed", Set::Words),
        ("Why", Set::Words),
        ("Latency", Set::Number),
        ("Last error", Set::Long),
    ];
    let mut table = Table::begin(page, "servers", &columns);
    for server in servers {
        let probe = server.probe.as_ref();
        let (tone, health) = match server.health() {
            Some(Health::Alive) => (Tone::Good, "alive"),
            Some(Health::Dead) => (Tone::Bad, "dead"),
            Some(Health::Unknown) => (Tone::Soft, "unknown"),
            None => (Tone::Soft, "not probed"),
        };
        let latency = probe.and_then(|probe| probe.latency_ms);
        let error = probe.and_then(|probe| probe.error.as_deref());
        let name = Text(&server.name_server);
        table.cell(Tone::Plain, format_args!("<code>{name}</code>"))?;
        table.cell(tone, health)?;
        table.cell(Tone::Plain, if server.listed { "yes" } else { "no" })?;
        table.cell(standing_tone(server.standing), server.standing.as_str())?;
        table.cell(Tone::Plain, Or(latency.map(|ms| format!("{ms:.1} ms"))))?;
        table.cell(Tone::Plain, Or(error.map(Text)))?;
    }
    table.end();
    Ok(())
}

const fn standing_tone(standing: Standing) -> Tone {
    match standing {
        Standing::Wanted | Standing::Override | Standing::Leaving => Tone::Plain,
        Standing::Held | Standing::LastGood => Tone::Warn,
        Standing::Dead => Tone::Bad,
    }
}

fn sources(page: &mut String, sources: &[SourceAccount]) -> fmt::Result {
    page.push_str("<h4>Sources</h4>");
    let columns = [
        ("Source", Set::Long),
        ("Names", Set::Number),
        ("State", Set::Long),
    ];
    let mut table = Table::begin(page, "sources", &columns);
    for source in sources {
        let text = Text(&source.text);
        table.cell(Tone::Plain, format_args!("<code>{text}</code>"))?;
        table.cell(Tone::Plain, Or(source.servers))?;
        match (&source.fault, source.servers) {
            (Some(fault), _) => table.cell(Tone::Warn, Text(fault))?,
            (None, Some(0)) => table.cell(Tone::Warn, "in order, but names none")?,
            (None, Some(_)) => table.cell(Tone::Good, "in order")?,
            (None, None) => table.cell(Tone::Soft, "not heard yet")?,
        }
    }
    table.end();
    Ok(())
}

fn history(page: &mut String, history: &[Entry], pace: Pace) -> fmt::Result {
    if history.is_empty() {
        return Ok(());
    }
    page.push_str("<h4>History");
    let shown = match pace {
        Pace::Renewed => RECENT.min(history.len()),
        Pace::Still => history.len(),
    };
    if shown < history.len() {
        write!(
            page,
            " <a href=\"/?still\">all {} changes</a>",
            history.len()
        )?;
    }
    page.push_str("</h4>");
    let columns = [
        ("Time", Set::Words),
        ("From", Set::Words),
        ("Change", Set::Long),
        ("List", Set::Long),
    ];
    let mut table = Table::begin(page, "history", &columns);
    for entry in history.iter().take(shown) {
        let line = Text(&entry.line);
        table.cell(Tone::Plain, Time(entry.time))?;
        table.cell(Tone::Plain, entry.origin.as_str())?;
        table.cell(Tone::Plain, Text(&entry.note))?;
        table.cell(Tone::Plain, format_args!("<code>{line}</code>"))?;
    }
    table.end();
    Ok(())
}
