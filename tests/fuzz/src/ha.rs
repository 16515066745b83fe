//! The HA stream: frames of a master, reports of a slave.

use crate::shape;
use crate::target::Target;
use relay::ha_stream::{
    FrameBuffer, FrameHeader, HEADER_BYTES, MAX_BODY_BYTES, Report, ReportReader,
};

pub(crate) const TARGET: Target = Target {
    name: "ha",
    seeds,
    words: &[],
    longest: 1024,
    // Two buffers, of which each may have to hold the longest frame.
    memory: |len| 2 * (3 * 4 * 1024 * 1024) + 64 * len,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let frame = |offset: u64, body: &[u8]| {
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(body.len()).unwrap_or_default().to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    vec![
        frame(0, b"some bytes of a log"),
        [frame(100, b"abc"), frame(103, b""), frame(103, &[7; 90])].concat(),
        [0_u64, 64, u64::MAX]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect(),
    ]
}

fn check(input: &[u8]) -> Result<u64, String> {
    // Room for a frame of megabytes takes its time: one in sixteen is enough.
    let sum = input.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
    if sum % 16 != 0 && input.windows(HEADER_BYTES).any(is_large) {
        return Ok(shape::of("large", &""));
    }
    let (frames, error) = frames(input, 7)?;
    let (others, other_error) = frames_of_one_piece(input)?;
    if (&frames, &error) != (&others, &other_error) {
        return Err(format!(
            "{frames:?} {error:?} in pieces, {others:?} {other_error:?} in one"
        ));
    }
    for (header, _) in &frames {
        match FrameHeader::decode(header.encode()) {
            Ok(again) if again == *header => {}
            other => return Err(format!("{header:?} is read as {other:?}")),
        }
    }
    let reports = reports(input)?;
    let many = shape::letters(frames.len() + 1);
    Ok(shape::of(&error.unwrap_or_default(), &many) ^ reports)
}

fn is_large(bytes: &[u8]) -> bool {
    let header = bytes.first_chunk().map(|b| FrameHeader::decode(*b));
    matches!(header, Some(Ok(header)) if header.end().saturating_sub(header.offset) > 256 * 1024)
}

type Frames = (Vec<(FrameHeader, Vec<u8>)>, Option<String>);

fn frames_of_one_piece(input: &[u8]) -> Result<Frames, String> {
    frames(input, input.len().max(1))
}

fn frames(input: &[u8], piece: usize) -> Result<Frames, String> {
    let mut buffer = FrameBuffer::default();
    let mut found = Vec::new();
    for mut rest in input.chunks(piece) {
        while !rest.is_empty() {
            let room = match buffer.room() {
                Ok(room) => room,
                Err(error) => return Ok((found, Some(error.to_string()))),
            };
            let count = room.len().min(rest.len());
            if count == 0 {
                return Err("no room".into());
            }
            for (to, from) in room.iter_mut().zip(rest) {
                *to = *from;
            }
            buffer.filled(count);
            rest = rest.get(count..).unwrap_or_default();
            loop {
                match buffer.peek() {
                    Ok(Some(frame)) => {
                        let body = buffer.slice(frame.body()).to_vec();
                        if frame.bytes.len() != HEADER_BYTES + body.len() || body.len() > longest()
                        {
                            return Err(format!("{frame:?} with {} bytes", body.len()));
                        }
                        found.push((frame.header, body));
                        buffer.consume(&frame);
                    }
                    Ok(None) => break,
                    Err(error) => return Ok((found, Some(error.to_string()))),
                }
            }
        }
    }
    Ok((found, None))
}

fn longest() -> usize {
    usize::try_from(MAX_BODY_BYTES).unwrap_or(usize::MAX)
}

fn reports(input: &[u8]) -> Result<u64, String> {
    let whole = ReportReader::default().feed(input);
    let mut reader = ReportReader::default();
    let mut last = Ok(None);
    for piece in input.chunks(3) {
        match reader.feed(piece) {
            Ok(None) => {}
            Ok(report) => last = Ok(report),
            Err(error) => {
                last = Err(error);
                break;
            }
        }
    }
    let same = match (&whole, &last) {
        (Ok(one), Ok(two)) => one == two,
        (Err(_), Err(_)) => true,
        _ => false,
    };
    if !same {
        return Err(format!("{whole:?} in one piece, {last:?} in many"));
    }
    match whole {
        Ok(Some(report)) => match Report::decode(report.encode()) {
            Ok(again) if again == report => Ok(shape::of("report", &"")),
            other => Err(format!("{report:?} is read as {other:?}")),
        },
        Ok(None) => Ok(shape::of("no report", &"")),
        Err(error) => Ok(shape::of("bad report", &error)),
    }
}
