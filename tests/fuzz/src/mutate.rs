//! A new input out of an old one.

use crate::chance::Chance;

/// Values that borders are made of.
const BORDERS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Texts that numbers are made of.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "255",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e9",
    "0x1",
    "00",
    "",
];

/// Changes `input` in one to eight places; at most `longest` bytes come out.
pub(crate) fn mutate(
    input: &mut Vec<u8>,
    chance: &mut Chance,
    pool: &[Vec<u8>],
    words: &[&str],
    longest: usize,
) {
    let most = 1 << chance.below(4);
    let times = 1 + chance.below(most);
    for _ in 0..times {
        change(input, chance, pool, words, longest);
    }
    input.truncate(longest);
}

fn change(
    input: &mut Vec<u8>,
    chance: &mut Chance,
    pool: &[Vec<u8>],
    words: &[&str],
    longest: usize,
) {
    let at = chance.below(input.len() + 1);
    match chance.below(14) {
        0 | 1 => {
            let bit = 1 << chance.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= bit;
            }
        }
        2 | 3 => {
            let new = chance.byte();
            if let Some(byte) = input.get_mut(at) {
                *byte = new;
            }
        }
        4 | 5 => number(input, chance, at),
        6 => insert(input, at, &[chance.byte()]),
        7 => {
            let upto = (at + 1 + chance.below(16)).min(input.len());
            if at < upto {
                input.drain(at..upto);
            }
        }
        8 => input.truncate(at),
        9 => {
            let upto = (at + 1 + chance.below(32)).min(input.len());
            let part = input.get(at..upto).unwrap_or_default().to_vec();
            let to = chance.below(input.len() + 1);
            insert(input, to, &part);
        }
        10 => {
            let other = chance.pick(pool).map_or(&[][..], Vec::as_slice);
            let from = chance.below(other.len() + 1);
            let upto = (from + 1 + chance.below(64)).min(other.len());
            insert(input, at, other.get(from..upto).unwrap_or_default());
        }
        11 => {
            let other = chance.pick(pool).map_or(&[][..], Vec::as_slice);
            let from = chance.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        12 => {
            let word = chance.pick(words).copied().unwrap_or_default();
            insert(input, at, word.as_bytes());
        }
        _ => digits(input, chance, at, longest),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}

/// A number in 1, 2, 4 or 8 bytes becomes a border, or one more or less.
fn number(input: &mut [u8], chance: &mut Chance, at: usize) {
    let width = 1 << chance.below(4);
    let Some(field) = input.get_mut(at..at + width) else {
        return;
    };
    let mut wide = [0; 8];
    if let Some(low) = wide.get_mut(8 - width..) {
        low.copy_from_slice(field);
    }
    let old = u64::from_be_bytes(wide);
    let new = match chance.below(4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        _ => chance.pick(BORDERS).copied().unwrap_or_default(),
    };
    let new = new.to_be_bytes();
    field.copy_from_slice(new.get(8 - width..).unwrap_or_default());
}

/// Digits become another number; now and then something becomes very long.
fn digits(input: &mut Vec<u8>, chance: &mut Chance, at: usize, longest: usize) {
    if chance.below(64) == 0 {
        let byte = input.get(at).copied().unwrap_or_else(|| chance.byte());
        let room = longest.saturating_sub(input.len());
        let part = vec![byte; chance.below(room + 1)];
        insert(input, at, &part);
        return;
    }
    let rest = input.get(at..).unwrap_or_default();
    let Some(from) = rest.iter().position(u8::is_ascii_digit) else {
        return;
    };
    let run = rest.get(from..).unwrap_or_default();
    let count = run.iter().take_while(|b| b.is_ascii_digit()).count();
    let new = chance.pick(NUMBERS).copied().unwrap_or_default();
    let from = at + from;
    input.splice(from..from + count, new.bytes());
}
