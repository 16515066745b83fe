//! The page for people: HTML without scripts and without anything to load.

use std::fmt::{self, Display, Write as _};

use crate::change::Health;
use crate::groups::GroupView;
use crate::status::{ListView, View};

const STYLE: &str = "
:root{color-scheme:light dark;--line:#ccc;--soft:#666;--good:#167a37;--bad:#b3261e;--warn:#8a5a00;--head:#f3f3f3;--page:#fff;--text:#1b1b1b}
@media (prefers-color-scheme:dark){:root{--line:#444;--soft:#a0a0a0;--good:#5bd07f;--bad:#ff8a80;--warn:#f0b64c;--head:#262626;--page:#161616;--text:#e8e8e8}}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem;background:var(--page);color:var(--text)}
h1{font-size:1.3rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.8rem 0 .3rem}h3{font-size:1rem;margin:1.1rem 0 .3rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid var(--line);padding:.3rem .6rem;text-align:left;vertical-align:top;white-space:nowrap}
th{background:var(--head);font-weight:600}td.wide{white-space:normal;word-break:break-word}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:13px/1.4 ui-monospace,monospace;word-break:break-all;white-space:normal}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}
summary{cursor:pointer;margin:.5rem 0}";

/// The whole page.
pub fn render(view: &View) -> String {
    let mut page = String::with_capacity(8 * 1024);
    // Writing into a String cannot fail.
    let _ = whole(&mut page, view);
    page
}

fn whole(page: &mut String, view: &View) -> fmt::Result {
    write!(
        page,
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=refresh content=10><title>httpSite</title><style>{STYLE}</style></head><body>\
         <h1>RocketMQ httpSite</h1><p class=soft>version {} · {} · <a href=\"/status.json\">JSON</a></p>",
        Text(view.version),
        Time(view.time),
    )?;
    for fault in &view.desk_faults {
        write!(
            page,
            "<p class=bad>An order on the desk cannot be read: {}</p>",
            Text(fault)
        )?;
    }
    for list in &view.lists {
        self::list(page, list)?;
    }
    groups(page, view)?;
    page.push_str("</body></html>\n");
    Ok(())
}

fn list(page: &mut String, list: &ListView) -> fmt::Result {
    write!(
        page,
        "<h2>List <code>/rocketmq/{}</code></h2>",
        Text(&list.name)
    )?;
    match &list.line {
        Some(line) => write!(page, "<p><code>{}</code><br>", Text(line))?,
        None => page.push_str("<p class=bad>No name server is known yet: clients get 503.<br>"),
    }
    if let Some(origin) = list.account.origin {
        write!(page, "<span class=soft>from {}", origin.as_str())?;
        if let Some(seconds) = list.unchanged_seconds {
            write!(page, ", unchanged for {}", Span(seconds))?;
        }
        page.push_str("</span>");
    }
    page.push_str("</p>");
    if list.account.stale {
        page.push_str("<p class=warn>Stale: no source in working order stands behind this list");
        if let Some(seconds) = list.age_seconds {
            write!(page, " since {}", Span(seconds))?;
        }
        page.push_str(".</p>");
    }
    if let Some(downgraded) = &list.account.downgraded {
        write!(
            page,
            "<p class=warn>Downgraded: clients are sent to the name servers of <code>{}</code>. {}</p>",
            Text(&downgraded.to),
            Text(&downgraded.said)
        )?;
    }
    servers(page, list)?;
    sources(page, list)?;
    history(page, list)
}

fn servers(page: &mut String, list: &ListView) -> fmt::Result {
    page.push_str("<div class=scroll><table><tr><th>Name server<th>Listed<th>Why<th>Health<th class=n>Latency<th>Last error</tr>");
    for server in &list.health {
        let (class, health) = match server.probe.as_ref().map(|probe| probe.health) {
            Some(Health::Alive) => ("good", "alive"),
            Some(Health::Dead) => ("bad", "dead"),
            Some(Health::Unknown) => ("soft", "unknown"),
            None => ("soft", "not probed"),
        };
        let probe = server.probe.as_ref();
        let latency = probe.and_then(|probe| probe.latency_ms);
        let latency = latency.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
        let error = probe.and_then(|probe| probe.error.as_deref()).unwrap_or("");
        write!(
            page,
            "<tr><td><code>{}</code><td>{}<td>{}<td class={class}>{health}<td class=n>{latency}<td class=wide>{}</tr>",
            Text(&server.name_server),
            if server.listed { "yes" } else { "no" },
            server.standing.as_str(),
            Text(error),
        )?;
    }
    page.push_str("</table></div>");
    Ok(())
}

fn sources(page: &mut String, list: &ListView) -> fmt::Result {
    page.push_str(
        "<h3>Sources</h3><div class=scroll><table><tr><th>Source<th class=n>Names<th>State</tr>",
    );
    for source in &list.account.sources {
        let names = source
            .servers
            .map_or_else(|| "–".to_owned(), |n| n.to_string());
        write!(
            page,
            "<tr><td class=wide><code>{}</code><td class=n>{names}",
            Text(&source.text)
        )?;
        match (&source.fault, source.servers) {
            (Some(fault), _) => write!(page, "<td class=\"wide bad\">{}</tr>", Text(fault))?,
            (None, Some(_)) => page.push_str("<td class=good>in order</tr>"),
            (None, None) => page.push_str("<td class=soft>not heard yet</tr>"),
        }
    }
    page.push_str("</table></div>");
    Ok(())
}

fn history(page: &mut String, list: &ListView) -> fmt::Result {
    if list.account.history.is_empty() {
        return Ok(());
    }
    write!(
        page,
        "<details><summary>History ({})</summary><div class=scroll><table><tr><th>Time<th>From<th>Change<th>List</tr>",
        list.account.history.len()
    )?;
    for entry in &list.account.history {
        write!(
            page,
            "<tr><td>{}<td>{}<td class=wide>{}<td class=wide><code>{}</code></tr>",
            Time(entry.time),
            entry.origin.as_str(),
            Text(&entry.note),
            Text(&entry.line)
        )?;
    }
    page.push_str("</table></div></details>");
    Ok(())
}

fn groups(page: &mut String, view: &View) -> fmt::Result {
    let Some(groups) = &view.groups else {
        return Ok(());
    };
    page.push_str("<h2>Groups of brokers</h2>");
    if let Some(fault) = &view.groups_fault {
        write!(
            page,
            "<p class=bad>{}; what follows is the last that was seen.</p>",
            Text(fault)
        )?;
    }
    if groups.is_empty() {
        page.push_str("<p class=soft>No group's Lease was seen.</p>");
    }
    for group in groups {
        self::group(page, group)?;
    }
    Ok(())
}

fn group(page: &mut String, group: &GroupView) -> fmt::Result {
    write!(
        page,
        "<h3>{} / {} <span class=soft>in {}</span></h3><p>",
        Text(&group.cluster),
        Text(&group.broker),
        Text(&group.namespace)
    )?;
    if group.silent {
        page.push_str(
            "<span class=bad>Every agent of this group is silent: what follows is old.</span> ",
        );
    } else if !group.master_present {
        page.push_str("<span class=bad>No master.</span> ");
    }
    write!(
        page,
        "Lease held by {}, epoch {}, {}, changed {} ago</p>",
        Text(group.holder.as_deref().unwrap_or("nobody")),
        Or(group.epoch),
        group.phase.unwrap_or("record unreadable"),
        Span(group.age_seconds)
    )?;
    page.push_str("<div class=scroll><table><tr><th>Member<th>Role<th class=n>Epoch<th class=n>Min offset<th class=n>Max offset<th class=n>Lag<th>Electable<th>Zone<th>Broker<th class=n>Report</tr>");
    for member in &group.members {
        write!(
            page,
            "<tr><td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td>{}<td>{}<td><code>{}</code>",
            Text(&member.member),
            member.role.unwrap_or("–"),
            Or(member.last_epoch),
            Or(member.min_offset),
            Or(member.max_offset),
            Or(member.lag),
            member.electable.unwrap_or("–"),
            Text(member.zone.as_deref().unwrap_or("–")),
            Text(member.address.as_deref().unwrap_or("–")),
        )?;
        match member.age_seconds {
            Some(age) => write!(page, "<td class=n>{} ago</tr>", Span(age))?,
            None => page.push_str("<td class=\"n bad\">none</tr>"),
        }
    }
    page.push_str("</table></div>");
    Ok(())
}

/// Text that cannot be taken for markup.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number, or a dash.
struct Or(Option<u64>);

impl Display for Or {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("–"),
        }
    }
}

/// A time of the wall clock, to the second.
struct Time(jiff::Timestamp);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }
}

/// Seconds, for people.
struct Span(u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        assert_eq!(
            Text("<b a='\"'>&").to_string(),
            "&lt;b a=&#39;&quot;&#39;&gt;&amp;"
        );
    }

    #[test]
    fn times_are_short() {
        let shown = [0, 119, 120, 7200, 172_800].map(|s| Span(s).to_string());
        assert_eq!(shown, ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
