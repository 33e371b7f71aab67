//! What a container writes, as lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};

use super::log_file::LogBook;
use crate::report::{Event, Events};

/// A longer line is written as several: container runtimes split at 16 KiB too (CRI partial lines).
const LONGEST: usize = 16 * 1024;

/// So many of the last lines are kept for error messages.
const LAST: usize = 10;

/// Where a pod's lines go. Clones share the last lines.
#[derive(Clone, Debug)]
pub struct Output {
    /// The pod's name.
    pub pod: Arc<str>,
    /// Its Deployment's.
    pub deployment: String,
    /// The files.
    pub logs: LogBook,
    /// Who reads live.
    pub events: Events,
    /// The last lines.
    pub last: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    /// Passes on all that is written, until its end.
    pub async fn copy(self, source: impl AsyncRead + Unpin) {
        let mut source = BufReader::with_capacity(LONGEST, source);
        let mut bytes = Vec::new();
        while let Ok(true) = next(&mut source, &mut bytes).await {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            bytes.clear();
            {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LAST {
                    last.pop_front();
                }
                last.push_back(line.clone());
            }
            self.logs.line(&self.pod, line.clone()).await;
            self.events.emit(Event::Log {
                pod: self.pod.to_string(),
                deployment: self.deployment.clone(),
                line,
            });
        }
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Reads one line without its end (`\n` or `\r\n`), or a piece of a longer one; false at the end.
async fn next(source: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        let available = source.fill_buf().await?;
        if available.is_empty() {
            return Ok(!line.is_empty());
        }
        let room = LONGEST - line.len();
        let end = available.iter().take(room + 1).position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len().min(room));
        line.extend_from_slice(&available[..taken]);
        source.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
        // Full, and the line's end is not the next byte.
        if line.len() == LONGEST && source.fill_buf().await?.first() != Some(&b'\n') {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut source = BufReader::with_capacity(7, bytes);
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while next(&mut source, &mut line).await.unwrap() {
            lines.push(std::mem::take(&mut line));
        }
        lines
    }

    #[tokio::test]
    async fn lines_end_with_or_without_carriage_return_or_with_the_stream() {
        assert_eq!(lines(b"one\r\n\ntwo\nthree").await, [&b"one"[..], b"", b"two", b"three"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn long_lines_are_split() {
        let mut text = vec![b'x'; LONGEST * 2];
        text.extend_from_slice(b"\ny\n");
        let lengths: Vec<_> = lines(&text).await.iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST, LONGEST, 1]);
    }
}
