//! What the runtime and the supervisor of one agent say to each other.
//!
//! The runtime starts `raven-runtime supervise`, writes one frame with a [`Launch`](crate::process::Launch)
//! to its standard input and reads one [`Started`] from its standard output. From then on both talk
//! over the socket `socket` in the agent's folder, which belongs to the runtime's user alone.
//!
//! A frame is two lengths (32 bits each, big-endian), then a header in JSON of the first length and
//! a body of raw bytes of the second. Both lengths are bounded, and a peer that exceeds them is
//! disconnected.
//!
//! - The supervisor serves one connection at a time. A newer one replaces the older one.
//! - It speaks first: [`Report::Hello`] with the version. A runtime of another version ends the
//!   agent, because it cannot serve it.
//! - Output is pulled. The runtime sends [`Command::Pull`] with its cursor, and gets exactly one
//!   answer once there is one: [`Report::Output`] with up to [`PULL_BYTES`], [`Report::Gap`] if the
//!   bytes at the cursor are gone, or [`Report::Ended`] when the program has ended and everything
//!   was read. So a runtime that is slow or stopped costs no memory. One that pulls is waited for up
//!   to 50 ms before it loses output, so only one that does not keep up for longer gets a gap.
//! - Whatever lies before the cursor of a pull counts as worked off by the runtime.
//! - An input ([`Command::Keys`], [`Command::Message`], [`Command::EndInput`]) is answered with
//!   [`Report::Typed`] once the program's terminal has taken it. The runtime sends the next one after
//!   that, so commands behind it never have to wait.
//! - [`Command::Release`] lets the supervisor end as soon as its program has.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::limits::Restraint;

/// Raised with every change that the other side would not understand.
pub(crate) const VERSION: u32 = 1;

/// Output bytes in one answer: enough that the way there and back does not matter.
pub(crate) const PULL_BYTES: usize = 64 * 1024;

/// Bytes of a header. The largest is a launch: 256 KiB of arguments and environment, which
/// escaping can make six times as long.
const HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a body. The largest is a message, which a request's body of 10 MiB bounds.
const BODY_BYTES_MAX: usize = 12 * 1024 * 1024;

/// The supervisor's answer to its launch.
#[derive(Serialize, Deserialize)]
#[serde(tag = "started", rename_all = "snake_case")]
pub(crate) enum Started {
    Yes,
    No { error: String },
}

/// What the runtime says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    Pull {
        from: u64,
    },
    /// The body is typed as it is.
    Keys,
    /// The body is typed, then Enter after a pause; nothing comes in between.
    Message {
        pause_ms: u64,
    },
    /// Closes the program's standard input, where that is a pipe.
    EndInput,
    Resize {
        cols: u16,
        rows: u16,
    },
    /// Asks the program and everything it started to end.
    End,
    /// Ends the program and everything it started, at once.
    Kill,
    Release,
}

/// What the supervisor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub(crate) enum Report {
    Hello(Hello),
    /// The body was printed at `offset`.
    Output {
        offset: u64,
    },
    /// The oldest byte still held is at `start`.
    Gap {
        start: u64,
    },
    Typed {
        /// The program takes no more input: it was ended, or nobody reads it.
        #[serde(default)]
        closed: bool,
    },
    Ended(End),
}

/// How an agent stands when a connection begins.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) pid: i32,
    pub(crate) cols: u16,
    pub(crate) rows: u16,
    /// Offset of the oldest byte held.
    pub(crate) start: u64,
    /// Offset of the next byte to come.
    pub(crate) end: u64,
    /// Everything before it was worked off by an earlier connection.
    pub(crate) seen: u64,
    /// When the last output came, in milliseconds since 1970.
    pub(crate) last_output_ms: Option<i64>,
    pub(crate) restraint: Restraint,
    /// The program takes no more input.
    #[serde(default)]
    pub(crate) input_ended: bool,
}

/// How a program ended, in the words of the operating system, and who had it end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    /// Why the supervisor ended it, if it did.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    Code(i32),
    Signal(String),
}

impl Exit {
    /// Of a program whose end nobody could see.
    pub(crate) fn unknown() -> Self {
        Self::Signal("unknown".into())
    }

    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::Signal(_) => None,
        }
    }

    pub(crate) fn signal(&self) -> Option<&str> {
        match self {
            Self::Code(_) => None,
            Self::Signal(name) => Some(name),
        }
    }
}

/// Listens on the socket in an agent's folder.
pub(crate) fn bind(folder: &Path) -> io::Result<UnixListener> {
    let opened = File::open(folder)?;
    let path = socket_path(folder, &opened);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the supervisor that listens in an agent's folder.
pub(crate) fn connect(folder: &Path) -> io::Result<UnixStream> {
    let opened = File::open(folder)?;
    UnixStream::connect(socket_path(folder, &opened))
}

/// The address of a socket has room for 107 bytes. On Linux the way through the opened folder is
/// always short enough; elsewhere binding tells that the path is too long.
fn socket_path(folder: &Path, opened: &File) -> PathBuf {
    if cfg!(target_os = "linux") { format!("/proc/self/fd/{}/socket", opened.as_raw_fd()).into() } else { folder.join("socket") }
}

/// Writes one frame in one piece.
pub(crate) fn write(stream: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let length = |bytes: &[u8], most: usize| match u32::try_from(bytes.len()) {
        Ok(length) if bytes.len() <= most => Ok(length.to_be_bytes()),
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the frame is too large")),
    };
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend(length(&header, HEADER_BYTES_MAX)?);
    frame.extend(length(body, BODY_BYTES_MAX)?);
    frame.extend(&header);
    frame.extend(body);
    stream.write_all(&frame)?;
    stream.flush()
}

/// Reads one frame.
///
/// Errors: `UnexpectedEof` at the end, `InvalidData` for what is no frame or too large.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<(T, Vec<u8>)> {
    let header = read_length(stream, HEADER_BYTES_MAX)?;
    let body = read_length(stream, BODY_BYTES_MAX)?;
    let header = read_part(stream, header)?;
    let body = read_part(stream, body)?;
    Ok((serde_json::from_slice(&header)?, body))
}

fn read_length(stream: &mut impl Read, most: usize) -> io::Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > most { Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too large")) } else { Ok(length) }
}

fn read_part(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut part = vec![0; length];
    stream.read_exact(&mut part)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_went_and_a_large_one_is_refused_unread() {
        let mut wire = Vec::new();
        write(&mut wire, &Command::Message { pause_ms: 50 }, b"{\"raw\":\xff}").unwrap();
        let (command, body): (Command, _) = read(&mut wire.as_slice()).unwrap();
        assert!(matches!(command, Command::Message { pause_ms: 50 }));
        assert_eq!(body, b"{\"raw\":\xff}");
        assert!(write(&mut Vec::new(), &Command::Keys, &vec![0; BODY_BYTES_MAX + 1]).is_err());
        let error = read::<Command>(&mut [0xff_u8; 8].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
