//! The smallest client that can run a statement: simple queries over the Unix socket.
//!
//! It exists so that making a database or applying a migration needs neither `psql`, which the
//! fetched package lacks, nor the service's own client. Protocol: version 3.0 of the Postgres
//! manual's chapter "Frontend/Backend Protocol"; the socket's folder is the authentication.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::cluster::USER;
use crate::{Error, Result};

/// The values of each row as text; `None` is SQL's null.
pub type Rows = Vec<Vec<Option<String>>>;

/// How long one statement may stay silent: migrations of a developer's database take seconds.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(10);

/// Bytes of one message at most; ours are short, and a wrong peer must not make us allocate.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Protocol 3.0 as its startup message writes it.
const PROTOCOL: i32 = 3 << 16;

pub(crate) struct Client {
    stream: UnixStream,
}

/// What went wrong in the conversation.
enum Fault {
    Io(io::Error),
    Sql { code: String, message: String },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Fault {
    fn on(self, socket: &Path) -> Error {
        match self {
            Self::Io(error) => Error::Connection { socket: socket.into(), reason: error.to_string() },
            Self::Sql { code, message } => Error::Sql { code, message },
        }
    }
}

/// Connects to `database`, runs `sql` (one or more statements) and returns all rows.
///
/// Errors: [`Error::Connection`]; [`Error::Sql`] for the first statement refused.
pub(crate) fn query(socket: &Path, database: &str, sql: &str) -> Result<Rows> {
    Client::connect(socket, database).and_then(|mut client| client.query(sql)).map_err(|fault| fault.on(socket))
}

impl Client {
    fn connect(socket: &Path, database: &str) -> Result<Self, Fault> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(STATEMENT_TIMEOUT))?;
        let mut client = Self { stream };
        let mut startup = PROTOCOL.to_be_bytes().to_vec();
        for text in ["user", USER, "database", database, "application_name", "private-postgres", ""] {
            startup.extend(text_bytes(text)?);
        }
        client.send(None, &startup)?;
        client.until_ready()?;
        Ok(client)
    }

    fn query(&mut self, sql: &str) -> Result<Rows, Fault> {
        let body = text_bytes(sql)?;
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    /// Reads up to `ReadyForQuery`, gathering rows and keeping the first error.
    fn until_ready(&mut self) -> Result<Rows, Fault> {
        let mut rows = Rows::new();
        let mut refused = None;
        loop {
            let (kind, body) = match self.receive() {
                Ok(message) => message,
                // A fatal error closes the connection instead of becoming ready again.
                Err(error) => return Err(refused.unwrap_or(Fault::Io(error))),
            };
            match kind {
                b'Z' => return refused.map_or(Ok(rows), Err),
                b'D' => rows.push(row(&body)?),
                b'E' => refused = refused.or_else(|| Some(sql_error(&body))),
                b'R' if body.get(..4) != Some(&[0; 4]) => return Err(malformed("it asks for a password").into()),
                b'G' | b'H' | b'W' => return Err(malformed("COPY is not supported here").into()),
                // Settings, keys, notices, descriptions and tags say nothing we need.
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
        let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(malformed("a message has an impossible length"));
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

/// Text as the protocol writes it, ended by a zero.
fn text_bytes(text: &str) -> io::Result<Vec<u8>> {
    if text.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the statement holds a zero character"));
    }
    Ok(text.bytes().chain([0]).collect())
}

/// Columns of a `DataRow`: a count, then for each its length (-1 for null) and its text.
fn row(body: &[u8]) -> io::Result<Vec<Option<String>>> {
    let short = || malformed("a row is cut short");
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(short)?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        rest = tail;
        // Only null has a negative length.
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push(None);
            continue;
        };
        let (value, tail) = rest.split_at_checked(length).ok_or_else(short)?;
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
        rest = tail;
    }
    Ok(values)
}

/// Fields of an `ErrorResponse`: a letter and a text each; C is the code, M the message, D the detail.
fn sql_error(body: &[u8]) -> Fault {
    let field = |letter: u8| {
        body.split(|&byte| byte == 0).find_map(|field| field.strip_prefix(&[letter])).map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let message = field(b'M').unwrap_or_default();
    Fault::Sql {
        code: field(b'C').unwrap_or_default(),
        message: match field(b'D') {
            Some(detail) => format!("{message}: {detail}"),
            None => message,
        },
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::{Fault, row, sql_error};

    #[test]
    fn a_row_is_read_and_a_short_one_refused() {
        let body = [&[0, 2][..], &[0, 0, 0, 2], b"hi", &[0xff; 4]].concat();
        assert_eq!(row(&body).unwrap(), [Some("hi".to_owned()), None]);
        assert!(row(&body[..7]).is_err());
    }

    #[test]
    fn an_error_keeps_its_code_message_and_detail() {
        let Fault::Sql { code, message } = sql_error(b"SERROR\0VERROR\0C42P04\0Mdatabase exists\0Dreally\0\0") else {
            panic!("not an error of the database")
        };
        assert_eq!((code.as_str(), message.as_str()), ("42P04", "database exists: really"));
    }
}
