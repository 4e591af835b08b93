//! A program on a pseudo-terminal and a loop that reads it: the least that a runtime can be compared with.

use std::{
    io::{Read, Write},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Bytes that are read at once, as the runtime does.
const READ_BYTES: usize = 64 * 1024;

/// Ended hard when dropped.
pub(crate) struct Pty {
    child: Box<dyn Child + Send + Sync>,
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// Kept open for as long as the program runs.
    _master: Box<dyn MasterPty + Send>,
}

impl Pty {
    /// Starts a script of bash.
    pub(crate) fn start(script: &str) -> Result<Self> {
        let pair = native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 })?;
        let mut command = CommandBuilder::new("bash");
        command.args(["-c", script]);
        let child = pair.slave.spawn_command(command).context("bash could not be started")?;
        let (reader, writer) = (pair.master.try_clone_reader()?, pair.master.take_writer()?);
        Ok(Self { child, reader, writer, buffer: vec![0; READ_BYTES], _master: pair.master })
    }

    pub(crate) fn type_keys(&mut self, keys: &[u8]) -> Result<()> {
        self.writer.write_all(keys)?;
        Ok(self.writer.flush()?)
    }

    /// Reads until the output ends with `end`; the number of bytes, and when that was.
    pub(crate) fn read_to(&mut self, end: &[u8]) -> Result<(u64, Instant)> {
        let (mut bytes, mut tail) = (0, Vec::new());
        loop {
            let count = self.reader.read(&mut self.buffer)?;
            if count == 0 {
                bail!("the program ended");
            }
            bytes += count as u64;
            tail.extend_from_slice(&self.buffer[count.saturating_sub(end.len())..count]);
            if tail.ends_with(end) {
                return Ok((bytes, Instant::now()));
            }
            tail.drain(..tail.len().saturating_sub(end.len()));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("bench: a program on a pseudo-terminal is left over: {error}");
        }
    }
}
