//! Asking the upstreams, from the host's namespace.
//!
//! The question goes out as it came, under a random id and from a random port; the answer comes back as it is, under the
//! asker's id. What DNS may learn tomorrow passes through untouched.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    answer::{Question, Transport},
    limits,
};

/// An upstream's answer, under the id that it was asked with.
struct Answer {
    bytes: Vec<u8>,
    code: ResponseCode,
}

/// The reply to a question: of the first upstream that answers; of one that failed or refused where none does better.
pub(crate) async fn ask(question: &Question, upstreams: &[SocketAddr], transport: Transport) -> Vec<u8> {
    let mut unhappy = None;
    for upstream in upstreams {
        let asking = async {
            match transport {
                Transport::Udp => ask_udp(question, *upstream).await,
                Transport::Tcp => ask_tcp(question, *upstream).await,
            }
        };
        match timeout(limits::UPSTREAM_TIMEOUT, asking).await {
            Ok(Ok(answer)) if matches!(answer.code, ResponseCode::ServFail | ResponseCode::Refused) => {
                unhappy.get_or_insert(answer);
            }
            Ok(Ok(answer)) => return relay(question, answer),
            Ok(Err(error)) => tracing::debug!(%upstream, %error, "an upstream could not be asked"),
            Err(_) => tracing::debug!(%upstream, "an upstream did not answer"),
        }
    }
    unhappy.map_or_else(|| question.failed(), |answer| relay(question, answer))
}

fn relay(question: &Question, mut answer: Answer) -> Vec<u8> {
    if answer.bytes.len() > question.limit {
        return question.too_large();
    }
    answer.bytes[..2].copy_from_slice(&question.bytes[..2]);
    answer.bytes
}

fn renumbered(question: &Question) -> (u16, Vec<u8>) {
    let id: u16 = rand::random();
    let mut bytes = question.bytes.clone();
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    (id, bytes)
}

async fn ask_udp(question: &Question, upstream: SocketAddr) -> io::Result<Answer> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    let (id, bytes) = renumbered(question);
    socket.send(&bytes).await?;
    // One byte more than is ever relayed shows an answer that was cut.
    let mut buffer = vec![0; limits::UDP_MOST + 1];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(code) = question.answered_by(&buffer[..length], id) {
            buffer.truncate(length);
            return Ok(Answer { bytes: buffer, code });
        }
    }
}

async fn ask_tcp(question: &Question, upstream: SocketAddr) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(upstream).await?;
    let (id, bytes) = renumbered(question);
    let length = u16::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let framed = [&length.to_be_bytes()[..], &bytes].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let code =
        question.answered_by(&bytes, id).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"))?;
    Ok(Answer { bytes, code })
}
