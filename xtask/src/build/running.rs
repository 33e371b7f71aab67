//! A cargo that runs: its two outputs, line by line, and its end.

use std::process::ExitStatus;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{ChildStderr, ChildStdout};

use crate::process::cargo::Tool;

/// A running cargo and what it says.
#[derive(Debug)]
pub struct Running {
    tool: Tool,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Option<Lines<BufReader<ChildStderr>>>,
}

/// A line of cargo's.
#[derive(Debug)]
pub enum Line {
    /// On standard output: a message.
    Out(String),
    /// On standard error: words for people.
    Err(String),
}

impl Running {
    /// Listens to it.
    pub fn new(mut tool: Tool) -> Self {
        let (stdout, stderr) = (lines(tool.stdout()), lines(tool.stderr()));
        Self { tool, stdout, stderr }
    }

    /// The next line; none at the end. Nothing is lost when this is cancelled.
    pub async fn next(&mut self) -> Option<Line> {
        while self.stdout.is_some() || self.stderr.is_some() {
            let line = tokio::select! {
                line = next(&mut self.stdout) => line.map(Line::Out),
                line = next(&mut self.stderr) => line.map(Line::Err),
            };
            if line.is_some() {
                return line;
            }
        }
        None
    }

    /// Ends it and all that it started.
    pub async fn stop(self) {
        self.tool.stop().await;
    }

    /// Waits for its end, whatever it still says.
    pub async fn end(mut self) -> std::io::Result<ExitStatus> {
        while self.next().await.is_some() {}
        self.tool.wait().await
    }
}

fn lines<R: AsyncRead>(pipe: Option<R>) -> Option<Lines<BufReader<R>>> {
    pipe.map(|pipe| BufReader::new(pipe).lines())
}

/// The next line; none at the end, which then stays. Pends for ever on a pipe that has ended.
async fn next<R: AsyncRead + Unpin>(pipe: &mut Option<Lines<BufReader<R>>>) -> Option<String> {
    let Some(lines) = pipe else { return std::future::pending().await };
    // Not UTF-8, or broken: no more from here.
    let line = lines.next_line().await.ok().flatten();
    if line.is_none() {
        *pipe = None;
    }
    line
}
