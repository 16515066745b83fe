//! The head of an HTTP request, as every port of ours judges it before hyper sees it.

use crate::Limits;
use crate::head::{Body, Head};
use crate::shape;
use crate::target::Target;

pub(crate) const TARGET: Target = Target {
    name: "http",
    seeds,
    words: &[
        "GET ",
        "POST ",
        "HEAD ",
        "CONNECT ",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        " HTTP/2.0\r\n",
        "\r\n\r\n",
        "\n\n",
        "\r\n",
        "Host: x\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "Connection: close\r\n",
        " \t",
        "?",
        "#",
        "%00",
        "http://h/",
        "*",
        "\r\n ",
    ],
    longest: 9 * 1024,
    memory: |len| 16 * 1024 + 4 * len,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    [
        "GET /rocketmq/nsaddr?nofix=1 HTTP/1.1\r\nHost: x:8080\r\nUser-Agent: Java\r\nAccept: */*\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET http://h/p HTTP/1.1\nHost: h\n\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

fn check(input: &[u8]) -> Result<u64, String> {
    let limits = Limits::default();
    let head = Head::of(input, &limits);
    // However it is cut, a sound head is the same one, and none before it is whole.
    let cut = input
        .iter()
        .rev()
        .take(8)
        .map(|b| usize::from(*b))
        .sum::<usize>()
        * 37;
    let cut = cut.checked_rem(input.len()).unwrap_or_default();
    let part = Head::of(input.get(..cut).unwrap_or_default(), &limits);
    let fits = match &head {
        Head::Whole(length, _) if cut < *length => part == Head::Part,
        Head::Whole(..) => part == head,
        Head::Part => part == Head::Part,
        Head::Refused(_) => true,
    };
    if !fits {
        return Err(format!("{head:?}, but {part:?} of the first {cut} bytes"));
    }
    match head {
        Head::Whole(length, body) => {
            if length > input.len() || length > limits.max_head_bytes {
                return Err(format!("a head of {length} bytes in {}", input.len()));
            }
            match body {
                Body::Sized(bytes) if bytes > limits.max_body_bytes => {
                    Err(format!("a body of {bytes} bytes"))
                }
                Body::Sized(bytes) => Ok(shape::of("sized", &shape::letters(bytes + 1))),
                Body::Chunked => Ok(shape::of("chunked", &"")),
            }
        }
        Head::Part => Ok(shape::of("part", &shape::letters(input.len() + 1))),
        Head::Refused(refusal) => {
            let answer = refusal.answer();
            if answer.status().as_u16() < 400 {
                return Err(format!("refused with {}", answer.status()));
            }
            Ok(shape::of("refused", &refusal.reason))
        }
    }
}
