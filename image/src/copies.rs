//! Bytes that go into a file and to somebody who reads along, who does not wait for the file.

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, fcntl};

/// How many writes the file may lag behind: a few MiB with the buffers in use here.
const LAG: usize = 4;
/// Bytes that the reader may lag behind: what Linux gives anybody (`/proc/sys/fs/pipe-max-size`), sixteen times its default.
const PIPE: i32 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Copies {
    filled: SyncSender<Vec<u8>>,
    /// The same memory again: fresh memory costs more than the copy.
    empty: Receiver<Vec<u8>>,
    /// `None` once it has been heard.
    writing: Option<JoinHandle<io::Result<()>>>,
    reader: Option<PipeWriter>,
}

impl Copies {
    pub(crate) fn new(mut file: File, reader: Option<PipeWriter>) -> Self {
        if let Some(reader) = &reader {
            // With less room they only take turns more often.
            let _ = fcntl(reader, FcntlArg::F_SETPIPE_SZ(PIPE));
        }
        let (filled, to_write) = sync_channel::<Vec<u8>>(LAG);
        let (written, empty) = sync_channel(LAG + 2);
        for _ in 0..=LAG {
            // There is room, and the other end is right here.
            let _ = written.try_send(Vec::new());
        }
        let writing = thread::spawn(move || {
            for mut piece in to_write {
                file.write_all(&piece)?;
                piece.clear();
                // The last ones are wanted by nobody.
                let _ = written.send(piece);
            }
            file.flush()
        });
        Self { filled, empty, writing: Some(writing), reader }
    }

    /// Waits until the file has everything.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Self { filled, empty, writing, reader } = self;
        drop((filled, empty, reader));
        writing.map_or(Ok(()), heard)
    }

    /// Why the file takes no more.
    fn refused(&mut self) -> io::Error {
        let refused = self.writing.take().and_then(|writing| heard(writing).err());
        refused.unwrap_or_else(|| io::Error::other("the file takes no more"))
    }
}

fn heard(writing: JoinHandle<io::Result<()>>) -> io::Result<()> {
    writing.join().unwrap_or_else(|_| Err(io::Error::other("writing ended without a word")))
}

impl Write for Copies {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A reader who has gone says why himself.
        if self.reader.as_mut().is_some_and(|reader| reader.write_all(buf).is_err()) {
            self.reader = None;
        }
        let Ok(mut piece) = self.empty.recv() else { return Err(self.refused()) };
        piece.extend_from_slice(buf);
        if self.filled.send(piece).is_err() {
            return Err(self.refused());
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn the_file_and_the_reader_get_the_same_in_order() {
        let mut file = tempfile::tempfile().expect("a file");
        let (mut from, into) = io::pipe().expect("a pipe");
        let mut copies = Copies::new(file.try_clone().expect("another handle"), Some(into));
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            from.read_to_end(&mut read).map(|_| read)
        });
        let pieces: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; usize::from(n) << 12]).collect();
        for piece in &pieces {
            copies.write_all(piece).expect("both take it");
        }
        copies.finish().expect("the file has it");
        let mut written = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut written)).expect("read it");
        assert!(written == pieces.concat());
        assert!(reading.join().expect("the reader").expect("it reads") == written);
    }

    #[test]
    fn a_reader_who_goes_does_not_stop_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (from, into) = io::pipe().expect("a pipe");
        drop(from);
        let mut copies = Copies::new(file.reopen().expect("another handle"), Some(into));
        copies.write_all(b"whole").expect("the file takes it");
        copies.finish().expect("the file has it");
        assert_eq!(std::fs::read(file.path()).expect("read it"), b"whole");
    }

    #[test]
    fn a_file_that_takes_no_more_says_why() {
        let full = || File::options().write(true).open("/dev/full").expect("a full device");
        let mut copies = Copies::new(full(), None);
        let refused = (0..100).find_map(|_| copies.write_all(b"more").err()).expect("it is full");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        let mut copies = Copies::new(full(), None);
        copies.write_all(b"last").expect("nobody knows yet");
        assert_eq!(copies.finish().expect_err("it is full").kind(), io::ErrorKind::StorageFull);
    }
}
