//! The brokers' groups: who is master, and how far the others are.

use std::fmt::{self, Write as _};

use super::markup::{Or, Set, Table, Text, Tone};
use crate::groups::view::{GroupView, MemberView};
use crate::quantity::{Bytes, Span};
use crate::status::View;

pub(super) fn write(page: &mut String, view: &View) -> fmt::Result {
    let Some(groups) = &view.groups else {
        return Ok(());
    };
    page.push_str("<h2 id=groups>Groups of brokers</h2>");
    if let Some(fault) = &view.groups_fault {
        write!(
            page,
            "<p class=warn>▲ What follows is the last that was seen: {}",
            Text(fault)
        )?;
    }
    if groups.is_empty() {
        page.push_str(
            "<p class=soft>No group's Lease is in the watched namespaces: no agent has run there yet, \
             or --watch-namespaces names others.",
        );
    }
    for (number, group) in groups.iter().enumerate() {
        write!(
            page,
            "<h3 id=group-{number}>{} <span class=soft>in {}</span></h3>",
            Text(&group.title()),
            Text(&group.namespace)
        )?;
        head(page, group)?;
        members(page, &group.members)?;
    }
    Ok(())
}

fn head(page: &mut String, group: &GroupView) -> fmt::Result {
    let (tone, state) = if group.silent {
        (Tone::Bad, "Silent: all that follows is old")
    } else if !group.master_present {
        (Tone::Bad, "No master")
    } else if group.fault.is_some() {
        (Tone::Bad, "Record unreadable")
    } else {
        (Tone::Good, "Serving")
    };
    write!(
        page,
        "<p><span class={}>{}{state}</span>",
        tone.class(),
        tone.sign()
    )?;
    if group.paused {
        page.push_str(" · <span class=warn>▲ paused</span>");
    }
    write!(
        page,
        " · Lease held by <b>{}</b> · epoch <b>{}</b> · replication <b>{}</b> · changed {} ago",
        Text(group.holder.as_deref().unwrap_or("nobody")),
        Or(group.epoch),
        Or(group.phase),
        Span(group.age_seconds)
    )?;
    if let Some(fault) = &group.fault {
        write!(
            page,
            "<p class=bad>✖ The record in Lease <code>{}</code> cannot be read: {}",
            Text(&group.lease),
            Text(fault)
        )?;
    }
    Ok(())
}

fn members(page: &mut String, members: &[MemberView]) -> fmt::Result {
    if members.is_empty() {
        page.push_str("<p class=soft>No member has reported.");
        return Ok(());
    }
    let columns = [
        ("Member", Set::Words),
        ("Role", Set::Words),
        ("Epoch", Set::Number),
        ("Min offset", Set::Number),
        ("Max offset", Set::Number),
        ("Lag", Set::Number),
        ("Electable", Set::Words),
        ("Zone", Set::Words),
        ("Broker", Set::Words),
        ("Report", Set::Number),
    ];
    let mut table = Table::begin(page, "members", &columns);
    for member in members {
        let lag = if member.far_behind {
            Tone::Warn
        } else {
            Tone::Plain
        };
        let electable = match member.electable {
            Some(_) if !member.is_electable() => Tone::Warn,
            Some(_) | None => Tone::Plain,
        };
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (zone, address) = (filled(&member.zone), filled(&member.address));
        table.cell(Tone::Plain, Text(&member.member))?;
        table.cell(Tone::Plain, Or(member.role))?;
        table.cell(Tone::Plain, Or(member.last_epoch))?;
        table.cell(Tone::Plain, Or(member.min_offset))?;
        table.cell(Tone::Plain, Or(member.max_offset))?;
        table.cell(lag, Or(member.lag.map(Bytes)))?;
        table.cell(electable, Or(member.electable))?;
        table.cell(Tone::Plain, Or(zone.as_deref().map(Text)))?;
        let address = Or(address.as_deref().map(Text));
        table.cell(Tone::Plain, format_args!("<code>{address}</code>"))?;
        match (&member.fault, member.age_seconds) {
            (Some(_), _) => table.cell(Tone::Bad, "unreadable")?,
            (None, None) => table.cell(Tone::Bad, "none")?,
            (None, Some(age)) => {
                let tone = if member.is_heard() {
                    Tone::Plain
                } else {
                    Tone::Bad
                };
                table.cell(tone, format_args!("{} ago", Span(age)))?;
            }
        }
    }
    table.end();
    Ok(())
}
