//! One record of a commit log.

use crate::shape;
use crate::target::Target;
use store::record::{Head, MAX_RECORD, MIN_RECORD, Record};
use store::testing::Message;

pub(crate) const TARGET: Target = Target {
    name: "record",
    seeds,
    words: &[
        "KEYS\u{1}k\u{2}",
        "TAGS\u{1}t\u{2}",
        "UNIQ_KEY\u{1}0A\u{2}",
        "\u{1}",
        "\u{2}",
    ],
    longest: 2 * 1024,
    memory: |len| 16 * 1024 + 16 * len,
    check,
};

pub(crate) fn messages() -> Vec<Message> {
    vec![
        Message::new("T", 1, 10)
            .with("KEYS", "k1 k2")
            .with("TAGS", "t"),
        Message::new("TopicTest", 3, 0),
        Message::new("%RETRY%group", 0, 300).with("UNIQ_KEY", "0A000001"),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = messages().iter().map(|m| m.encode(0, 0)).collect();
    seeds.push(vec![0, 0, 1, 0, 0xCB, 0xD4, 0x31, 0x94]);
    seeds
}

fn check(input: &[u8]) -> Result<u64, String> {
    let head = Head::parse(input);
    let record = match Record::parse(input) {
        Ok(record) => record,
        Err(fault) => return Ok(shape::of("fault", &shape::word(&fault))),
    };
    let Ok(Head::Record {
        total,
        physical_offset,
    }) = head
    else {
        return Err(format!("a record whose head is {head:?}"));
    };
    let size = usize::try_from(record.size).unwrap_or(usize::MAX);
    let fits = total == size && total <= input.len() && (MIN_RECORD..=MAX_RECORD).contains(&total);
    if !fits || record.physical_offset != physical_offset {
        return Err(format!("{record:?} of {total} bytes at {physical_offset}"));
    }
    let parts = record.body.len() + record.topic.len();
    if parts > total {
        return Err(format!("{parts} bytes of parts in {total}"));
    }
    let keys = [record.keys(), record.tags(), record.unique_key()];
    let known = keys.iter().filter(|k| k.is_some()).count();
    let id = record.offset_message_id();
    let what = format!("{}{}", shape::letters(known + 1), shape::letters(id.len()));
    Ok(shape::of("record", &what))
}
