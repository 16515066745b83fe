//! The page for people: HTML without scripts and without anything to load. First what is wrong, then everything.

mod groups;
mod lists;
mod markup;

use std::fmt::{self, Write as _};

use crate::quantity::{Count, Time};
use crate::status::View;
use crate::trouble::{Level, Place};

use markup::{Text, Tone};

const STYLE: &str = include_str!("page/style.css");

/// The page renews itself after this time, seconds.
const PERIOD: u8 = 10;

/// So many troubles are listed on top; there, more would hide each other.
const MOST: usize = 30;

/// Whether the page renews itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every few seconds.
    Renewed,
    /// Never, so that somebody can read in peace; with the whole history.
    Still,
}

/// The whole page.
pub fn render(view: &View, pace: Pace) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing into a String cannot fail.
    let _ = whole(&mut page, view, pace);
    page
}

fn whole(page: &mut String, view: &View, pace: Pace) -> fmt::Result {
    let verdict = Verdict::of(view);
    page.push_str(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">",
    );
    let (renewal, other) = match pace {
        Pace::Renewed => {
            write!(page, "<meta http-equiv=refresh content={PERIOD}>")?;
            (
                format!("renewed every {PERIOD} s"),
                "<a href=\"/?still\">hold still</a>",
            )
        }
        Pace::Still => (
            "holds still".to_owned(),
            "<a href=\"/\">renew by itself</a>",
        ),
    };
    write!(
        page,
        "<title>{sign}{words} · httpSite</title><style>{STYLE}</style></head><body>\
         <header><h1>RocketMQ httpSite</h1><span class=soft>as of {} · {renewal} · {other} · \
         <a href=\"/status.json\">JSON</a> · version {}</span></header>",
        Time(view.time),
        Text(view.version),
        sign = verdict.tone.sign(),
        words = Text(&verdict.words),
    )?;
    verdict.write(page, view)?;
    lists::write(page, &view.lists, pace)?;
    groups::write(page, view)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// The answer to the only question at 3 a.m.
struct Verdict {
    tone: Tone,
    words: String,
}

impl Verdict {
    fn of(view: &View) -> Self {
        let count = |level| {
            let of_level = view
                .troubles
                .iter()
                .filter(|trouble| trouble.level == level);
            of_level.count()
        };
        let counts = [Level::Fault, Level::Warning, Level::Note]
            .map(|level| (level, count(level)))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(level, count)| Count(count, level.as_str()).to_string());
        let words: Vec<String> = counts.collect();
        match view.troubles.first().map(|trouble| trouble.level) {
            None => Self {
                tone: Tone::Good,
                words: "All well".to_owned(),
            },
            Some(level) => Self {
                tone: match level {
                    Level::Note => Tone::Good,
                    level => tone(level),
                },
                words: match level {
                    Level::Note => format!("All well, {}", words.join(", ")),
                    Level::Fault | Level::Warning => words.join(", "),
                },
            },
        }
    }

    fn write(&self, page: &mut String, view: &View) -> fmt::Result {
        let (class, sign) = (self.tone.class(), self.tone.sign());
        write!(
            page,
            "<section class=\"verdict {class}\" id=verdict><strong>{sign}{}</strong> <span class=soft>of {}",
            Text(&self.words),
            Count(view.lists.len(), "list"),
        )?;
        match &view.groups {
            Some(groups) => write!(page, " and {}", Count(groups.len(), "group"))?,
            None => page.push_str("; groups of brokers are not watched"),
        }
        page.push_str("</span>");
        if !view.troubles.is_empty() {
            page.push_str("<ul>");
        }
        for trouble in view.troubles.iter().take(MOST) {
            let tone = tone(trouble.level);
            write!(
                page,
                "<li><span class={}>{}{}</span> ",
                tone.class(),
                tone.sign(),
                trouble.level.as_str(),
            )?;
            let about = Text(&trouble.about);
            match trouble.place {
                Place::List(number) => write!(page, "<a href=\"#list-{number}\">{about}</a>")?,
                Place::Group(number) => write!(page, "<a href=\"#group-{number}\">{about}</a>")?,
                Place::Groups => write!(page, "<a href=\"#groups\">{about}</a>")?,
                Place::Nowhere => write!(page, "<span>{about}</span>")?,
            }
            write!(page, " <span class=says>{}</span>", Text(&trouble.says))?;
        }
        if !view.troubles.is_empty() {
            page.push_str("</ul>");
        }
        if view.troubles.len() > MOST {
            write!(
                page,
                "<p class=says>and {} more, below",
                view.troubles.len() - MOST
            )?;
        }
        page.push_str("</section>");
        Ok(())
    }
}

const fn tone(level: Level) -> Tone {
    match level {
        Level::Fault => Tone::Bad,
        Level::Warning => Tone::Warn,
        Level::Note => Tone::Soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::Trouble;

    #[test]
    fn a_great_many_troubles_are_counted_and_the_worst_are_listed() {
        let trouble = |number| Trouble {
            level: Level::Warning,
            about: format!("group {number}"),
            says: "x".to_owned(),
            place: Place::Group(number),
        };
        let view = View {
            version: "1",
            time: jiff::Timestamp::UNIX_EPOCH,
            troubles: (0..MOST + 7).map(trouble).collect(),
            lists: Vec::new(),
            desk_faults: Vec::new(),
            groups: Some(Vec::new()),
            groups_fault: None,
        };
        let page = render(&view, Pace::Still);
        assert_eq!(page.matches("<li>").count(), MOST);
        assert!(page.contains("37 warnings") && page.contains("and 7 more, below"));
        assert!(!page.contains("http-equiv=refresh"));
        assert!(render(&view, Pace::Renewed).contains("http-equiv=refresh"));
    }
}
