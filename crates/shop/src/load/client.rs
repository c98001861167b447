//! One client connection: a request out, a response in, just enough HTTP/1.1 for a load generator.
//!
//! Limits: a head has at most [`HEAD_MAX`] bytes and [`HEADERS_MAX`] fields; bodies are read and thrown away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;
/// Longest line of a chunk header.
const CHUNK_LINE_MAX: usize = 1_024;

/// What the generator wants to know of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) instance: Option<String>,
    /// Cookies set (name, value); an empty value takes the cookie away.
    pub(super) cookies: Vec<(String, String)>,
    pub(super) close: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Closed before the first byte: on a used connection the request may not have been read at all.
    Unanswered,
    /// Closed in the middle, or not HTTP.
    Reset,
}

enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    pub(super) served: u32,
}

impl Connection {
    pub(super) async fn open(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<Self> {
        let socket = if target.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = source {
            socket.bind(source)?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(2_048),
            served: 0,
        })
    }

    /// Whether the idle connection is still of use: not closed, and nothing came unasked.
    pub(super) fn is_alive(&self) -> bool {
        let mut byte = [0u8; 1];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        head_only: bool,
    ) -> Result<Answer, Broken> {
        self.buffer.clear();
        if self.stream.write_all(request).await.is_err() {
            return Err(Broken::Unanswered);
        }
        self.served += 1;
        loop {
            let (mut answer, body) = self.head(head_only).await?;
            if answer.status >= 200 {
                match body {
                    Body::None => {}
                    Body::Length(length) => self.skip(length).await?,
                    Body::Chunked => self.chunks().await?,
                    Body::UntilClose => {
                        while self.fill().await? {
                            self.buffer.clear();
                        }
                    }
                }
                // Bytes that nobody asked for would be taken for the next answer.
                answer.close |= !self.buffer.is_empty();
                return Ok(answer);
            }
        }
    }

    /// Reads more; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, Broken> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(_) => Err(Broken::Reset),
        }
    }

    async fn more(&mut self) -> Result<(), Broken> {
        if self.fill().await? {
            Ok(())
        } else {
            Err(Broken::Reset)
        }
    }

    async fn head(&mut self, head_only: bool) -> Result<(Answer, Body), Broken> {
        loop {
            if let Some((length, answer, body)) = parse(&self.buffer, head_only)? {
                self.buffer.drain(..length);
                return Ok((answer, body));
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(Broken::Reset);
            }
            let first = self.buffer.is_empty();
            match self.fill().await {
                Ok(true) => {}
                Ok(false) | Err(_) if first => return Err(Broken::Unanswered),
                Ok(false) | Err(_) => return Err(Broken::Reset),
            }
        }
    }

    async fn skip(&mut self, mut length: u64) -> Result<(), Broken> {
        loop {
            let here = (self.buffer.len() as u64).min(length);
            self.buffer.drain(..here as usize);
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text = String::from_utf8(line).map_err(|_binary| Broken::Reset)?;
                return Ok(text.trim_end().to_owned());
            }
            if self.buffer.len() > CHUNK_LINE_MAX {
                return Err(Broken::Reset);
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> Result<(), Broken> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = u64::from_str_radix(digits, 16).map_err(|_bad| Broken::Reset)?;
            if length == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.skip(length).await?;
            if !self.line().await?.is_empty() {
                return Err(Broken::Reset);
            }
        }
    }
}

fn parse(buffer: &[u8], head_only: bool) -> Result<Option<(usize, Answer, Body)>, Broken> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Reset),
    };
    let status = response.code.unwrap_or(0);
    let mut answer = Answer {
        status,
        close: response.version == Some(0),
        ..Answer::default()
    };
    let mut body = Body::UntilClose;
    for header in response.headers.iter() {
        read_header(header, &mut answer, &mut body)?;
    }
    if head_only || status < 200 || status == 204 || status == 304 {
        body = Body::None;
    }
    answer.close |= matches!(body, Body::UntilClose);
    Ok(Some((length, answer, body)))
}

fn read_header(
    header: &httparse::Header<'_>,
    answer: &mut Answer,
    body: &mut Body,
) -> Result<(), Broken> {
    let Ok(value) = std::str::from_utf8(header.value) else {
        return Ok(());
    };
    let name = header.name;
    if name.eq_ignore_ascii_case("content-length") {
        let length = value.trim().parse().map_err(|_bad| Broken::Reset)?;
        if !matches!(body, Body::Chunked) {
            *body = Body::Length(length);
        }
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        *body = Body::Chunked;
    } else if name.eq_ignore_ascii_case("connection") {
        answer.close |= value
            .split(',')
            .any(|v| v.trim().eq_ignore_ascii_case("close"));
    } else if name.eq_ignore_ascii_case("x-shop-instance") {
        answer.instance = Some(value.to_owned());
    } else if name.eq_ignore_ascii_case("set-cookie") {
        let (pair, attributes) = value.split_once(';').unwrap_or((value, ""));
        if let Some((name, value)) = pair.split_once('=') {
            let gone = attributes
                .split(';')
                .any(|a| a.trim().eq_ignore_ascii_case("max-age=0"));
            let value = if gone { "" } else { value.trim() };
            answer
                .cookies
                .push((name.trim().to_owned(), value.to_owned()));
        }
    }
    Ok(())
}

/// Names seen so far, so that counting a response does not allocate.
#[derive(Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(name);
        if self.0.len() < super::INSTANCES_MAX {
            self.0.push(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::{Broken, Connection};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

    /// What the client makes of two exchanges with a server that sends `bytes` for each.
    async fn twice(bytes: &'static [u8], split: usize) -> Vec<Result<(u16, bool), Broken>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 64];
            while matches!(stream.read(&mut buf).await, Ok(n) if n > 0) {
                if stream.write_all(&bytes[..split]).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
                if stream.write_all(&bytes[split..]).await.is_err()
                    || bytes.ends_with(b"until close")
                {
                    break;
                }
            }
        });
        let mut connection = Connection::open(address, None).await.unwrap();
        let mut out = Vec::new();
        for _ in 0..2 {
            let exchange = connection.exchange(b"GET / HTTP/1.1\r\n\r\n", false);
            let got = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
            out.push(got.map(|a| (a.status, a.close)));
        }
        drop(connection);
        server.await.unwrap();
        out
    }

    #[tokio::test]
    async fn bodies_of_each_framing_end_where_the_next_response_begins() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            for split in [1, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(twice(bytes, split).await, [Ok((200, false)), Ok((200, false))]);
            }
        }
        let closed = twice(b"HTTP/1.1 200 OK\r\n\r\nuntil close", 5).await;
        assert_eq!(closed[0], Ok((200, true)));
        assert_eq!(closed[1], Err(Broken::Unanswered));
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_reset() {
        assert_eq!(twice(b"SSH-2.0-x\r\n\r\n", 3).await[0], Err(Broken::Reset));
    }

    #[test]
    fn cookies_set_and_taken_away_are_told_apart() {
        let head = b"HTTP/1.1 200 OK\r\nset-cookie: a=1; Path=/\r\nSet-Cookie: b=2; Max-Age=0\r\nx-shop-instance: web-1\r\ncontent-length: 0\r\n\r\n";
        let (_, answer, _) = super::parse(head, false).unwrap().unwrap();
        assert_eq!(
            answer.cookies,
            [("a".into(), "1".into()), ("b".into(), String::new())]
        );
        assert_eq!(answer.instance.as_deref(), Some("web-1"));
    }
}
